"""From evidence to verdict: one procedure for differences, sweeps, and the effects of a design.

The order of the verdicts, the first that applies:
no-op · undecidable · exploratory · better / worse (but within the margin) · equivalent · undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ablate.stats.correction import holm
from ablate.stats.estimate import Estimate
from ablate.stats.power import (
    ASSUMED_STD,
    critical_value,
    minimum_detectable_effect,
    seeds_for_equivalence,
    seeds_needed,
)

Verdict = Literal[
    "no-op",
    "undecidable",
    "exploratory",
    "better",
    "worse",
    "better but within the margin",
    "worse but within the margin",
    "equivalent",
    "undecided",
]
# Below this many seeds on a side a test is shown but decides nothing.
SEEDS_FOR_A_VERDICT = 5
_UNEQUAL = 0.05


@dataclass(frozen=True, slots=True)
class Procedure:
    """How a study judges, fixed in its file before any result was seen.

    margin: in points; a difference inside ±margin does not matter. level: of every family, two-sided.
    """

    test: Literal["welch", "paired", "dunnett"] = "welch"
    correction: Literal["holm", "none"] = "holm"
    margin: float = 0.5
    level: float = 0.05


@dataclass(frozen=True, slots=True)
class Evidence:
    """An estimate, and what planning needs to know of how it came about.

    n, n_against: scores on either side; for an effect, of its smallest and its largest cell.
    std: of single scores between seeds, in points; NaN where nobody has two.
    variance, groups: see `seeds_needed`.
    identical: both sides predicted the same on every shared seed.
    p_equal_spread: of the hypothesis that all samples scatter alike, where the test rests on it; else NaN.
    """

    estimate: Estimate
    n: int
    n_against: int
    std: float
    variance: float = 2.0
    groups: int = 2
    identical: bool = False
    p_equal_spread: float = math.nan

    @property
    def unequal_spread(self) -> bool:
        """Whether the test rests on equal scatter, and the scores speak against it."""
        return self.p_equal_spread < _UNEQUAL


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that it rests on. Unknown figures are NaN, unbounded ones infinite.

    level: that the interval stands at, after correction. p_equivalent: of the two one-sided tests, corrected.
    inner: the interval of those tests, 1 − 2 · inner_level, the level of their own Holm step: inside ±margin
    if and only if they accept, and narrower than the two-sided one.
    critical: the value of t at which this comparison is rejected. margin: in points, that was judged by.
    """

    evidence: Evidence
    p_value: float
    p_adjusted: float
    p_equivalent: float
    level: float
    low: float
    high: float
    inner: tuple[float, float]
    inner_level: float
    critical: float
    margin: float
    verdict: Verdict

    @property
    def by_equivalence(self) -> bool:
        """Whether two one-sided tests decided, and not the test for a difference."""
        return self.verdict == "equivalent"

    @property
    def deciding(self) -> tuple[float, float]:
        """The interval that the verdict rests on: that of the two one-sided tests where they decided."""
        return self.inner if self.by_equivalence else (self.low, self.high)

    @property
    def confidence(self) -> float:
        """Of the deciding interval: 0.95 for a 95 % interval."""
        return 1 - (2 * self.inner_level if self.by_equivalence else self.level)

    @property
    def std(self) -> float:
        """Of single scores, for planning, in points; assumed where nobody has two."""
        return ASSUMED_STD if self.std_assumed else self.evidence.std

    @property
    def std_assumed(self) -> bool:
        return math.isnan(self.evidence.std)

    # What follows is reckoned when it is read: it takes ten times as long as the verdict does.

    @property
    def mde(self) -> float:
        """The true effect, in points, that is found with 80 % power."""
        return minimum_detectable_effect(self.evidence.estimate.se, self.evidence.estimate.df, self.critical)

    @property
    def seeds(self) -> int | None:
        """Per variant, to find a true effect as large as the margin with 80 % power.

        None: more than 100,000, or no spread to reckon with.
        """
        return self._planned(seeds_needed)

    @property
    def seeds_to_decide(self) -> int | None:
        """As `seeds`, and enough of them to call no effect equivalent, too."""
        found = (self.seeds, self._planned(seeds_for_equivalence))
        return None if None in found else max(SEEDS_FOR_A_VERDICT, *(n for n in found if n is not None))

    def _planned(self, plan: Callable[..., int | None]) -> int | None:
        evidence = self.evidence
        return plan(self.margin, self.std, self.level, variance=evidence.variance, groups=evidence.groups)


def judge(family: Sequence[Evidence], procedure: Procedure) -> list[Judgement]:
    """Judge a family, corrected together; the order is kept."""
    estimates = [evidence.estimate for evidence in family]
    p_values = [estimate.p_value for estimate in estimates]
    if procedure.correction == "holm":
        adjusted, levels = holm(p_values, procedure.level)
    else:
        adjusted, levels = p_values, [procedure.level] * len(p_values)
    critical = [
        critical_value(e.df, level) if e.known else math.nan
        for e, level in zip(estimates, levels, strict=True)
    ]
    return judge_corrected(family, procedure, adjusted, levels, critical)


def judge_corrected(
    family: Sequence[Evidence],
    procedure: Procedure,
    adjusted: Sequence[float],
    levels: Sequence[float],
    critical: Sequence[float],
) -> list[Judgement]:
    """Judge a family whose adjusted p-values, levels and critical values are known already."""
    equivalence = [evidence.estimate.p_equivalent(procedure.margin) for evidence in family]
    inner_levels = [procedure.level] * len(equivalence)
    if procedure.correction == "holm":
        # "Equivalent" is a claim like any other, and as easily made too often.
        equivalence, inner_levels = holm(equivalence, procedure.level)
    equivalents = zip(equivalence, inner_levels, strict=True)
    return [
        _judgement(*figures, procedure)
        for figures in zip(family, adjusted, equivalents, levels, critical, strict=True)
    ]


def _judgement(
    evidence: Evidence,
    p_adjusted: float,
    equivalent: tuple[float, float],
    level: float,
    critical: float,
    procedure: Procedure,
) -> Judgement:
    """equivalent: the corrected p-value of the two one-sided tests, and the level of their step."""
    p_equivalent, inner_level = equivalent
    estimate = evidence.estimate
    half = critical * estimate.se if estimate.known else math.inf
    return Judgement(
        evidence=evidence,
        p_value=estimate.p_value,
        p_adjusted=p_adjusted,
        p_equivalent=p_equivalent,
        level=level,
        low=estimate.value - half,
        high=estimate.value + half,
        inner=estimate.interval(2 * inner_level),
        inner_level=inner_level,
        critical=critical,
        margin=procedure.margin,
        verdict=decide(evidence, p_adjusted <= procedure.level, p_equivalent <= procedure.level),
    )


def decide(evidence: Evidence, significant: bool, equivalent: bool) -> Verdict:
    """The first verdict that applies; NaN p-values are neither significant nor equivalent."""
    fewest = min(evidence.n, evidence.n_against)
    if evidence.identical:
        return "no-op"
    if fewest < 2:
        return "undecidable"
    if fewest < SEEDS_FOR_A_VERDICT:
        return "exploratory"
    if significant and evidence.estimate.value > 0:
        return "better but within the margin" if equivalent else "better"
    if significant:
        return "worse but within the margin" if equivalent else "worse"
    return "equivalent" if equivalent else "undecided"
