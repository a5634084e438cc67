"""What networks said of themselves in earlier commands, so that the next need not build them, nor load torch.

    CACHE/networks/KEY.json        CACHE: as `ablate.data.cache_folder` gives it

The key is a hash over all that the answer follows from: the settings, the image, the source of this package,
the libraries, Python. What a user's own module, a file of weights, or a library under development says is
asked anew each time, as it may follow from anything; so is a fault. An entry that is torn or changed is not
believed, and each may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import ablate
from ablate.environment import torch_build
from ablate.errors import StoreError
from ablate.spec import Settings
from ablate.spec.names import is_import_path, pretraining_of
from ablate.store import write_text

# Of a kilobyte each; beyond, the oldest quarter goes.
MOST_ENTRIES = 4096
LIBRARIES = ("torch", "torchvision", "timm", "fvcore", "numpy", "scipy")
# What torch and timm read from the environment while they build or run a network.
_VARIABLES = ("ATEN_", "MKL_", "OMP_", "PYTORCH_", "TIMM_", "TORCH_")


@dataclass(frozen=True)
class Recall:
    """Answers under one folder, by key."""

    folder: Path

    @classmethod
    def usual(cls) -> Recall:
        """In the cache folder of this user: a results tree may come from somebody else."""
        from ablate.data import cache_folder

        return cls(cache_folder() / "networks")

    def get(self, key: str | None) -> Any:
        """None where nothing is known that can be believed."""
        if key is None:
            return None
        try:
            entry = json.loads(self._file(key).read_bytes())
            return entry["answer"] if entry["sha256"] == _sha256([key, entry["answer"]]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str | None, answer: Any) -> None:
        """answer: of JSON's types. A folder that takes nothing is no fault: the network is asked again."""
        if key is None:
            return
        text = json.dumps({"sha256": _sha256([key, answer]), "answer": answer}, ensure_ascii=False)
        with suppress(StoreError):
            write_text(self._file(key), text, durable=False)
            self._thin_out()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _thin_out(self) -> None:
        with suppress(OSError):
            if len(os.listdir(self.folder)) <= MOST_ENTRIES:  # noqa: PTH208 - names are enough, and quicker
                return
            oldest = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in oldest[: len(oldest) // 4]:
                path.unlink(missing_ok=True)


def network_key(
    kind: str, settings: Settings, shape: tuple[int, int, int], classes: int, **more: Any
) -> str | None:
    """Of one question about the network of a variant; None where the answer is not to be kept.

    kind: of the question. shape: (C, H, W). more: what else the answer follows from, of JSON's types.
    """
    model = settings.model
    names = (model.backbone, model.attention.name if model.attention is not None else "")
    from_file = model.weights is not None and pretraining_of(model.weights) is None
    around = surroundings_of_networks()
    if from_file or around is None or any(map(is_import_path, names)):
        return None
    asked = {"model": model.model_dump(mode="json"), "train": settings.train.model_dump(mode="json")}
    return _sha256([kind, asked, list(shape), classes, more, around])


def surroundings_of_networks() -> Mapping[str, Any] | None:
    """What beside its settings makes a network what it is; None where that cannot be told by versions."""
    libraries, build = _libraries(), torch_build()
    if libraries is None or build is None:
        return None
    variables = {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)}
    machine = (platform.python_version(), platform.system(), platform.machine())
    return {
        "source": _own_source(),
        "libraries": libraries,
        "torch": asdict(build),
        "variables": variables,
        "machine": machine,
    }


@functools.cache
def _own_source() -> str:
    """Over every file of this package: a developer's change is a change."""
    folder, digest = Path(ablate.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@functools.cache
def _libraries() -> Mapping[str, str | None] | None:
    """Version of each, None where it is absent; None for all where one is installed for its development."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found[name] = None
            continue
        if _is_editable(distribution):
            return None
        found[name] = distribution.version
    return found


def _is_editable(distribution: metadata.Distribution) -> bool:
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable", False))
    except (ValueError, AttributeError):
        return True  # what cannot be read may say anything


def _sha256(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
