"""What an experiment could have seen: minimum detectable effects, and the seeds that would be needed.

Power is that of the two-sided t test from the noncentral t distribution; the far tail (below 1e-4 at 80 %) is
left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

POWER = 0.8
# The seed-to-seed standard deviation, in points, that is assumed (and said to be) where one run gives none.
ASSUMED_STD = 0.3
_MOST_SEEDS = 100_000


def critical_value(df: float, level: float) -> float:
    """Where the two-sided t test at `level` rejects."""
    return float(special.stdtrit(df, 1 - level / 2))


def minimum_detectable_effect(se: float, df: float, critical: float, power: float = POWER) -> float:
    """The true effect that a test with this error and critical value finds with probability `power`.

    Infinite where the error is unknown.
    """
    if not (math.isfinite(se) and se > 0 and df > 0):
        return math.inf
    return float(special.nctdtrinc(df, 1 - power, critical)) * se


def seeds_needed(
    effect: float, std: float, level: float, *, variance: float = 2.0, groups: int = 2, power: float = POWER
) -> int | None:
    """Seeds per variant with which a true `effect` is found with probability `power`.

    None: more than 100,000, or `std` is zero, so that nothing can be reckoned.

    effect, std: in points; std is that of single scores between seeds.
    level: of the two-sided test, after correction: 0.05 / 14 is the first Holm step among fourteen.
    variance, groups: the squared error is variance · std² / n on groups · (n − 1) degrees of freedom. Two
    variants: 2 and 2. Paired differences: 1 and 1. A main effect of a 2^k design: 4 / 2^k and 2^k.
    """

    def enough(n: int) -> bool:
        df = groups * (n - 1)
        critical = critical_value(df, level)
        return minimum_detectable_effect(std * math.sqrt(variance / n), df, critical, power) <= abs(effect)

    return _smallest(enough) if std > 0 else None


def seeds_for_equivalence(
    margin: float, std: float, level: float, *, variance: float = 2.0, groups: int = 2, power: float = POWER
) -> int | None:
    """Seeds per variant with which two one-sided tests accept ±margin when the true effect is zero."""

    def enough(n: int) -> bool:
        df = groups * (n - 1)
        one_sided = float(special.stdtrit(df, 1 - level))
        above = 1 - float(special.nctdtr(df, margin / (std * math.sqrt(variance / n)), one_sided))
        return 2 * above - 1 >= power  # both one-sided tests reject

    return _smallest(enough) if std > 0 else None


def _smallest(enough: Callable[[int], bool]) -> int | None:
    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST_SEEDS:
            return None
    low = high // 2  # not enough, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
