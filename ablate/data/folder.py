"""`image-folder`: root/{train,test}/<class>/**, in the formats that torchvision's ImageFolder reads.

Differences from ImageFolder: hidden files and folders are passed over; folders that hold only grey images
(mode L or 1) give one channel; images with more than 8 bits a channel are refused, where ImageFolder clips
them. As there, everything else is converted to RGB (transparency is dropped), only the first frame of an
animation counts, and EXIF orientation is not applied.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ablate.data.cache import cache_folder
from ablate.data.images import Allocate, ImageArrays, Reading
from ablate.data.resize import resize_image
from ablate.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_GREY = ("L", "1")
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_LAYOUT = "image-folder needs train/<class>/* and test/<class>/*"
_PRINTED = 20
_FILES_A_TASK = 64


@dataclass(frozen=True)
class FoundFile:
    """One image file: its path, what changes when it does, and its class."""

    path: str
    size: int
    modified_ns: int
    label: int


def image_folder(root: Path | None) -> Reading:
    """List the images under `root`, opening none; DataError when the folders are not as they should be."""
    if root is None:
        raise DataError(
            "image-folder needs data.root: the folder that holds train/<class>/* and test/<class>/*"
        )
    classes, train, test = _list_images(root)
    digest = hashlib.sha256("\0".join(classes).encode(errors="surrogateescape"))
    for found in chain(train, test):
        digest.update(f"{found.path}\0{found.size}\0{found.modified_ns}\0".encode(errors="surrogateescape"))

    def decode(image_size: int | None, allocate: Allocate) -> ImageArrays:
        images = _decode_all(root, {"train": train, "test": test}, image_size, allocate)
        labels = [np.array([found.label for found in part], np.int64) for part in (train, test)]
        return ImageArrays(images["train"], labels[0], images["test"], labels[1], classes)

    return Reading((digest.hexdigest(),), decode)


def file_states(folder: Path) -> tuple[str, ...]:
    """Name, size and time of change of every file under `folder`, in the order of the names."""
    return tuple(
        f"{entry.path}|{entry.stat().st_size}|{entry.stat().st_mtime_ns}"
        for entry in _walk(folder)
        if entry.is_file()
    )


def _list_images(root: Path) -> tuple[tuple[str, ...], list[FoundFile], list[FoundFile]]:
    """(classes, train files, test files), classes and files in the order of their names."""
    missing = [part for part in ("train", "test") if not (root / part).is_dir()]
    if missing:
        found = "it is no folder"
        if root.is_dir():
            there = sorted(path.name for path in root.iterdir() if path.is_dir())
            found = f"folders there: {_some(there) or 'none'}"
        raise DataError(
            f"data.root: {root} has no folder {' and no folder '.join(missing)} ({found}); {_LAYOUT}"
        )
    names = {part: _class_names(root / part) for part in ("train", "test")}
    if not names["train"] or names["train"] != names["test"]:
        raise DataError(_class_difference(root, names))
    classes = tuple(names["train"])
    if len(classes) == 1:
        raise DataError(f"data.root: {root} has one class, {classes[0]}; at least two are needed")
    files = {part: _list_part(root / part, classes) for part in ("train", "test")}
    empty = [
        str(root / part / name)
        for part, found in files.items()
        for name in sorted(set(classes) - {classes[file.label] for file in found})
    ]
    if empty:
        raise DataError(
            f"no image in {_some(empty)}; delete the class from both train and test, or add images "
            f"({' '.join(EXTENSIONS)})"
        )
    return classes, files["train"], files["test"]


def _class_names(folder: Path) -> list[str]:
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
    )


def _class_difference(root: Path, names: dict[str, list[str]]) -> str:
    if not any(names.values()):
        return f"data.root: {root}/train has no class folders; {_LAYOUT}"
    lines = [
        f"\n  only in {part}: {_some(sorted(set(names[part]) - set(names[other])))}"
        for part, other in (("train", "test"), ("test", "train"))
        if set(names[part]) - set(names[other])
    ]
    return f"data.root: the class folders of {root}/train and {root}/test differ{''.join(lines)}"


def _list_part(folder: Path, classes: Sequence[str]) -> list[FoundFile]:
    found = []
    for label, name in enumerate(classes):
        for entry in _walk(folder / name):
            if entry.name.lower().endswith(EXTENSIONS) and entry.is_file():
                status = entry.stat()
                found.append(FoundFile(entry.path, status.st_size, status.st_mtime_ns, label))
    return found


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Files under `folder` in the order of their names; links are followed, hidden entries are not."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path)
        else:
            yield entry


@dataclass
class Survey:
    """What decoding met: sizes (height, width) and modes with their counts, and files that cannot be read."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def merge(self, other: Survey) -> None:
        self.sizes += other.sizes
        self.modes += other.modes
        self.unreadable += other.unreadable

    @property
    def channels(self) -> int:
        return 1 if set(self.modes) <= set(_GREY) else 3


