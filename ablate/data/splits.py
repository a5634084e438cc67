"""Stratified splits: first a fraction of the training images, then a validation set out of what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablate.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of the training images, int64 and ascending; the two are disjoint."""

    train: np.ndarray
    validation: np.ndarray


def split(labels: np.ndarray, *, fraction: float = 1.0, validation: float, seed: int) -> Split:
    """Split the training images with these labels (int64 [N]).

    fraction: of all images, in (0, 1]. validation: of the images that the fraction keeps, in (0, 1). Both are
    shared out among the classes by largest remainders, so totals are exact to the image, but for classes so
    small that one image each is kept for training and validation. For one seed and equally large classes, a
    smaller fraction is a subset of a larger one. DataError when a class is left with fewer than two images.
    """
    labels = np.asarray(labels)
    counts = np.bincount(labels)
    kept = _share_out(counts, fraction)
    if (kept < 2).any():
        raise DataError(_too_few(counts, kept, fraction))
    held_out = np.clip(_share_out(kept, validation), 1, kept - 1)
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = [generator.permutation(np.flatnonzero(labels == label)) for label in range(len(counts))]
    rows = [generator.permutation(row[:keep]) for row, keep in zip(rows, kept, strict=True)]
    parts = list(zip(rows, held_out, strict=True))
    return Split(
        train=np.sort(np.concatenate([row[held:] for row, held in parts])),
        validation=np.sort(np.concatenate([row[:held] for row, held in parts])),
    )


def _share_out(counts: np.ndarray, share: float) -> np.ndarray:
    """round(share * sum(counts)) images, shared out by largest remainders; ties go to the first class."""
    quotas = counts * share
    given = np.floor(quotas).astype(np.int64)
    missing = round(float(quotas.sum())) - int(given.sum())
    given[np.argsort(given - quotas, kind="stable")[:missing]] += 1
    return given


def _too_few(counts: np.ndarray, kept: np.ndarray, fraction: float) -> str:
    short, needed = np.flatnonzero(kept < 2), int(np.ceil(2 / fraction))
    lines = [
        f"  class {label}: {counts[label]} images, {kept[label]} kept; at least {needed} are needed"
        for label in short[:20]
    ]
    if len(short) > 20:
        lines.append(f"  and {len(short) - 20} more classes")
    return (
        f"data.fraction {fraction:g} leaves fewer than two images, one to train and one to validate, "
        f"in {len(short)} of {len(counts)} classes; raise data.fraction or give more images\n"
        + "\n".join(lines)
    )
