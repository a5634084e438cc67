"""Claims: is a figure inside the range that somebody said it lies in?

A claim says that one figure, or each of several, lies in a range. Against the interval of the figure, at the
claim's own step of Holm's correction: *supported* when it lies wholly inside the range, *refuted* when wholly
outside, else *undecided*. That is a two-sided test with three outcomes: a true value on the bound is wrongly
called supported, or wrongly called refuted, with probability level / 2 each, and a claim that one bound at 0
makes is supported or refuted exactly when the two-sided test of the same difference is significant.

Of a claim on several figures all must lie inside and one suffices outside: supporting it needs no correction
for their number (an intersection-union test, Berger 1982), refuting it has Bonferroni's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special

from ablate.stats.compare import Scores, paired_evidence, pooled_std
from ablate.stats.correction import holm
from ablate.stats.estimate import Estimate
from ablate.stats.factorial import contrast_of_means
from ablate.stats.power import ASSUMED_STD, seeds_for_equivalence, seeds_needed
from ablate.stats.verdict import SEEDS_FOR_A_VERDICT, Evidence, Procedure

ClaimVerdict = Literal["supported", "refuted", "undecided", "exploratory", "undecidable"]
Position = Literal["inside", "outside", "across"]


@dataclass(frozen=True, slots=True)
class Asserted:
    """One figure and the range claimed for it, on one scale; an infinite end is no bound.

    margin: the smallest distance from a bound that matters, for planning. assumed_std: of single scores, on
    this scale, where no side has two runs. evidence.identical: the figure is zero, since both sides predicted
    the same.
    """

    evidence: Evidence
    low: float
    high: float
    margin: float
    assumed_std: float = ASSUMED_STD

    @property
    def p_supporting(self) -> float:
        """One-sided: small when the figure lies inside. NaN where the error is unknown."""
        if self.evidence.identical:
            return 0.0 if self.low < 0 < self.high else 1.0
        estimate = self.evidence.estimate
        if not estimate.known:
            return math.nan
        return max(_p_at_most(estimate, self.low), _p_at_least(estimate, self.high))

    @property
    def p_refuting(self) -> float:
        """One-sided: small when the figure lies outside. NaN where the error is unknown."""
        if self.evidence.identical:
            return 0.0 if not self.low <= 0 <= self.high else 1.0
        estimate = self.evidence.estimate
        if not estimate.known:
            return math.nan
        return min(_p_at_least(estimate, self.low), _p_at_most(estimate, self.high))


@dataclass(frozen=True, slots=True)
class JudgedFigure:
    """One figure of a judged claim, its interval at `level`.

    seeds: per variant, to tell a figure that lies `margin` beyond a bound from one on it and, where both
    bounds are given, one in the middle of the range from one on a bound; with 80 % power, never fewer than a
    verdict needs. seeds_if_true: to decide, were the true figure the one estimated. None: more than 100,000,
    or nothing to reckon with.
    """

    asserted: Asserted
    level: float
    low: float
    high: float
    position: Position
    seeds: int | None
    seeds_if_true: int | None
    std: float
    std_assumed: bool


@dataclass(frozen=True, slots=True)
class ClaimJudgement:
    """A verdict on a claim. p_value: twice the smaller of the p-values for and against, at most 1."""

    figures: tuple[JudgedFigure, ...]
    p_value: float
    p_adjusted: float
    verdict: ClaimVerdict


def judge_claims(family: Sequence[Sequence[Asserted]], procedure: Procedure) -> list[ClaimJudgement]:
    """Judge a family of claims, corrected together; each is one figure, or several that must all hold.

    A claim that cannot be tested yet keeps its place in the family. Fewer than five scores in any cell make
    it exploratory, fewer than two undecidable, whatever the others say.
    """
    sides = [(_all_inside(claim), _one_outside(claim)) for claim in family]
    p_values = [_two_sided(inside, outside) for inside, outside in sides]
    if procedure.correction == "holm":
        adjusted, levels = holm(p_values, procedure.level)
    else:
        adjusted, levels = p_values, [procedure.level] * len(p_values)
    judged = []
    for claim, (inside, outside), p_value, p_adjusted, level in zip(
        family, sides, p_values, adjusted, levels, strict=True
    ):
        decided = p_adjusted <= procedure.level  # NaN is not
        supported = decided and inside <= outside  # NaN, an error unknown, supports nothing
        # All inside at the full level support; one outside at its share of the level refutes.
        level = level if supported else level / len(claim)
        judged.append(
            ClaimJudgement(
                figures=tuple(_judged(one, level) for one in claim),
                p_value=p_value,
                p_adjusted=p_adjusted,
                verdict=_verdict(claim, decided, supported),
            )
        )
    return judged


def judge_exactly(values: Sequence[float], low: float, high: float) -> ClaimVerdict:
    """For figures without an error: all inside [low, high], its ends included, or not."""
    return "supported" if all(low <= value <= high for value in values) else "refuted"


def contrast(weights: Mapping[str, float], scores: Mapping[str, Scores], *, by_pairs: bool) -> Evidence:
    """The weighted sum of the means of variants, with Welch's error and Satterthwaite's degrees of freedom.

    by_pairs: taken seed by seed over the seeds that all share, instead. Two variants with weights 1 and −1
    give Welch's (or the paired) t test.
    """
    counts = [len(scores.get(name, ())) for name in weights]
    size = sum(weight**2 for weight in weights.values())
    if not all(counts) or not counts:
        nothing = Estimate(math.nan, math.inf, 0.0)
        return Evidence(nothing, 0, max(counts, default=0), math.nan, variance=size, groups=len(counts))
    if by_pairs:
        shared = sorted(set.intersection(*(set(scores[name]) for name in weights)))
        sums = [sum(weight * scores[name][seed] for name, weight in weights.items()) for seed in shared]
        return paired_evidence(sums, variance=size)
    runs = {name: [scores[name][seed] for seed in sorted(scores[name])] for name in weights}
    return Evidence(
        contrast_of_means(weights, runs),
        min(counts),
        max(counts),
        pooled_std(list(runs.values())),
        variance=size,
        groups=len(weights),
    )


def ratio(of: Scores, against: Scores, *, by_pairs: bool) -> Evidence:
    """The logarithm of the ratio of two means, its error by the delta method: (s/m)² / n from either side.

    All figures of the evidence are on the logarithmic scale. Means that are not positive have none: the
    estimate is then NaN.
    """
    means = [float(np.mean(list(side.values()))) if side else math.nan for side in (of, against)]
    if not all(mean > 0 for mean in means):
        return contrast({"of": 1.0, "against": -1.0}, {"of": {}, "against": {}}, by_pairs=by_pairs)
    relative = {
        name: {seed: score / mean for seed, score in side.items()}
        for name, side, mean in zip(("of", "against"), (of, against), means, strict=True)
    }
    evidence = contrast({"of": 1.0, "against": -1.0}, relative, by_pairs=by_pairs)
    value = math.log(means[0] / means[1])
    return replace(evidence, estimate=replace(evidence.estimate, value=value))


def slope_weights(positions: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    """The least-squares slope over all runs, as weights of the variants' means.

    positions: of each variant on the axis, at least two of them different. counts: runs of each. Errors are
    left to `contrast`, which lets levels differ in spread and does not take a bend for noise.
    """
    total = sum(counts[name] for name in positions)
    centre = sum(counts[name] * x for name, x in positions.items()) / total
    squares = sum(counts[name] * (x - centre) ** 2 for name, x in positions.items())
    weights = {name: counts[name] * (x - centre) / squares for name, x in positions.items()}
    return {name: weight for name, weight in weights.items() if weight}


def is_geometric(levels: Sequence[float]) -> bool:
    """Whether levels call for a slope per doubling: one constant ratio, or powers of two with gaps."""
    ordered = sorted(set(levels))
    if len(ordered) < 2 or ordered[0] <= 0:
        return False
    doublings = np.log2(np.asarray(ordered) / ordered[0])
    steps = np.diff(doublings)
    constant = len(steps) > 1 and bool(np.allclose(steps, steps[0], rtol=1e-6))
    return constant or bool(np.allclose(doublings, np.round(doublings), atol=1e-6))


def _p_at_most(estimate: Estimate, bound: float) -> float:
    """P-value against "the true value is at most `bound`"."""
    return float(special.stdtr(estimate.df, (bound - estimate.value) / estimate.se))


def _p_at_least(estimate: Estimate, bound: float) -> float:
    """P-value against "the true value is at least `bound`"."""
    return float(special.stdtr(estimate.df, (estimate.value - bound) / estimate.se))


def _all_inside(claim: Sequence[Asserted]) -> float:
    """NaN as soon as one figure has no error."""
    return float(np.max([one.p_supporting for one in claim]))


def _one_outside(claim: Sequence[Asserted]) -> float:
    """Bonferroni's over the figures that have an error; NaN when none has."""
    known = [p for one in claim if not math.isnan(p := one.p_refuting)]
    return min(1.0, len(claim) * min(known)) if known else math.nan


