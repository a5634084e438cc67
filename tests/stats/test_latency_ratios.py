"""Ratios of latencies: the paired t test on logarithms, corrected, held against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.stats import Procedure, judge_latencies, log_ratio, typical_latency


def rounds(mean_ms: float, seed: int, count: int = 10) -> list[float]:
    return list(np.random.default_rng(seed).lognormal(math.log(mean_ms), 0.05, count))


def test_a_ratio_is_the_paired_t_test_of_logarithms() -> None:
    of, against = rounds(1.2, 0), rounds(1.0, 1)
    [found] = judge_latencies([log_ratio(of, against)], Procedure())
    reference = stats.ttest_rel(np.log(of), np.log(against))
    interval = reference.confidence_interval(0.95)
    assert found.p_value == found.p_adjusted == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert (found.verdict, found.rounds) == ("slower", 10)
    [back] = judge_latencies([log_ratio(against, of)], Procedure())
    assert (back.low, back.high, back.verdict) == (
        pytest.approx(1 / found.high),
        pytest.approx(1 / found.low),
        "faster",
    )


def test_a_family_is_corrected_together() -> None:
    base = rounds(1.0, 9)
    family = [log_ratio(rounds(mean, seed), base) for seed, mean in enumerate((1.3, 1.06, 1.0))]
    found = judge_latencies(family, Procedure())
    adjusted = multipletests([one.p_value for one in found], method="holm")[1]
    assert [one.p_adjusted for one in found] == pytest.approx(list(adjusted))
    assert found[0].level == pytest.approx(0.05 / 3)
    alone = judge_latencies(family, Procedure(correction="none"))
    assert alone[1].p_adjusted == alone[1].p_value and alone[1].level == 0.05


@pytest.mark.parametrize(("count", "verdict"), [(1, "undecidable"), (3, "exploratory"), (5, "slower")])
def test_few_rounds_decide_nothing(count: int, verdict: str) -> None:
    [found] = judge_latencies([log_ratio(rounds(2.0, 0, count), rounds(1.0, 1, count))], Procedure())
    assert found.verdict == verdict
    if count == 1:
        assert (found.low, found.high) == (0.0, math.inf)


def test_rounds_of_another_number_are_not_paired() -> None:
    with pytest.raises(ValueError, match="zip"):
        log_ratio([1.0, 2.0], [1.0])


def test_a_typical_latency_is_the_geometric_mean_with_its_interval() -> None:
    values = rounds(3.0, 4)
    typical, low, high = typical_latency(values, 0.05)
    assert typical == pytest.approx(stats.gmean(values))
    interval = stats.ttest_1samp(np.log(values), 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert typical_latency([2.0], 0.05) == (2.0, 0.0, math.inf)


def test_two_alike_seldom_differ() -> None:
    """A/A at the nominal level: 1,000 pairs of ten rounds."""
    differ = sum(
        judge_latencies([log_ratio(rounds(1.0, 2 * at), rounds(1.0, 2 * at + 1))], Procedure())[0].verdict
        != "no difference found"
        for at in range(1000)
    )
    assert 30 <= differ <= 72  # binomial(1000, .05): outside once in a thousand
