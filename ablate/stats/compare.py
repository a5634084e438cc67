"""Variants, each a set of scores by seed, are compared: by Welch's t, by pairs, or by Dunnett."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from ablate.stats.estimate import Estimate, spread
from ablate.stats.verdict import Evidence, Judgement, Procedure, judge, judge_corrected

Scores = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracy in percent by seed. identical: both predicted the same on every shared seed."""

    of: Scores
    against: Scores
    identical: bool = False


def welch(of: Sequence[float], against: Sequence[float]) -> Estimate:
    """Difference of means with Welch's error and Satterthwaite's degrees of freedom."""
    if not len(of) or not len(against):
        return Estimate(math.nan, math.inf, 0.0)
    value = float(np.mean(of)) - float(np.mean(against))
    if len(of) < 2 or len(against) < 2:
        return Estimate(value, math.inf, 0.0)
    first = spread(of) ** 2 / len(of)
    second = spread(against) ** 2 / len(against)
    if first + second == 0:  # no run differed from another: the spread is below what the test set resolves
        return Estimate(value, math.inf, 0.0)
    df = (first + second) ** 2 / (first**2 / (len(of) - 1) + second**2 / (len(against) - 1))
    return Estimate(value, math.sqrt(first + second), df)


def paired(of: Scores, against: Scores) -> Estimate:
    """Mean difference over the shared seeds, with its t error."""
    return _of_differences(paired_differences(of, against))


def _of_differences(differences: Sequence[float]) -> Estimate:
    if not differences:
        return Estimate(math.nan, math.inf, 0.0)
    std = spread(differences)
    se = std / math.sqrt(len(differences)) if std > 0 else math.inf
    return Estimate(float(np.mean(differences)), se, len(differences) - 1)


def paired_differences(of: Scores, against: Scores) -> list[float]:
    return [of[seed] - against[seed] for seed in sorted(of.keys() & against.keys())]


def evidence(comparison: Comparison, *, by_pairs: bool = False) -> Evidence:
    """What a comparison has to say: by Welch, or over the differences of shared seeds."""
    of, against = comparison.of, comparison.against
    if by_pairs:
        return paired_evidence(paired_differences(of, against), variance=2.0, identical=comparison.identical)
    first, second = [of[seed] for seed in sorted(of)], [against[seed] for seed in sorted(against)]
    std = pooled_std([first, second])
    return Evidence(welch(first, second), len(first), len(second), std, identical=comparison.identical)


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
    weighed = [(len(scores) - 1, spread(scores)) for scores in groups if len(scores) > 1]
    if not weighed:
        return math.nan
    return math.sqrt(sum(df * std**2 for df, std in weighed) / sum(df for df, _ in weighed))


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

    Strongest when all variants scatter alike; its family-wise error doubles when one is unstable. Comparisons
    with fewer than two scores on a side take no part: their adjusted p-value and critical value are NaN.
    """
    from scipy import stats  # slow to import, and only this test needs it

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
    # Its multivariate t integrals are quasi-random: a fixed generator makes a report repeat itself.
    result = stats.dunnett(*samples, control=list(control.values()), rng=np.random.default_rng(0))
    bounds = result.confidence_interval(confidence_level=1 - level)
    for position, i in enumerate(usable):
        se = std * math.sqrt(1 / len(samples[position]) + 1 / len(control))
        value = found[i].estimate.value
        found[i] = replace(found[i], estimate=Estimate(value, se, df), std=std)
        p_adjusted[i] = float(result.pvalue[position])
        critical[i] = float(bounds.high[position] - value) / se
    return found, p_adjusted, critical
