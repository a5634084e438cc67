"""What sits on a node of a Ray cluster: an actor that supervises one worker process, and imports no torch.

The worker is one of `LocalExecutor`, so an exception, a crash, a lack of memory and a time limit are told
apart here as on any machine. What Ray says counts only where the actor itself was lost.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from ablate.errors import MachineError
from ablate.execute.base import ExecutionFailure, Loss
from ablate.execute.local import LocalExecutor

# A file that was written a moment ago may take a network file system a moment to show.
_TOKEN_LOOKS, _TOKEN_PAUSE_S = 3, 0.5
_SCRATCH = "ablate-ray"


@dataclass(frozen=True)
class Orders:
    """What a seat is told when it is made.

    hooks: pickled (initializer, itself pickled, let_go), to be loaded once `path` is in place, where the run
    imports from. folder: the run's working directory. token: a file of the run's, and what it says: who reads
    it there sees the run's files; None where nobody has to.
    """

    environment: Mapping[str, str]
    hooks: bytes
    path: tuple[str, ...]
    folder: str
    token: tuple[str, str] | None


@dataclass(frozen=True)
class About:
    """host: of the node. scratch: a folder of the seat's own there, where the node does not see the run's
    files; empty where it does."""

    host: str
    scratch: str


@dataclass(frozen=True)
class Answer:
    """value: pickled. died: the failure was the end of the item's worker. cannot_start: why no worker could
    be started; empty where one was."""

    value: bytes | None
    failure: ExecutionFailure | None
    wall_s: float
    died: bool = False
    cannot_start: str = ""


class Seat:
    """Made into an actor by the executor. Its methods may be called beside `run`."""

    def __init__(self, orders: Orders) -> None:
        # A worker begins by running its parent's main module again; Ray's would start a Ray worker's imports.
        sys.modules["__main__"].__dict__.pop("__file__", None)
        with contextlib.suppress(OSError):
            os.chdir(orders.folder)
        sys.path.extend(each for each in orders.path if each not in sys.path)
        begin, self._let_go = pickle.loads(orders.hooks)  # noqa: S301  (from our own run, through Ray)
        initializer = None if begin is None else partial(call_initializer, begin)
        self._orders = orders
        # Ray ends the children of an actor with it, but not theirs.
        self._pool = LocalExecutor(1, orders.environment, initializer=initializer, warden_apart=True)
        # One thread for all items: the kernel ends a worker with the thread that started it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ablate-seat")
        self._scratch: Path | None = None

    def about(self) -> About:
        if self._scratch is None and not self._sees():
            self._scratch = _new_scratch()
        return About(platform.node(), str(self._scratch or ""))

    def _sees(self) -> bool:
        if self._orders.token is None:
            return True
        name, said = self._orders.token
        for look in range(_TOKEN_LOOKS):
            with contextlib.suppress(OSError):
                if Path(name).read_text(encoding="ascii") == said:
                    return True
            if not Path(name).parent.is_dir():
                return False
            if look < _TOKEN_LOOKS - 1:
                time.sleep(_TOKEN_PAUSE_S)
        return False

    def run(self, payload: bytes, timeout_s: float | None) -> Answer:
        """payload: pickled (function, item)."""
        return self._thread.submit(self._run, payload, timeout_s).result()

    def _run(self, payload: bytes, timeout_s: float | None) -> Answer:
        died = False

        def on_loss(loss: Loss[bytes]) -> None:
            nonlocal died
            died = True

        try:
            outcomes = list(self._pool.run(call, [payload], timeout_s=timeout_s, on_loss=on_loss))
        except MachineError as error:
            return Answer(None, None, 0.0, cannot_start=str(error))
        except RuntimeError:  # it was stopped before this item came
            outcomes = []
        if not outcomes:
            return Answer(None, ExecutionFailure("cancelled", "stopped before it had begun"), 0.0)
        (outcome,) = outcomes
        if died or (outcome.failure is not None and outcome.failure.kind == "cancelled"):
            self._give_up_locks(payload)
        return Answer(outcome.value, outcome.failure, outcome.wall_s, died)

    def _give_up_locks(self, payload: bytes) -> None:
        """Only here is a worker of this machine known to be dead; the run may be on another."""
        if self._let_go is not None:
            with contextlib.suppress(Exception):  # a lock that stays is given up later, by its age
                self._let_go(pickle.loads(payload)[1])  # noqa: S301

    def stop(self) -> None:
        """End what runs, and leave nothing behind."""
        self._pool.cancel()
        self._thread.submit(self._pool.close).result()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    # Files, for a node that does not see those of the run

    def write(self, target: str, offset: int, content: bytes, last: bool) -> None:
        """A piece of a file; it has its name when the last one is there."""
        path = Path(target)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(content)
        if last:
            partial.replace(path)

    def listing(self, folder: str) -> list[tuple[str, int]]:
        """Names and sizes in bytes of the files in a folder, below it too."""
        base = Path(folder)
        found = []
        for path in sorted(base.rglob("*")):
            with contextlib.suppress(OSError):  # one that went while we looked
                if path.is_file() and not path.is_symlink():
                    found.append((path.relative_to(base).as_posix(), path.stat().st_size))
        return found

    def read(self, name: str, offset: int, count: int) -> bytes:
        """count: of bytes, at most. Empty at the end of the file, and where there is none."""
        try:
            with Path(name).open("rb") as file:
                file.seek(offset)
                return file.read(count)
        except FileNotFoundError:
            return b""


def call_initializer(begin: bytes) -> None:
    """In the worker: only Ray's own pickle takes a function of a script's main module along."""
    pickle.loads(begin)()  # noqa: S301  (from our own run, through Ray)


def call(payload: bytes) -> bytes:
    """In the worker: nobody on the way has to import what the value is made of."""
    function, item = pickle.loads(payload)  # noqa: S301  (from our own run, through Ray)
    value: Any = function(item)
    return bytes(ForkingPickler.dumps(value))


def _new_scratch() -> Path:
    """A folder for this process alone; those of seats that were killed go."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}-*-*"):
        pid = folder.name.split("-")[2]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}-{os.getpid()}-"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
