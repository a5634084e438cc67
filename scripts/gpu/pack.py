"""A results tree as a tar archive in parts small enough to be carried, and back."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

PART_BYTES = 15 * 2**20
MOST_PARTS = 4  # what comes back is 64 MiB at most, and other files may be there
NAME = "results.tar.gz"
# What a report does not need: weights and checkpoints are large, curves by step and logs are long.
LEFT_OUT = (".safetensors", ".lock", ".tmp", "steps.csv", "output.txt", "log.txt", "progress.json")
HEAVY = ("predictions.npz", ".png")


def pack(root: Path, out: Path) -> tuple[list[Path], str]:
    """Writes `out`/results.tar.gz.00, .01, … in place of what was there; the parts, and what is in them.

    A tree that is too large goes without predictions, on which only the intervals for new images rest.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        said = "all that a report needs"
        parts = _write(root, Path(folder), lambda name: not name.endswith(LEFT_OUT))
        if len(parts) > MOST_PARTS:
            said = "without predictions, which were too much"
            for part in parts:
                part.unlink()
            parts = _write(root, Path(folder), lambda name: not name.endswith(LEFT_OUT + HEAVY))
        for old in out.glob(f"{NAME}.*"):
            old.unlink()
        return [Path(shutil.move(part, out / part.name)) for part in parts], said


def join_parts(folder: Path, root: Path) -> None:
    """Unpacks the parts that lie in `folder` as the tree `root`."""
    parts = sorted(folder.glob(f"{NAME}.*"))
    whole = io.BytesIO(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(fileobj=whole, mode="r:gz") as archive:
        archive.extractall(root, filter="data")


def _write(root: Path, folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    writer = _Parts(folder)
    with tarfile.open(fileobj=writer, mode="w|gz") as archive:  # type: ignore[call-overload]
        for path in sorted(root.rglob("*")):
            if path.is_file() and wanted(path.name):
                archive.add(path, arcname=str(path.relative_to(root)), recursive=False)
    writer.close()
    return writer.parts


class _Parts:
    """A file that goes on in another one when it is full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: list[Path] = []
        self._file: io.BufferedWriter | None = None
        self._left = 0

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            if self._file is None or not self._left:
                self._next()
            assert self._file is not None
            taken = view[: self._left]
            self._file.write(taken)
            self._left -= len(taken)
            view = view[len(taken) :]
        return len(data)

    def _next(self) -> None:
        self.close()
        part = self.folder / f"{NAME}.{len(self.parts):02d}"
        self._file, self._left = part.open("wb"), PART_BYTES
        self.parts.append(part)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
