"""The folder between a run and its jobs: submitit's pickles and logs, a token, and which job has which item.

One a round, of its user alone. A lock of the kernel's on it says that its run lives: no run takes jobs over
from another that still waits for them, and none of them has to compare clocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.errors import StoreError
from ablate.execute.on_slurm.task import CANCELLED

_JOBS, _LOCK, _TOKEN = "jobs.jsonl", "run.lock", "token"


@dataclass(frozen=True)
class Sent:
    """A job. name: of its task's files. key: of its item, the same in any run."""

    job_id: str
    name: str
    key: str
    folder: RunFolder


@dataclass(eq=False)
class RunFolder:
    path: Path
    _lock: list[int] = field(default_factory=list)  # the descriptor that holds it

    @staticmethod
    def new(root: Path) -> RunFolder:
        """Raises StoreError where it cannot be made."""
        token = secrets.token_hex(6)
        path = root / token
        try:
            path.mkdir(parents=True, mode=0o700)
            # Whoever could write here would have code run by the jobs, and by the run.
            path.chmod(0o700)
            (path / _TOKEN).write_text(f"{token}\n", encoding="ascii")
            (path / _JOBS).touch()
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        folder = RunFolder(path)
        folder.hold()
        return folder

    def hold(self) -> bool:
        """Whether this process has the lock by now. Where a file system has none, only the one who made the
        folder goes on as if it had."""
        if self._lock:
            return True
        try:
            import fcntl

            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except (ImportError, OSError):
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock.append(descriptor)
        return True

    def release(self) -> None:
        while self._lock:
            os.close(self._lock.pop())

    def remove(self) -> None:
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in (self.path.parent, self.path.parent.parent):
            with contextlib.suppress(OSError):  # others lie there
                parent.rmdir()

    # What lies in it

    def add(self, sent: Sequence[Sent]) -> None:
        lines = [json.dumps({"job": each.job_id, "name": each.name, "key": each.key}) for each in sent]
        with (self.path / _JOBS).open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())

    def sent(self) -> list[Sent]:
        return list(self._read())

    def _read(self) -> Iterator[Sent]:
        try:
            lines = (self.path / _JOBS).read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # cut off by a power cut
                said = json.loads(line)
                yield Sent(str(said["job"]), str(said["name"]), str(said["key"]), self)

    def say_cancelled(self) -> None:
        with contextlib.suppress(OSError):
            (self.path / CANCELLED).touch()

    def forget(self, name: str) -> None:
        """That an earlier job of this task had begun."""
        with contextlib.suppress(OSError):
            (self.path / f"{name}.begun").unlink(missing_ok=True)

    def has(self, name: str, what: str) -> bool:
        return (self.path / f"{name}.{what}").exists()


def left_behind(root: Path) -> list[RunFolder]:
    """Folders of runs that are gone, locked for this one."""
    try:
        found = sorted(path for path in root.iterdir() if (path / _JOBS).is_file())
    except OSError:
        return []
    return [folder for folder in map(RunFolder, found) if folder.hold()]


def key_of(function: Callable[..., Any], item: object, *more: object) -> str:
    """Tells items apart by what they say of themselves: a repr that names an address is nobody else's."""
    said = repr((function.__module__, function.__qualname__, item, *more))
    return hashlib.sha256(said.encode()).hexdigest()[:32]
