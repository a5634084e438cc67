"""From evidence to verdict: one procedure for differences, sweeps, and the effects of a design.

The order of the verdicts, the first that applies:
no-op · undecidable · exploratory · better / worse (but within the margin) · equivalent · undecided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """

    estimate: Estimate
    n: int
    n_against: int
    std: float
    variance: float = 2.0
    groups: int = 2
    identical: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that it rests on. Unknown figures are NaN, unbounded ones infinite.

    level: that the interval stands at, after correction. p_equivalent: of the two one-sided tests, corrected.
    inner: the interval of those tests, 1 − 2 · level of their own Holm step: inside ±margin if and only if
    they accept, and narrower than the two-sided one.
    mde: the effect found with 80 % power. std: of single scores, for planning; assumed where nobody has two.
    seeds: per variant, to find a true effect as large as the margin with 80 % power. seeds_to_decide: also to
    call no effect equivalent. Both None: more than 100,000, or no spread to reckon with.
    """

    evidence: Evidence
    p_value: float
    p_adjusted: float
    p_equivalent: float
    level: float
    low: float
    high: float
    inner: tuple[float, float]
    mde: float
    seeds: int | None
    seeds_to_decide: int | None
    std: float
    std_assumed: bool
    verdict: Verdict


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
    assumed = math.isnan(evidence.std)
    std = ASSUMED_STD if assumed else evidence.std
    seeds = seeds_needed(procedure.margin, std, level, variance=evidence.variance, groups=evidence.groups)
    neither = seeds_for_equivalence(
        procedure.margin, std, level, variance=evidence.variance, groups=evidence.groups
    )
    return Judgement(
        evidence=evidence,
        p_value=estimate.p_value,
        p_adjusted=p_adjusted,
        p_equivalent=p_equivalent,
        level=level,
        low=estimate.value - half,
        high=estimate.value + half,
        inner=estimate.interval(2 * inner_level),
        mde=minimum_detectable_effect(estimate.se, estimate.df, critical),
        seeds=seeds,
        seeds_to_decide=None
        if seeds is None or neither is None
        else max(seeds, neither, SEEDS_FOR_A_VERDICT),
        std=std,
        std_assumed=assumed,
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
