"""Verdicts in their order, and how often they are wrong."""

import math

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_ind

from ablate.stats import Comparison, Judgement, Procedure, compare, explain

WELCH = Procedure()


def scores(mean: float, n: int = 5, std: float = 0.3) -> dict[int, float]:
    """Scores with exactly this mean and standard deviation."""
    places = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    scale = std / places.std(ddof=1) if n > 1 else 0
    return dict(enumerate(mean + places * scale))


def judged(
    of: dict[int, float], against: dict[int, float], procedure: Procedure = WELCH, *, identical: bool = False
) -> Judgement:
    return compare([Comparison(of, against, identical)], procedure)[0]


@pytest.mark.parametrize(
    ("of", "against", "verdict"),
    [
        (scores(85.38, 1), scores(84.68, 1), "undecidable"),
        (scores(90, 1), scores(84, 5), "undecidable"),
        ({}, scores(84, 5), "undecidable"),
        (scores(90, 4), scores(84, 10), "exploratory"),
        (scores(85), scores(84), "better"),
        (scores(83), scores(84), "worse"),
        (scores(84.2, 10, 0.1), scores(84, 10, 0.1), "better but within the margin"),
        (scores(83.8, 10, 0.1), scores(84, 10, 0.1), "worse but within the margin"),
        (scores(84.01, 10), scores(84, 10), "equivalent"),
        (scores(84.3), scores(84), "undecided"),
    ],
)
def test_the_first_verdict_that_applies(
    of: dict[int, float], against: dict[int, float], verdict: str
) -> None:
    assert judged(of, against).verdict == verdict


@pytest.mark.parametrize("n", [1, 3, 5])
def test_identical_predictions_are_a_no_op_before_anything_else(n: int) -> None:
    assert judged(scores(84, n), scores(84, n), identical=True).verdict == "no-op"


def test_two_arms_without_spread_are_undecided_however_far_apart() -> None:
    judgement = judged(dict.fromkeys(range(5), 90.0), dict.fromkeys(range(5), 80.0))
    assert judgement.verdict == "undecided"
    assert (judgement.low, judgement.high, judgement.mde) == (-math.inf, math.inf, math.inf)
    assert judgement.seeds is None
    assert "no error" in explain(judgement, WELCH)


def test_84_68_against_85_38_from_one_run_each() -> None:
    judgement = judged({0: 85.38}, {0: 84.68})
    assert judgement.verdict == "undecidable"
    assert explain(judgement, WELCH) == (
        "a single run tells nothing of the spread between seeds: at an assumed seed sd of 0.3 points a gap "
        "of 0.70 arises "
        "by chance 9.9 % of the time; 7 seeds per variant would show a difference of 0.5 points, or rule "
        "it out, 4 times in 5 "
        "if seeds scatter by 0.3 points (assumed; after two seeds it is measured)"
    )


def test_an_interval_excludes_zero_exactly_when_its_comparison_is_rejected() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        against = dict(enumerate(rng.normal(84, 0.3, 5)))
        family = [Comparison(dict(enumerate(rng.normal(84.4, 0.3, 5))), against) for _ in range(4)]
        for judgement in compare(family, WELCH):
            assert (judgement.low > 0 or judgement.high < 0) == (judgement.p_adjusted <= 0.05)


def test_seeds_needed_are_those_of_the_level_in_force() -> None:
    [alone] = compare([Comparison(scores(84.01), scores(84))], WELCH)
    among = compare([Comparison(scores(84.01), scores(84))] * 14, WELCH)
    assert (alone.seeds, among[0].seeds) == (7, 13)


def test_without_correction_each_comparison_stands_alone() -> None:
    family = [Comparison(scores(84.5), scores(84))] * 10
    corrected, plain = compare(family, WELCH)[0], compare(family, Procedure(correction="none"))[0]
    assert (corrected.verdict, plain.verdict) == ("undecided", "better")
    assert plain.p_adjusted == plain.p_value and plain.level == 0.05


def test_undecided_never_says_no_effect() -> None:
    sentence = explain(judged(scores(84.3), scores(84)), WELCH)
    assert sentence.startswith("neither zero nor a difference beyond ±0.5 points is ruled out; ")
    assert "no effect" not in sentence


REPLICATES = 1500


