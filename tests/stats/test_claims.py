from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.stats import Estimate, Evidence, Procedure
from ablate.stats.claims import (
    Asserted,
    contrast,
    is_geometric,
    judge_claims,
    judge_exactly,
    ratio,
    slope_weights,
)

ANY, WELCH = math.inf, Procedure()
A = {0: 85.1, 1: 85.9, 2: 85.3, 3: 85.6, 4: 85.2}
B = {0: 84.6, 1: 85.0, 2: 84.4, 3: 84.9, 4: 84.3}
C = {0: 84.9, 1: 85.4, 2: 84.1, 3: 85.8, 4: 85.0}


def difference(of: dict[int, float], against: dict[int, float]) -> Evidence:
    return contrast({"of": 1.0, "against": -1.0}, {"of": of, "against": against}, by_pairs=False)


def known(value: float, se: float, df: float = 8.0, n: int = 5) -> Evidence:
    return Evidence(Estimate(value, se, df), n, n, 0.3)


def one(evidence: Evidence, low: float = -ANY, high: float = ANY) -> tuple[str, float]:
    [judged] = judge_claims([[Asserted(evidence, low, high, margin=0.5)]], WELCH)
    return judged.verdict, judged.p_value


# Verdicts


def test_at_least_zero_is_the_two_sided_welch_test() -> None:
    verdict, p_value = one(difference(A, B), low=0)
    assert verdict == "supported"
    test = stats.ttest_ind(list(A.values()), list(B.values()), equal_var=False)
    assert p_value == pytest.approx(test.pvalue, rel=1e-12)
    assert one(difference(B, A), low=0) == ("refuted", pytest.approx(test.pvalue, rel=1e-12))
    assert one(difference(A, C), low=0)[0] == "undecided"


@pytest.mark.parametrize(
    ("value", "expected"), [(0.7, "supported"), (0.35, "undecided"), (-0.1, "refuted"), (1.5, "refuted")]
)
def test_a_range_is_judged_by_the_interval_against_both_ends(value: float, expected: str) -> None:
    """Half of the 95 % interval: 0.1 × 2.306 = 0.23."""
    assert one(known(value, 0.1), 0.2, 1.2)[0] == expected


@pytest.mark.parametrize(("n", "expected"), [(1, "undecidable"), (4, "exploratory"), (5, "supported")])
def test_few_seeds_decide_nothing_however_large_the_effect(n: int, expected: str) -> None:
    assert one(known(9.0, 0.1, n=n), low=0)[0] == expected


