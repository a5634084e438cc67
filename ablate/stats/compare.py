"""Variants, each a set of scores by seed, are compared: by Welch's t, by pairs, or by Dunnett."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from scipy import special

from ablate.stats.estimate import Estimate, mean, spread
from ablate.stats.many_to_one import critical_t, design_of, family_wise_p
from ablate.stats.verdict import Evidence, Judgement, Procedure, judge, judge_corrected

Scores = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracy in percent by seed. identical: both predicted the same on every shared seed."""

    of: Scores
    against: Scores
    identical: bool = False


class _Sample(NamedTuple):
    """Scores of one side: their number, mean and standard deviation (NaN where there are too few)."""

    n: int
    mean: float
    std: float


def _sample(scores: Sequence[float]) -> _Sample:
    return _Sample(len(scores), mean(scores) if len(scores) else math.nan, spread(scores))


def welch(of: Sequence[float], against: Sequence[float]) -> Estimate:
    """Difference of means with Welch's error and Satterthwaite's degrees of freedom."""
    return _welch(_sample(of), _sample(against))


def _welch(of: _Sample, against: _Sample) -> Estimate:
    value = of.mean - against.mean
    if of.n < 2 or against.n < 2:
        return Estimate(value, math.inf, 0.0)
    first, second = of.std**2 / of.n, against.std**2 / against.n
    if first + second == 0:  # no run differed from another: the spread is below what the test set resolves
        return Estimate(value, math.inf, 0.0)
    df = (first + second) ** 2 / (first**2 / (of.n - 1) + second**2 / (against.n - 1))
    return Estimate(value, math.sqrt(first + second), df)


def paired(of: Scores, against: Scores) -> Estimate:
    """Mean difference over the shared seeds, with its t error."""
    return _of_differences(paired_differences(of, against))


def _of_differences(differences: Sequence[float]) -> Estimate:
    if not differences:
        return Estimate(math.nan, math.inf, 0.0)
    std = spread(differences)
    se = std / math.sqrt(len(differences)) if std > 0 else math.inf
    return Estimate(mean(differences), se, len(differences) - 1)


def paired_differences(of: Scores, against: Scores) -> list[float]:
    return [of[seed] - against[seed] for seed in sorted(of.keys() & against.keys())]


def evidence(comparison: Comparison, *, by_pairs: bool = False) -> Evidence:
    """What a comparison has to say: by Welch, or over the differences of shared seeds."""
    of, against = comparison.of, comparison.against
    if by_pairs:
        return paired_evidence(paired_differences(of, against), variance=2.0, identical=comparison.identical)
    first = _sample([of[seed] for seed in sorted(of)])
    second = _sample([against[seed] for seed in sorted(against)])
    std = _pooled([first, second])
    return Evidence(_welch(first, second), first.n, second.n, std, identical=comparison.identical)


def paired_evidence(differences: Sequence[float], *, variance: float, identical: bool = False) -> Evidence:
    """One difference (or contrast) a seed; variance: its own in units of a single score's, for planning."""
    count, std = len(differences), spread(differences)
    return Evidence(
        _of_differences(differences),
        count,
        count,
        std,
        variance=variance if math.isnan(std) else 1.0,
        groups=1,
        identical=identical,
    )


def pooled_std(groups: Sequence[Sequence[float]]) -> float:
    """One standard deviation for all groups that have two scores or more; NaN if none has."""
    return _pooled([_sample(scores) for scores in groups])


def _pooled(samples: Sequence[_Sample]) -> float:
    weighed = [(sample.n - 1, sample.std) for sample in samples if sample.n > 1]
    if not weighed:
        return math.nan
    return math.sqrt(sum(df * std**2 for df, std in weighed) / sum(df for df, _ in weighed))


def equal_spread(groups: Sequence[Sequence[float]]) -> float:
    """The p-value of Bartlett's test (1937) that all groups, of two scores or more, scatter alike."""
    samples = [_sample(scores) for scores in groups]
    if len(samples) < 2 or not any(sample.std for sample in samples):
        return math.nan
    if not all(sample.std for sample in samples):
        return 0.0
    dfs = [sample.n - 1 for sample in samples]
    pooled = sum(dfs) * math.log(_pooled(samples) ** 2)
    apart = pooled - sum((sample.n - 1) * math.log(sample.std**2) for sample in samples)
    correction = 1 + (sum(1 / df for df in dfs) - 1 / sum(dfs)) / (3 * (len(samples) - 1))
    return float(special.chdtrc(len(samples) - 1, apart / correction))


def compare(family: Sequence[Comparison], procedure: Procedure) -> list[Judgement]:
    """Judge a family of comparisons as the study says; the order is kept."""
    if procedure.test == "dunnett":
        return _dunnett(family, procedure)
    return judge([evidence(one, by_pairs=procedure.test == "paired") for one in family], procedure)


def _dunnett(family: Sequence[Comparison], procedure: Procedure) -> list[Judgement]:
    found, p_adjusted, critical = dunnett(family, procedure.level)
    levels = [
        procedure.level if math.isnan(c) else 2 * float(special.stdtr(one.estimate.df, -c))
        for one, c in zip(found, critical, strict=True)
    ]
    return judge_corrected(found, procedure, p_adjusted, levels, critical)


def dunnett(
    comparisons: Sequence[Comparison], level: float
) -> tuple[list[Evidence], list[float], list[float]]:
    """Many variants against one control (Dunnett 1955): evidence, adjusted p-values, critical values.

    Strongest when all variants scatter alike; its family-wise error doubles when one is unstable, so the
    evidence says how well the scores agree with equal scatter. Comparisons with fewer than two scores on a
    side take no part: their adjusted p-value and critical value are NaN.
    """
    usable = [i for i, c in enumerate(comparisons) if len(c.of) > 1 and len(c.against) > 1]
    found = [evidence(comparison) for comparison in comparisons]
    p_adjusted, critical = [math.nan] * len(comparisons), [math.nan] * len(comparisons)
    if not usable:
        return found, p_adjusted, critical
    control = comparisons[usable[0]].against
    if any(comparisons[i].against != control for i in usable):
        raise ValueError("Dunnett's test compares many variants with one and the same control")
    samples = [list(comparisons[i].of.values()) for i in usable]
    std = pooled_std([*samples, list(control.values())])
    df = sum(len(sample) - 1 for sample in samples) + len(control) - 1
    if std == 0:
        return found, p_adjusted, critical
    p_equal = equal_spread([*samples, list(control.values())])
    design = design_of([len(sample) for sample in samples], len(control))
    bound = critical_t(design, df, level)
    for sample, i in zip(samples, usable, strict=True):
        estimate = Estimate(found[i].estimate.value, std * math.sqrt(1 / len(sample) + 1 / len(control)), df)
        found[i] = replace(found[i], estimate=estimate, std=std, p_equal_spread=p_equal)
        p_adjusted[i] = family_wise_p(estimate.value / estimate.se, design, df)
        critical[i] = bound
    return found, p_adjusted, critical
