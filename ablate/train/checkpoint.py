"""Checkpoints of a fit on disk: safetensors and JSON, never a pickle, so reading one runs no code.

One file holds the tensors of a state and, in its header, everything else as JSON, with what the file is of
and a checksum. It is written under a temporary name, brought to the disk and renamed; the one before stays
until then, so a trial that is killed at any instant finds a whole one.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from ablate.train.state import FitState

FORMAT = 1
KEPT = 2  # the newest, and the one before it in case the disk loses the newest
_NAME = re.compile(r"checkpoint-(\d{6})-(\d{9})\.safetensors")


@dataclass
class TimedSaver:
    """Saves a fit's state as epochs end, and within long ones, for a stated share of the training time.

    share: of the time that saving may take; the first epoch's end is always saved. every_s: at least so often
    within an epoch, if the share allows. extra: what is to be kept beside the state, asked at each save.
    """

    checkpoints: Checkpoints
    extra: Callable[[], Mapping[str, Any]] = dict
    share: float = 0.02
    every_s: float = 300.0
    clock: Callable[[], float] = time.monotonic
    on_fault: Callable[[str], None] = lambda _: None
    _last: float = field(init=False)
    _cost_s: float = 0.0

    def __post_init__(self) -> None:
        self._last = self.clock()

    def due(self, *, epoch_ended: bool) -> bool:
        waited = self.clock() - self._last
        return waited >= max(0.0 if epoch_ended else self.every_s, self._cost_s / self.share)

    def save(self, state: FitState) -> None:
        """A disk that takes no checkpoint ends no training: it is said, and tried again later.

        A state that no checkpoint can hold (a module's own `get_extra_state`) is said once.
        """
        began = self.clock()
        step = len(state.partial.sizes) if state.partial else 0
        try:
            self.checkpoints.save({"fit": state.state_dict(), **self.extra()}, epoch=state.epoch, step=step)
        except OSError as error:
            self.on_fault(f"no checkpoint after epoch {state.epoch}: {error}")
        except TypeError as error:
            self.on_fault(f"no checkpoints: {error}; stopped, the trial would begin again")
            self._last = math.inf
            return
        self._last = self.clock()
        self._cost_s = self._last - began


@dataclass
class Checkpoints:
    """The checkpoints of one trial, in its folder.

    folder: of the trial. made_by: what a state must have been made by to be gone on from (trial, versions,
    device): a state of another machine would end in a result that belongs to neither. passed_over: why files
    were not used, one sentence each. Nobody else writes to the folder meanwhile.
    """

    folder: Path
    made_by: Mapping[str, str]
    passed_over: list[str] = field(default_factory=list)
    _good: list[Path] = field(default_factory=list)  # written or read whole by this process, oldest first

    def save(self, state: Mapping[str, Any], *, epoch: int, step: int = 0) -> Path:
        """Write a state after `epoch` finished epochs and `step` steps of the next; all others but the last
        good one before it go.

        state: dicts, lists and tuples of tensors, numbers, text and None. Raises OSError when the disk does
        not take it; what was there stays.
        """
        packing = _Packing()
        content, tensors = json.dumps(packing.pack(state)), packing.tensors
        header = {
            "format": str(FORMAT),
            "made_by": json.dumps(dict(self.made_by), sort_keys=True),
            "state": content,
            "checksum": _checksum(tensors, content),
        }
        path = self.folder / f"checkpoint-{epoch:06d}-{step:09d}.safetensors"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            save_file(tensors, str(temporary), metadata=header)
            _flush(temporary)
            temporary.replace(path)
        except (OSError, safetensors.SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise
            raise OSError(None, f"{error}", str(path)) from error
        with contextlib.suppress(OSError):  # some file systems cannot flush a folder
            _flush(self.folder)
        self._good = [*(good for good in self._good if good != path), path][-KEPT:]
        for other in self.files():  # one that is torn or not from here may be called newer
            if other not in self._good:
                other.unlink(missing_ok=True)
        return path

    def newest(self) -> dict[str, Any] | None:
        """The newest state that is whole and was made here; None without one. See `passed_over`.

        Temporary files of a process that was killed go: they may be what fills the disk.
        """
        for torn in self.folder.glob(".checkpoint-*"):
            torn.unlink(missing_ok=True)
        for path in self.files():
            try:
                state = self._read(path)
            except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
                self.passed_over.append(f"{path.name} was passed over: {error}")
            else:
                self._good = [path]
                return state
        return None

    def files(self) -> list[Path]:
        """The newest first."""
        found = [path for path in self.folder.glob("checkpoint-*.safetensors") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def _read(self, path: Path) -> dict[str, Any]:
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != str(FORMAT):
                raise ValueError(f"its format is {header.get('format')}, this version reads {FORMAT}")
            made_by = json.loads(header["made_by"])
            if made_by != dict(self.made_by):
                raise ValueError(f"it was made under other conditions: {_differences(made_by, self.made_by)}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if _checksum(tensors, header["state"]) != header["checksum"]:
            raise ValueError("its checksum does not fit: it is damaged")
        return dict(_unpack(json.loads(header["state"]), tensors))


@dataclass
class _Packing:
    """A state in parts: JSON, and the tensors that it names.

    safetensors takes each storage once and in one piece only. Only what breaks this is copied: a state may be
    as large as the memory that is left.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    _storages: set[int] = field(default_factory=set)

    def pack(self, value: Any) -> Any:
        """JSON for `value`."""
        if isinstance(value, Tensor):
            name = f"{len(self.tensors):06d}"
            last = value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last)
            layout = "channels_last" if last and not value.is_contiguous() else "contiguous"
            self.tensors[name] = self._alone(value)
            return {"tensor": name, "layout": layout}
        if isinstance(value, Mapping):
            return {"dict": [[self.pack(key), self.pack(item)] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.pack(item) for item in value]}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a checkpoint holds tensors, numbers, text and containers of them, not {value!r}")

    def _alone(self, tensor: Tensor) -> Tensor:
        found = tensor.detach().to("cpu").contiguous()
        if found.untyped_storage().data_ptr() in self._storages:
            found = found.clone()
        self._storages.add(found.untyped_storage().data_ptr())
        return found


def _unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        layout = torch.channels_last if packed["layout"] == "channels_last" else torch.contiguous_format
        return tensors[packed["tensor"]].contiguous(memory_format=layout)
    if "dict" in packed:
        return {_unpack(key, tensors): _unpack(item, tensors) for key, item in packed["dict"]}
    kind = list if "list" in packed else tuple
    return kind(_unpack(item, tensors) for item in packed[kind.__name__])


def _checksum(tensors: Mapping[str, Tensor], content: str) -> str:
    """CRC-32 over the JSON and the bytes of all tensors, by name, in hex."""
    found = zlib.crc32(content.encode())
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy(), found)
    return f"{found:08x}"


def _differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    return ", ".join(
        f"{key} {theirs.get(key)} (now {ours.get(key)})"
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key)
    )


def _flush(path: Path) -> None:
    """A file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