def _decode_all(
    root: Path, parts: dict[str, list[FoundFile]], image_size: int | None, allocate: Allocate
) -> dict[str, np.ndarray]:
    """All images as uint8 [N, H, W, C] a part, or DataError about everything that stands in the way."""
    shape = _guess_shape(parts, image_size)
    while True:
        images = {part: allocate(part, (len(found), *shape)) for part, found in parts.items()}
        survey = Survey()
        for part, found in parts.items():
            survey.merge(_decode_part(found, images[part], image_size))
        if survey.unreadable:
            raise DataError(_unreadable_message(root, survey.unreadable, sum(map(len, parts.values()))))
        if image_size is None and len(survey.sizes) > 1:
            raise DataError(_mixed_sizes_message(root, survey.sizes))
        if survey.channels == shape[2]:
            return images
        # The first image was grey and a later one is not: once more, with three channels.
        shape = (*shape[:2], survey.channels)


def _guess_shape(parts: dict[str, list[FoundFile]], image_size: int | None) -> tuple[int, int, int]:
    """The shape of the first image that opens: most folders hold one kind, so no pass over all headers."""
    for found in chain.from_iterable(parts.values()):
        try:
            with _open(found.path) as image:
                width, height = image.size
                channels = 1 if image.mode in _GREY else 3
        except Exception:  # it is met again, and named, when all are decoded
            continue
        return (height, width, channels) if image_size is None else (image_size, image_size, channels)
    return 1, 1, 3


def _decode_part(found: list[FoundFile], images: np.ndarray, image_size: int | None) -> Survey:
    """Decode into `images`, in threads: Pillow lets go of the interpreter while it decodes."""
    Image.init()  # its table of formats is not filled safely by several threads at once

    def task(start: int) -> Survey:
        survey = Survey()
        for row in range(start, min(start + _FILES_A_TASK, len(found))):
            _decode_file(found[row].path, images[row], image_size, survey)
        return survey

    survey = Survey()
    with ThreadPoolExecutor(min(32, _usable_cores())) as pool:
        for part in pool.map(task, range(0, len(found), _FILES_A_TASK)):
            survey.merge(part)
    return survey


def _decode_file(path: str, target: np.ndarray, image_size: int | None, survey: Survey) -> None:
    try:
        with _open(path) as image:
            if image.mode in _DEEP:
                raise ValueError(f"more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")
            survey.modes[image.mode] += 1
            survey.sizes[image.height, image.width] += 1
            converted = _convert(image, target.shape[2])
            if image_size is not None:
                converted = resize_image(converted, image_size)
            pixels = np.asarray(converted)
    except Exception as error:  # Pillow's formats raise nearly every kind; each one is reported with its file
        survey.unreadable.append((path, str(error) or type(error).__name__))
        return
    if pixels.shape[:2] == target.shape[:2]:  # else the survey tells of it
        target[...] = pixels.reshape(*pixels.shape[:2], -1)


def _open(path: str) -> Image.Image:
    """The format that the name tells of first: asking all of them takes longer than a small image does."""
    expected = Image.registered_extensions().get(os.path.splitext(path)[1].lower())  # noqa: PTH122 (for speed)
    try:
        return Image.open(path, formats=None if expected is None else [expected])
    except UnidentifiedImageError:
        return Image.open(path)


def _convert(image: Image.Image, channels: int) -> Image.Image:
    if channels == 1 and image.mode in _GREY:
        return image.convert("L")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours, without Pillow's warning
    return image.convert("RGB" if channels == 3 else "L")


def _unreadable_message(root: Path, unreadable: list[tuple[str, str]], count: int) -> str:
    lines = [f"{os.path.relpath(path, root)}: {why}".replace(f" {path!r}", "") for path, why in unreadable]
    message = (
        f"{len(unreadable):,} of {count:,} images under {root} cannot be read; replace or delete them\n  "
    )
    message += "\n  ".join(lines[:_PRINTED])
    if len(lines) > _PRINTED:
        listing = cache_folder() / "unreadable-images.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
        message += f"\n  and {len(lines) - _PRINTED:,} more; all of them are listed in {listing}"
    return message


def _mixed_sizes_message(root: Path, sizes: Counter[tuple[int, int]]) -> str:
    common = ", ".join(f"{height}x{width} ({count:,})" for (height, width), count in sizes.most_common(5))
    more = f" and {len(sizes) - 5} more sizes" if len(sizes) > 5 else ""
    return (
        f"the images under {root} have {len(sizes)} different sizes, height x width: {common}{more}; "
        "set data.image_size to resize them all (shorter side, then the central square)"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_PRINTED]) + (
        f" and {len(names) - _PRINTED} more" if len(names) > _PRINTED else ""
    )


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
