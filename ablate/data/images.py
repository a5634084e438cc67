"""What a source gives (`ImageArrays`) and what a study works on (`Images`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.errors import DataError

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


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one source, memory-mapped from the cache and read-only.

    train, test: uint8 [N, H, W, C]. train_labels, test_labels: int64 [N].
    fingerprint: SHA-256 over the decoded pixels, the labels and the class names, so that the same images from
    another folder, or in another lossless format, have the same one.
    duplicate_count: test images that also stand among the training images, pixel for pixel.
    folder: the cache entry. An `Images` is pickled as this folder, not as pixels: a worker maps the same.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str
    source: str
    duplicate_count: int
    folder: Path

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, height, width, channels = self.train.shape
        return channels, height, width

    def __reduce__(self) -> tuple[Any, ...]:
        from ablate.data.cache import reopen  # the cache builds Images

        return reopen, (self.folder, self.source)


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