def test_the_interval_printed_is_the_one_that_decides() -> None:
    """Over a family at every strength: inside is supported, outside refuted, else undecided."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        family = [[Asserted(known(rng.normal(0.2, 0.4), 0.12), 0, ANY, 0.5)] for _ in range(4)]
        for judged in judge_claims(family, WELCH):
            [figure] = judged.figures
            by_interval = {"inside": "supported", "outside": "refuted", "across": "undecided"}
            assert judged.verdict == by_interval[figure.position]


def test_claims_share_one_holm_correction() -> None:
    values = [0.9, 0.33, 0.27, 0.05]
    judged = judge_claims([[Asserted(known(value, 0.1), 0, ANY, 0.5)] for value in values], WELCH)
    p = [2 * stats.t.sf(value / 0.1, 8) for value in values]
    reject, adjusted, _, _ = multipletests(p, 0.05, "holm")
    assert [one.p_adjusted for one in judged] == pytest.approx(adjusted, rel=1e-12)
    assert [one.verdict == "supported" for one in judged] == list(reject) == [True, True, False, False]
    assert judged[0].figures[0].level == pytest.approx(0.05 / 4)
    assert judged[3].figures[0].level == pytest.approx(0.05 / 2)


def test_a_claim_that_cannot_be_tested_yet_keeps_its_place() -> None:
    untested = Evidence(Estimate(math.nan, ANY, 0.0), 0, 5, math.nan)
    judged = judge_claims([[Asserted(e, 0, ANY, 0.5)] for e in (known(0.26, 0.1), untested)], WELCH)
    assert [one.verdict for one in judged] == ["undecided", "undecidable"]  # p = .031, but of two
    assert math.isnan(judged[1].p_value)


def test_several_must_all_hold_and_one_against_suffices() -> None:
    def verdict(*values: float) -> str:
        [judged] = judge_claims([[Asserted(known(v, 0.1), 0, ANY, 0.5) for v in values]], WELCH)
        return judged.verdict

    assert verdict(0.5, 0.24) == "supported"  # the weaker one's p, .043, is the claim's
    assert verdict(0.5, 0.1) == "undecided"
    assert verdict(0.5, -0.24) == "undecided"  # .043 is not below .05 / 2
    assert verdict(0.5, -0.3) == "refuted"


def test_the_intervals_of_several_stand_where_they_agree_with_the_verdict() -> None:
    def positions(*values: float) -> list[str]:
        [judged] = judge_claims([[Asserted(known(v, 0.1), 0, ANY, 0.5) for v in values]], WELCH)
        return [figure.position for figure in judged.figures]

    assert positions(0.5, 0.24) == ["inside", "inside"]
    assert positions(0.5, -0.24) == ["inside", "across"]
    assert positions(0.5, -0.3) == ["inside", "outside"]


def test_one_figure_without_an_error_supports_nothing_and_cannot_hide_a_refutation() -> None:
    flat = Evidence(Estimate(0.4, ANY, 0.0), 5, 5, 0.0)
    for value, expected in ((0.9, "undecided"), (-0.9, "refuted")):
        [judged] = judge_claims([[Asserted(e, 0, ANY, 0.5) for e in (flat, known(value, 0.1))]], WELCH)
        assert judged.verdict == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, ANY, "undecided"), (0.2, 1.2, "refuted"), (-0.5, 0.5, "supported")]
)
def test_what_changes_nothing_supports_no_help(low: float, high: float, expected: str) -> None:
    same = Evidence(Estimate(0.0, 0.2, 8.0), 5, 5, 0.3, identical=True)
    assert one(same, low, high)[0] == expected


def test_a_cost_on_the_bound_is_inside() -> None:
    assert judge_exactly([1.05, 1.10], 1.05, 1.10) == "supported"
    assert judge_exactly([1.0111], 1.05, 1.10) == "refuted"


# What would decide


def test_seeds_to_decide_are_those_of_the_published_table() -> None:
    """sd 0.3, one comparison: 0.5 points need 7 seeds (VALIDITY: 0.3 → 17, 0.5 → 7, 0.7 → 5)."""
    single = Evidence(Estimate(0.7, ANY, 0.0), 1, 1, math.nan)
    [judged] = judge_claims([[Asserted(single, 0, ANY, 0.5)]], WELCH)
    [figure] = judged.figures
    assert (judged.verdict, figure.seeds, figure.std_assumed) == ("undecidable", 7, True)
    assert figure.seeds_if_true == 5


def test_seeds_for_a_range_let_its_middle_be_supported() -> None:
    """Checked against the simulated power of the two one-sided tests at that many seeds, and one fewer."""
    [judged] = judge_claims([[Asserted(known(0.5, 0.2), 0.2, 0.8, margin=5.0)]], WELCH)
    seeds = judged.figures[0].seeds
    assert seeds is not None
    rng = np.random.default_rng(0)

    def power(n: int) -> float:
        x, y = rng.normal(0.5, 0.3, (20_000, n)), rng.normal(0, 0.3, (20_000, n))
        se = np.sqrt((x.var(1, ddof=1) + y.var(1, ddof=1)) / n)
        half = stats.t.ppf(0.975, 2 * (n - 1)) * se
        middle = x.mean(1) - y.mean(1)
        return float(np.mean((middle - half > 0.2) & (middle + half < 0.8)))

    assert power(seeds) > 0.79 and power(seeds - 1) < 0.81


# Figures


def test_a_contrast_of_two_is_welch_or_the_paired_test() -> None:
    weights, scores = {"a": 1.0, "b": -1.0}, {"a": A, "b": B}
    welch = stats.ttest_ind(list(A.values()), list(B.values()), equal_var=False)
    found = contrast(weights, scores, by_pairs=False).estimate
    assert (found.p_value, found.df) == (pytest.approx(welch.pvalue), pytest.approx(welch.df))
    pairs = stats.ttest_rel(list(A.values()), list(B.values()))
    assert contrast(weights, scores, by_pairs=True).estimate.p_value == pytest.approx(pairs.pvalue)


def test_a_weighted_sum_has_satterthwaites_degrees_of_freedom() -> None:
    weights = {"a": 1.0, "b": -0.5, "c": -0.5}
    found = contrast(weights, {"a": A, "b": B, "c": C}, by_pairs=False).estimate
    parts = [
        w**2 * np.var(list(s.values()), ddof=1) / 5 for w, s in zip((1, 0.5, 0.5), (A, B, C), strict=True)
    ]
    assert found.se == pytest.approx(math.sqrt(sum(parts)))
    assert found.df == pytest.approx(sum(parts) ** 2 / sum(part**2 / 4 for part in parts))


def test_a_ratio_has_the_error_of_the_delta_method() -> None:
    found = ratio(A, B, by_pairs=False).estimate
    a, b = np.array(list(A.values())), np.array(list(B.values()))
    assert found.value == pytest.approx(math.log(a.mean() / b.mean()))
    relative = a.var(ddof=1) / 5 / a.mean() ** 2 + b.var(ddof=1) / 5 / b.mean() ** 2
    assert found.se == pytest.approx(math.sqrt(relative))
    assert not ratio(A, {}, by_pairs=False).estimate.known


def test_the_slope_is_that_of_least_squares_over_all_runs() -> None:
    """Also with unequal numbers of runs."""
    scores = {"4": A, "8": B, "16": {0: 84.0, 1: 84.4}, "32": C}
    places = {"4": 2.0, "8": 3.0, "16": 4.0, "32": 5.0}
    weights = slope_weights(places, {name: len(runs) for name, runs in scores.items()})
    x = [places[name] for name, runs in scores.items() for _ in runs]
    y = [score for runs in scores.values() for score in runs.values()]
    found = contrast(weights, scores, by_pairs=False).estimate
    assert found.value == pytest.approx(stats.linregress(x, y).slope)


def test_geometric_levels_are_told_from_others() -> None:
    assert is_geometric([4, 8, 16, 32]) and is_geometric([32, 4, 8]) and is_geometric([0.01, 0.1, 1])
    assert not is_geometric([1, 2, 3, 4]) and not is_geometric([0, 1, 2]) and not is_geometric([0.05, 1])


# Error rates


@pytest.mark.parametrize("stds", [(0.3, 0.3), (0.3, 0.9)])
def test_a_difference_on_the_bound_is_wrongly_decided_at_half_the_level_each_way(
    stds: tuple[float, float],
) -> None:
    rng, verdicts, repeats = np.random.default_rng(5), [], 2000
    for _ in range(repeats):
        of = dict(enumerate(rng.normal(85.2, stds[0], 5)))
        against = dict(enumerate(rng.normal(85.0, stds[1], 5)))
        verdicts.append(one(difference(of, against), low=0.2)[0])
    limit = 0.025 + 3 * math.sqrt(0.025 * 0.975 / repeats)
    for wrong in ("supported", "refuted"):
        assert 0.005 < verdicts.count(wrong) / repeats < limit


def test_a_family_of_claims_on_their_bounds_errs_at_the_level_in_all() -> None:
    rng, wrong, repeats = np.random.default_rng(6), 0, 600
    for _ in range(repeats):
        base = dict(enumerate(rng.normal(85, 0.3, 5)))
        family = []
        for size in (1, 1, 2):  # the last one on two figures, one of them far inside
            sides = [dict(enumerate(rng.normal(85 + 3 * k, 0.3, 5))) for k in range(size)]
            family.append([Asserted(difference(side, base), 0, ANY, 0.5) for side in sides])
        wrong += any(judged.verdict != "undecided" for judged in judge_claims(family, WELCH))
    assert 0.005 < wrong / repeats < 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
