"""Holm's correction of a family of comparisons (Holm 1979), and the level at which each interval stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float], level: float) -> tuple[list[float], list[float]]:
    """Adjusted p-values, and the level in force for each comparison.

    The family is what was planned: a comparison that cannot be tested yet (p NaN) keeps its place as the
    least significant, so that a half-finished study is not judged more leniently than a finished one. The
    level of a rejected comparison is that of its own step, level / (m − step); all others share the first
    failing step's.
    """
    p = np.asarray(p_values, dtype=np.float64)
    count = p.size
    ranked = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(ranked, kind="stable")
    steps = count - np.arange(count)
    adjusted_in_order = np.minimum(1.0, np.maximum.accumulate(ranked[order] * steps))
    rejected = int(np.count_nonzero(adjusted_in_order <= level))
    adjusted, levels = np.empty(count), np.empty(count)
    adjusted[order] = adjusted_in_order
    levels[order] = level / np.maximum(steps, count - rejected)
    adjusted[np.isnan(p)] = np.nan
    return adjusted.tolist(), levels.tolist()