def limit(rate: float) -> float:
    return rate + 3 * math.sqrt(rate * (1 - rate) / REPLICATES)


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("arms", [1, 5])
def test_family_wise_error_and_coverage_without_any_effect(n: int, arms: int) -> None:
    rng = np.random.default_rng(100 * n + arms)
    draws = rng.normal(84, 0.3, (REPLICATES, arms + 1, n))
    false_families = covered = 0
    for baseline, *others in draws:
        against = dict(enumerate(baseline.tolist()))
        found = compare([Comparison(dict(enumerate(arm.tolist())), against) for arm in others], WELCH)
        false_families += any(one.verdict.startswith(("better", "worse")) for one in found)
        covered += sum(one.low <= 0 <= one.high for one in found)
    assert false_families / REPLICATES <= limit(0.05)
    assert covered / REPLICATES / arms >= 0.93


def test_equivalence_errs_no_more_than_nominal_at_the_margin_and_finds_what_was_published_at_none() -> None:
    def accepted(shift: float, n: int) -> float:
        rng = np.random.default_rng(n)
        of, against = rng.normal(84 + shift, 0.3, (REPLICATES, n)), rng.normal(84, 0.3, (REPLICATES, n))
        found = (
            judged(dict(enumerate(a.tolist())), dict(enumerate(b.tolist())))
            for a, b in zip(of, against, strict=True)
        )
        return sum(one.p_equivalent <= 0.05 for one in found) / REPLICATES

    assert accepted(0.5, 10) <= limit(0.05)
    assert accepted(0.0, 10) == pytest.approx(0.95, abs=0.02)
    assert accepted(0.0, 5) == pytest.approx(0.53, abs=0.04)


def test_the_inner_interval_lies_inside_the_margin_exactly_when_the_tests_accept() -> None:
    rng = np.random.default_rng(7)
    accepted = 0
    for _ in range(300):
        scores = rng.normal(86, 0.35, (4, 6)) + rng.normal(0, 0.2, (4, 1))
        arms = [dict(enumerate(row)) for row in scores.tolist()]
        for judgement in compare([Comparison(of, arms[0]) for of in arms[1:]], Procedure(margin=0.6)):
            inside = judgement.inner[0] >= -0.6 and judgement.inner[1] <= 0.6
            assert inside == (judgement.p_equivalent <= 0.05)
            accepted += inside
    assert 50 < accepted < 850, "both answers occur"


def test_equivalence_is_schuirmanns_test_by_statsmodels() -> None:
    rng = np.random.default_rng(8)
    for n, against_n in ((5, 5), (10, 4)):
        of, against = rng.normal(84.1, 0.2, n), rng.normal(84, 0.4, against_n)
        expected = ttost_ind(of, against, -0.5, 0.5, usevar="unequal")[0]
        found = judged(dict(enumerate(of.tolist())), dict(enumerate(against.tolist())))
        assert found.p_equivalent == pytest.approx(expected, rel=1e-9)


def draws_without_effect(n: int) -> np.ndarray:
    """[2, replicates, n]"""
    return np.random.default_rng(n).normal(84, 0.3, (2, 4000, n))


@pytest.mark.parametrize(
    ("n", "welch", "paired", "of_1_96", "bootstrap"),
    [(3, 0.036, 0.049, 0.122, 0.197), (5, 0.046, 0.052, 0.087, 0.124), (10, 0.050, 0.050, 0.066, 0.084)],
)
def test_the_published_false_positive_rates(
    n: int, welch: float, paired: float, of_1_96: float, bootstrap: float
) -> None:
    """Why t tests decide and neither 1.96 standard errors nor a bootstrap does."""
    of, against = draws_without_effect(n)

    def rate(test: str) -> float:
        procedure = Procedure(test=test)  # type: ignore[arg-type]
        pairs = zip(of.tolist(), against.tolist(), strict=True)
        found = (judged(dict(enumerate(a)), dict(enumerate(b)), procedure) for a, b in pairs)
        return sum(one.p_adjusted <= 0.05 for one in found) / len(of)

    def close(share: float) -> object:
        return pytest.approx(share, abs=3 * math.sqrt(share * (1 - share) / len(of)) + 0.003)

    assert rate("welch") == close(welch)
    assert rate("paired") == close(paired)
    difference = of.mean(1) - against.mean(1)
    error = np.sqrt((of.var(1, ddof=1) + against.var(1, ddof=1)) / n)
    assert float((abs(difference) > 1.96 * error).mean()) == close(of_1_96)
    picks = np.random.default_rng(0).integers(n, size=(2, 600, n))
    outside = 0
    for a, b in zip(of[:1500], against[:1500], strict=True):
        low, high = np.quantile(a[picks[0]].mean(1) - b[picks[1]].mean(1), [0.025, 0.975])
        outside += low > 0 or high < 0
    assert outside / 1500 == pytest.approx(bootstrap, abs=0.04)
