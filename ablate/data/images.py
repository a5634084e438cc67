"""What a source gives (`ImageArrays`) and what a study works on (`Images`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.errors import DataError, did_you_mean

Allocate = Callable[[str, tuple[int, ...]], np.ndarray]
"""("train" | "test", [N, H, W, C]) -> a writable uint8 array that need not fit into memory."""


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Decoded images of one source: uint8 [N, H, W, C], and labels int64 [N] in 0..len(classes) - 1."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How to decode one source.

    state: changes whenever the files behind the source do, and is found without decoding them;
    None where only reading tells (then the source is read whenever it is loaded without a fingerprint).
    decode: (image_size, allocate) -> ImageArrays.
    """

    state: tuple[Any, ...] | None
    decode: Callable[[int | None, Allocate], ImageArrays]


class UnknownClass(DataError):
    """A class in `data.classes` that the source does not have, or has a second time under its number."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of memory-mapped images [N, H, W, C], read when they are asked for.

    It indexes as the array of these rows would, along the first axis only: data may be larger than memory.
    """

    images: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        return self.images[self.rows[key]]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.images.shape[1:]


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one source, memory-mapped from the cache and read-only.

    train, test: uint8 [N, H, W, C]. train_labels, test_labels: int64 [N].
    fingerprint: SHA-256 over the decoded pixels, the labels and the class names, so that the same images from
    another folder, or in another lossless format, have the same one.
    duplicate_count: test images that also stand among the training images, pixel for pixel.
    folder: the cache entry. An `Images` is pickled as this folder, not as pixels: a worker maps the same.
    part_of: the whole source, where these are the images of some of its classes; the fingerprint and the
    duplicates are the whole's.
    """

    train: np.ndarray | Rows
    train_labels: np.ndarray
    test: np.ndarray | Rows
    test_labels: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str
    source: str
    duplicate_count: int
    folder: Path
    part_of: Images | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, height, width, channels = self.train.shape
        return channels, height, width

    @property
    def whole(self) -> Images:
        """The images of all classes of the source."""
        return self.part_of or self

    @property
    def test_rows(self) -> np.ndarray:
        """int64 [N]: the row of each test image in the whole test set of the source."""
        return self.test.rows if isinstance(self.test, Rows) else np.arange(len(self.test), dtype=np.int64)

    def of_classes(self, wanted: Sequence[int | str] | None) -> Images:
        """Only the images of these classes, labelled 0, 1, … in the order given; None: all, as they are.

        wanted: names, or numbers in the source's order, from 0. Pixels stay where they are. UnknownClass,
        naming the classes there are; DataError where a part has no image of any of them.
        """
        if wanted is None:
            return self
        whole = self.whole
        numbers = _class_numbers(whole, wanted)
        new_label = np.full(len(whole.classes), -1, np.int64)
        new_label[numbers] = np.arange(len(numbers))
        train, test = (
            np.flatnonzero(new_label[labels] >= 0) for labels in (whole.train_labels, whole.test_labels)
        )
        names = tuple(whole.classes[number] for number in numbers)
        if not len(test):
            raise DataError(f"data.classes: {whole.source} has no test image of {', '.join(names)}")
        return Images(
            train=Rows(whole.train, train),
            train_labels=new_label[whole.train_labels[train]],
            test=Rows(whole.test, test),
            test_labels=new_label[whole.test_labels[test]],
            classes=names,
            fingerprint=whole.fingerprint,
            source=whole.source,
            duplicate_count=whole.duplicate_count,
            folder=whole.folder,
            part_of=whole,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        from ablate.data.cache import reopen  # the cache builds Images

        if self.part_of is not None:
            return Images.of_classes, (self.part_of, self.classes)
        return reopen, (self.folder, self.source)


def _class_numbers(images: Images, wanted: Sequence[int | str]) -> list[int]:
    """Each wanted class as its number; UnknownClass about all that are not there."""
    known = images.classes
    of_name = {name: number for number, name in enumerate(known)}
    found = [of_name.get(item) if isinstance(item, str) else item for item in wanted]
    unknown = [
        item
        for item, number in zip(wanted, found, strict=True)
        if number is None or not 0 <= number < len(known)
    ]
    if unknown:
        shown = ", ".join(f"{number} {name}" for number, name in enumerate(known[:40]))
        more = f" and {len(known) - 40} more" if len(known) > 40 else ""
        hints = [did_you_mean(item, known) for item in unknown if isinstance(item, str)]
        hint = next((f"; {hint}" for hint in hints if hint), "")
        raise UnknownClass(
            f"data.classes: {images.source} has no class {', '.join(map(repr, unknown))}{hint}; "
            f"by number and name, it has: {shown}{more}"
        )
    numbers = [number for number in found if number is not None]
    for index, number in enumerate(numbers):
        if number in numbers[:index]:
            name = known[number]
            raise UnknownClass(
                f"data.classes: the class {name!r} of {images.source} is given twice: by name, or by its "
                f"number {number}"
            )
    return numbers


def check_arrays(
    source: str, train: Any, train_labels: Any, test: Any, test_labels: Any, classes: Any = None
) -> ImageArrays:
    """Bring a source's arrays into the form of `ImageArrays`, or say what is wrong with them (DataError)."""
    train, test = _check_pixels(source, "train images", train), _check_pixels(source, "test images", test)
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{source}: train images are {_size(train)} and test images {_size(test)} "
            "(height x width x channels); both must have one size: resize them alike"
        )
    train_labels = _check_labels(source, "train labels", train_labels, len(train))
    test_labels = _check_labels(source, "test labels", test_labels, len(test))
    count = int(max(train_labels.max(), test_labels.max())) + 1
    names = tuple(str(number) for number in range(count)) if classes is None else tuple(map(str, classes))
    if len(set(names)) != len(names) or len(names) < max(count, 2):
        raise DataError(
            f"{source}: {len(names)} class names for labels 0..{count - 1}: {', '.join(names[:20])}; "
            "give at least two classes, with a different name for each label"
        )
    empty = sorted(set(range(len(names))) - set(np.unique(train_labels).tolist()))
    if empty:
        raise DataError(
            f"{source}: no training image for {', '.join(names[label] for label in empty)}; "
            "labels must count from 0 without gaps"
        )
    return ImageArrays(train, train_labels, test, test_labels, names)


def _check_pixels(source: str, what: str, images: Any) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise DataError(
            f"{source}: {what} have type {images.dtype}; uint8 with values 0..255 is needed "
            "(from floats in 0..1: (x * 255).round().astype('uint8'))"
        )
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(
            f"{source}: {what} have shape {images.shape}; [count, height, width] or "
            "[count, height, width, channels] is needed, with none of them zero"
        )
    if images.ndim == 3:
        return images[..., None]
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise DataError(
            f"{source}: {what} have shape {images.shape}, which looks like channels first; "
            "give them channels last: x.transpose(0, 2, 3, 1)"
        )
    return images


def _check_labels(source: str, what: str, labels: Any, count: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{source}: {what} are {labels.dtype} of shape {labels.shape}; one whole number for each of the "
            f"{count} images is needed"
        )
    if labels.min() < 0:
        raise DataError(f"{source}: {what} hold {labels.min()}; labels count from 0")
    return labels.astype(np.int64)


def _size(images: np.ndarray) -> str:
    return "x".join(map(str, images.shape[1:]))