def _two_sided(inside: float, outside: float) -> float:
    known = [p for p in (inside, outside) if not math.isnan(p)]
    return min(1.0, 2 * min(known)) if known else math.nan


def _verdict(claim: Sequence[Asserted], decided: bool, supported: bool) -> ClaimVerdict:
    fewest = min(min(one.evidence.n, one.evidence.n_against) for one in claim)
    if fewest < 2:
        return "undecidable"
    if fewest < SEEDS_FOR_A_VERDICT:
        return "exploratory"
    if not decided:
        return "undecided"
    return "supported" if supported else "refuted"


def _judged(one: Asserted, level: float) -> JudgedFigure:
    low, high = one.evidence.estimate.interval(level)
    assumed = not one.evidence.std > 0  # NaN, too
    std = one.assumed_std if assumed else one.evidence.std
    return JudgedFigure(
        asserted=one,
        level=level,
        low=low,
        high=high,
        position=_position(one, low, high),
        seeds=_seeds(one, std, level),
        seeds_if_true=_seeds_if_true(one, std, level),
        std=std,
        std_assumed=assumed,
    )


def _position(one: Asserted, low: float, high: float) -> Position:
    if one.evidence.identical:
        low = high = 0.0
    if one.low <= low and high <= one.high and not (one.evidence.identical and 0 in (one.low, one.high)):
        return "inside"
    return "outside" if high < one.low or low > one.high else "across"


def _seeds(one: Asserted, std: float, level: float) -> int | None:
    variance, groups = one.evidence.variance, one.evidence.groups
    found = [seeds_needed(one.margin, std, level, variance=variance, groups=groups)]
    if math.isfinite(one.high - one.low):
        half = (one.high - one.low) / 2
        # The interval is two-sided, each of the two tests has half its level.
        found.append(seeds_for_equivalence(half, std, level / 2, variance=variance, groups=groups))
    known = [seeds for seeds in found if seeds is not None]
    return max(SEEDS_FOR_A_VERDICT, *known) if len(known) == len(found) else None


def _seeds_if_true(one: Asserted, std: float, level: float) -> int | None:
    value = one.evidence.estimate.value
    distance = min((abs(value - bound) for bound in (one.low, one.high) if math.isfinite(bound)), default=0.0)
    if not distance > 0:
        return None
    variance, groups = one.evidence.variance, one.evidence.groups
    seeds = seeds_needed(distance, std, level, variance=variance, groups=groups)
    return None if seeds is None else max(SEEDS_FOR_A_VERDICT, seeds)
