"""Holm's correction of a family of comparisons (Holm 1979), and the level at which each interval stands."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float], level: float) -> tuple[list[float], list[float]]:
    """Adjusted p-values, and the level in force for each comparison.

    The family is what was planned: a comparison that cannot be tested yet (p NaN) keeps its place as the
    least significant, so that a half-finished study is not judged more leniently than a finished one. The
    level of a rejected comparison is that of its own step, level / (m − step); all others share the first
    failing step's.
    """
    count = len(p_values)
    ranked = [1.0 if math.isnan(p) else p for p in p_values]
    adjusted, levels = [math.nan] * count, [level] * count
    reached, rejected = 0.0, 0
    for step, i in enumerate(sorted(range(count), key=ranked.__getitem__)):
        reached = min(1.0, max(reached, ranked[i] * (count - step)))
        rejected += reached <= level
        levels[i] = level / (count - step)
        if not math.isnan(p_values[i]):
            adjusted[i] = reached
    failing = level / (count - rejected) if rejected < count else level
    return adjusted, [min(own, failing) for own in levels]
