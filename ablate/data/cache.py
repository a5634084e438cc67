"""The cache of decoded images: one folder per content, memory-mapped by every process that needs it.

    CACHE/images/FINGERPRINT/{train,test}.npy, {train,test}_labels.npy, entry.json
    CACHE/index/KEY.json       what the undecoded files look like -> FINGERPRINT

An entry is written in a folder of its own and renamed when complete, so two processes that decode the same
data at once waste work but harm nothing. An entry that is not what it says is decoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.images import Allocate, ImageArrays, Images
from ablate.errors import DataError

ENTRY_VERSION = 1
_ARRAYS = ("train", "train_labels", "test", "test_labels")
_CHUNK_BYTES = 16 * 2**20
_VERIFY_BYTES = 2**30  # up to here a full check costs at most a second or two
_ABANDONED_S = 2 * 24 * 3600


def cache_folder() -> Path:
    """$ABLATE_CACHE, or the platform's cache folder of this user (Linux: ~/.cache/ablate)."""
    if chosen := os.environ.get("ABLATE_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base.absolute() / "ablate"


def fingerprint_of(arrays: ImageArrays) -> str:
    """SHA-256 (hex) over shapes, pixels, labels and class names; reads the images once, in pieces."""
    digest = hashlib.sha256(b"ablate images 1\n")
    for images, labels in ((arrays.train, arrays.train_labels), (arrays.test, arrays.test_labels)):
        digest.update(json.dumps(images.shape).encode())
        for piece in _pieces(images):
            digest.update(np.ascontiguousarray(piece).data)
        digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    digest.update(json.dumps(arrays.classes).encode())
    return digest.hexdigest()


def count_duplicates(arrays: ImageArrays) -> int:
    """Test images that equal a training image in every pixel."""
    known = {_image_digest(image) for piece in _pieces(arrays.train) for image in piece}
    return sum(_image_digest(image) in known for piece in _pieces(arrays.test) for image in piece)


@dataclass(frozen=True)
class ImageCache:
    """Entries under one folder (default: `cache_folder()`)."""

    root: Path

    def recall(self, key: tuple[Any, ...]) -> str | None:
        """The fingerprint that a source in this state decoded to, if it ever was decoded here."""
        try:
            fingerprint = json.loads(self._index_file(key).read_text(encoding="utf-8"))["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return fingerprint if isinstance(fingerprint, str) else None

    def remember(self, key: tuple[Any, ...], fingerprint: str) -> None:
        path = self._index_file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
        temporary.replace(path)

    def open(self, fingerprint: str, source: str, *, verify: bool) -> Images | None:
        """The entry, memory-mapped; None when it is absent or torn.

        verify: compare every byte with the fingerprint (up to 1 GiB), not only names, sizes and shapes.
        """
        try:
            images = reopen(self.root / "images" / fingerprint, source)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if verify and images.train.nbytes + images.test.nbytes <= _VERIFY_BYTES:
            arrays = ImageArrays(*(getattr(images, name) for name in _ARRAYS), images.classes)
            if fingerprint_of(arrays) != fingerprint:
                return None
        return images if images.fingerprint == fingerprint else None

    def build(self, decode: Callable[[Allocate], ImageArrays], source: str) -> Images:
        """Decode into a new entry and open it; DataError when the folder cannot take it."""
        try:
            (self.root / "images").mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            temporary = self.root / "images" / f"tmp-{os.getpid()}-{secrets.token_hex(4)}"
            temporary.mkdir()
        except OSError as error:
            raise DataError(
                f"the cache of decoded images cannot be written: {error}; "
                "set ABLATE_CACHE to a folder that can"
            ) from error
        try:
            fingerprint = _write_entry(temporary, decode)
            self._publish(temporary, fingerprint)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        images = self.open(fingerprint, source, verify=False)
        if images is None:
            raise DataError(f"{self.root / 'images' / fingerprint} was written but cannot be read back")
        return images

    def _publish(self, temporary: Path, fingerprint: str) -> None:
        """Rename into place, unless another process was first; a torn entry in the way moves aside."""
        target = self.root / "images" / fingerprint
        for _ in range(10):
            try:
                temporary.rename(target)
                return
            except OSError:
                if not target.exists():
                    raise
            if self.open(fingerprint, "", verify=True) is not None:
                return
            aside = temporary.with_name(f"{temporary.name}-torn")
            try:
                target.rename(aside)
            except FileNotFoundError:
                continue  # another process moved it first
            shutil.rmtree(aside, ignore_errors=True)
        raise DataError(f"{target} is torn and cannot be replaced; delete it")

    def _remove_abandoned(self) -> None:
        """Folders of processes that were killed while decoding."""
        for folder in (self.root / "images").glob("tmp-*"):
            try:
                age_s = time.time() - folder.stat().st_mtime
            except OSError:
                continue
            if age_s > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)

    def _index_file(self, key: tuple[Any, ...]) -> Path:
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return self.root / "index" / f"{name}.json"


def reopen(folder: Path, source: str) -> Images:
    """Map the entry at `folder`; OSError, ValueError or KeyError when it is not whole."""
    entry = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
    if entry["version"] != ENTRY_VERSION:
        raise ValueError(f"{folder}: cache entry of version {entry['version']}, {ENTRY_VERSION} is known")
    arrays = {}
    for name in _ARRAYS:
        path = folder / f"{name}.npy"
        if path.stat().st_size != entry["bytes"][name]:
            raise ValueError(f"{path}: {path.stat().st_size} bytes, {entry['bytes'][name]} were written")
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        # The plain view: indexing a np.memmap builds a memmap for every batch.
        arrays[name] = mapped.view(np.ndarray) if mapped.dtype == np.uint8 else np.array(mapped)
    return Images(
        **arrays,
        classes=tuple(entry["classes"]),
        fingerprint=entry["fingerprint"],
        source=source,
        duplicate_count=entry["duplicate_count"],
        folder=folder,
    )


def _write_entry(folder: Path, decode: Callable[[Allocate], ImageArrays]) -> str:
    """Decode into `folder` and describe it in entry.json; returns the fingerprint."""

    def allocate(name: str, shape: tuple[int, ...]) -> np.ndarray:
        needed, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(folder).free
        if needed > free:  # a memory map on a full disk dies of SIGBUS, without a word
            raise DataError(
                f"the decoded {name} images take {needed / 2**30:.1f} GiB and {folder.parent} has "
                f"{free / 2**30:.1f} GiB free; set ABLATE_CACHE to a larger disk or data.image_size to less"
            )
        return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape)

    arrays = decode(allocate)
    for name in ("train", "test"):
        images = getattr(arrays, name)
        path = folder / f"{name}.npy"
        if not path.exists():
            target = allocate(name, images.shape)
            for source_piece, target_piece in zip(_pieces(images), _pieces(target), strict=True):
                target_piece[...] = source_piece
            target.flush()
        else:
            images.flush()
        np.save(folder / f"{name}_labels.npy", getattr(arrays, f"{name}_labels"), allow_pickle=False)
    entry = {
        "version": ENTRY_VERSION,
        "fingerprint": fingerprint_of(arrays),
        "classes": arrays.classes,
        "duplicate_count": count_duplicates(arrays),
        "bytes": {name: (folder / f"{name}.npy").stat().st_size for name in _ARRAYS},
    }
    (folder / "entry.json").write_text(json.dumps(entry, indent=1), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    return str(entry["fingerprint"])


def _pieces(images: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, _CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), rows):
        yield images[start : start + rows]


def _image_digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
