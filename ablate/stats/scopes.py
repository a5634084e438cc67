"""From this test set to new images: the error of a difference when images are a sample, too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ablate.stats.compare import welch
from ablate.stats.estimate import Estimate


def on_new_images(of: NDArray[np.bool_], against: NDArray[np.bool_]) -> Estimate:
    """Difference in accuracy (points) with the error of a crossed design, seeds × images.

    of, against: [runs, images], whether each run got each image right; the images are the same and in one
    order. SE² = s²A/nA + s²B/nB + s²d/N − (rA/nA + rB/nB)/N: s² between runs, s²d between images of the
    difference of mean correctness, r the run × image residual variance, which the other terms hold once too
    often. Satterthwaite's degrees of freedom; the error is never below that of the seeds alone.
    """
    if of.shape[1] != against.shape[1]:
        raise ValueError(f"both sides need the same images: {of.shape[1]} and {against.shape[1]}")
    seeds_only = welch((100 * of.mean(axis=1)).tolist(), (100 * against.mean(axis=1)).tolist())
    images = of.shape[1]
    if not seeds_only.known or images < 2:
        return Estimate(seeds_only.value, math.inf, 0.0)
    runs, residuals = [], []
    for correct in (of, against):
        count = len(correct)
        runs.append((100**2 * float(correct.mean(axis=1).var(ddof=1)) / count, count - 1))
        residuals.append((_residual(correct) / count / images, (count - 1) * (images - 1)))
    difference = 100 * (of.mean(axis=0) - against.mean(axis=0))
    between_images = (float(difference.var(ddof=1)) / images, images - 1)
    total = sum(part for part, _ in [*runs, between_images]) - sum(part for part, _ in residuals)
    if total <= seeds_only.se**2:
        return seeds_only
    df = total**2 / sum(part**2 / df for part, df in [*runs, between_images, *residuals])
    return Estimate(seeds_only.value, math.sqrt(total), df)


def _residual(correct: NDArray[np.bool_]) -> float:
    """Residual variance (points²) of run × image after both means are taken out."""
    values = 100 * correct.astype(np.float64)
    left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0, keepdims=True) + values.mean()
    return float((left**2).sum() / ((len(values) - 1) * (values.shape[1] - 1)))
