"""An estimate with its standard error, and what follows from the two: intervals, p-values, equivalence.

Every comparison and every effect in `ablate` ends as an `Estimate`, so that all are judged alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

# Scores whose range is below this share of their size are one value that was rounded differently.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """`value` with standard error `se` on `df` degrees of freedom, in the unit of the scores.

    An error that cannot be estimated (one run, or runs without any spread) is infinite, never zero: the
    interval is then infinite and the p-value NaN.
    """

    value: float
    se: float
    df: float

    @property
    def known(self) -> bool:
        """Whether there is an error to judge by."""
        return math.isfinite(self.se) and self.se > 0 and self.df > 0

    @property
    def p_value(self) -> float:
        """Two-sided, for a true value of zero; NaN where the error is unknown."""
        if not self.known:
            return math.nan
        return float(2 * special.stdtr(self.df, -abs(self.value) / self.se))

    def interval(self, level: float) -> tuple[float, float]:
        """The interval that misses the true value with probability `level` (0.05: a 95 % interval)."""
        if not self.known:
            return (-math.inf, math.inf)
        half = float(special.stdtrit(self.df, 1 - level / 2)) * self.se
        return (self.value - half, self.value + half)

    def p_equivalent(self, margin: float) -> float:
        """Two one-sided tests (Schuirmann 1987): small when the true value lies within ±margin."""
        if not self.known:
            return math.nan
        return float(special.stdtr(self.df, (abs(self.value) - margin) / self.se))


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and standard deviation (n − 1) of scores, with the t interval of the mean."""

    n: int
    mean: float
    std: float
    low: float
    high: float


def mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


def spread(scores: Sequence[float]) -> float:
    """The standard deviation (n − 1); NaN for fewer than two scores, exactly zero when all are equal."""
    count = len(scores)
    if count < 2:
        return math.nan
    low, high = min(scores), max(scores)
    if high - low <= _ROUNDING * max(1.0, abs(low), abs(high)):
        return 0.0
    centre = mean(scores)
    return math.sqrt(math.fsum((score - centre) ** 2 for score in scores) / (count - 1))


def summarise(scores: Sequence[float], level: float = 0.05) -> Summary:
    """One score, or scores without any spread, give an infinite interval. No score at all is a ValueError."""
    if not len(scores):
        raise ValueError("no scores to summarise")
    centre, std = mean(scores), spread(scores)
    se = std / math.sqrt(len(scores)) if std > 0 else math.inf
    low, high = Estimate(centre, se, len(scores) - 1).interval(level)
    return Summary(len(scores), centre, std, low, high)
