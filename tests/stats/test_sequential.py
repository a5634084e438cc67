"""Looks at 3, 5, 7 and 10 seeds: the rule written with scipy, its order, and what was published of it."""

import math

import numpy as np
import pytest
from scipy import stats

from ablate.stats import NEXT_N, THRESHOLDS, Comparison, Decision, Procedure, look, replay

WELCH = Procedure()
TEN = range(10)


def by_seed(scores: object) -> dict[int, float]:
    return dict(enumerate(np.asarray(scores, dtype=float).tolist()))


def family_of(scores: np.ndarray) -> dict[str, Comparison]:
    """scores: [1 + variants, n], the baseline first."""
    against = by_seed(scores[0])
    return {str(number): Comparison(by_seed(arm), against) for number, arm in enumerate(scores[1:], 1)}


def draw(seed: int, replicates: int, shifts: list[float], std: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(85, std, (replicates, 1 + len(shifts), 10))
    return noise + np.array([0.0, *shifts])[:, None]


def by_the_book(scores: np.ndarray, margin: float) -> dict[str, tuple[str, int]]:
    """The rule in scipy and statsmodels: each variant's verdict, and the look that gave it."""
    variants = [str(number) for number in range(1, len(scores))]
    decided: dict[str, tuple[str, int]] = {}
    for n, threshold in {3: 0.008, 5: 0.010, 7: 0.015, 10: 0.028}.items():
        unrejected = [name for name in variants if decided.get(name, ("",))[0] not in ("better", "worse")]
        tests = {
            name: stats.ttest_ind(scores[int(name), :n], scores[0, :n], equal_var=False)
            for name in variants
            if name not in decided
        }
        p = np.array([tests[name].pvalue if name in tests else 1.0 for name in unrejected])
        steps = np.sort(p) * np.arange(len(p), 0, -1)
        adjusted = {
            name: min(1.0, steps[: np.sum(p <= one)].max()) for name, one in zip(unrejected, p, strict=True)
        }
        for name, test in tests.items():
            interval = test.confidence_interval(1 - threshold / len(variants))
            if adjusted[name] < threshold:
                decided[name] = ("better" if test.statistic > 0 else "worse", n)
            elif -margin <= interval.low and interval.high <= margin:
                decided[name] = ("equivalent", n)
            elif n == 10 or (n >= 5 and test.pvalue > 0.5):
                decided[name] = ("undecided", n)
    return decided


@pytest.mark.parametrize("shifts", [[0.0], [0.3], [0.0, 0.2, 0.4, 0.8], [0.0] * 5])
def test_every_decision_is_that_of_the_rule_written_with_scipy(shifts: list[float]) -> None:
    seen = set()
    for scores in draw(len(shifts), 60, shifts, std=0.25):
        found = {one.variant: (one.verdict, one.n) for one in replay(family_of(scores), TEN, WELCH)[-1]}
        assert found == by_the_book(scores, WELCH.margin)
        seen |= {verdict for verdict, _ in found.values()}
    assert len(seen) > 1, "one verdict alone tries nothing"


def test_the_published_constants() -> None:
    assert dict(THRESHOLDS) == {3: 0.008, 5: 0.010, 7: 0.015, 10: 0.028}
    steps = [0]
    while steps[-1] in NEXT_N:
        steps.append(NEXT_N[steps[-1]])
    assert steps == [0, *THRESHOLDS]


REPLICATES = 1500


@pytest.mark.parametrize(
    ("shift", "found", "seeds"), [(0.0, 0.038, 6.8), (0.3, 0.46, 8.0), (0.7, 0.995, 5.9), (1.5, 1.0, 3.9)]
)
def test_error_power_and_seeds_are_those_published(shift: float, found: float, seeds: float) -> None:
    last = [replay(family_of(scores), TEN, WELCH)[-1][0] for scores in draw(11, REPLICATES, [shift])]
    share = sum(one.significant for one in last) / REPLICATES
    assert share == pytest.approx(found, abs=3 * math.sqrt(found * (1 - found) / REPLICATES) + 0.003)
    assert sum(one.n for one in last) / REPLICATES == pytest.approx(seeds, abs=0.25)
    assert sum(one.low <= shift <= one.high for one in last) / REPLICATES >= 0.957 - 0.015


@pytest.mark.parametrize("shifts", [[0.0] * 5, [0.0, 1.0, 1.0, 1.0, 1.0]])
def test_five_variants_err_together_no_more_than_one(shifts: list[float]) -> None:
    """With four true effects rejected early, their number no longer protects the fifth."""
    wrong = runs = 0
    for scores in draw(12, 800, shifts):
        last = replay(family_of(scores), TEN, WELCH)[-1]
        wrong += any(one.significant for one, shift in zip(last, shifts, strict=True) if shift == 0)
        runs += sum(one.n for one in last) + max(one.n for one in last)
    assert wrong / 800 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)
    if not any(shifts):
        assert runs / 800 == pytest.approx(44, abs=1)


def constant_gap(gap: float, n: int = 10, std: float = 0.3) -> Comparison:
    """Scores with exactly this difference of means over the first seeds, whatever their number."""
    pattern = np.array([-1, 0, 1, 0.5, -0.5, 0.8, -0.8, 0.2, -0.2, 0.0])[:n] * std
    return Comparison(by_seed(85 + gap + pattern), by_seed(85 + pattern))


def test_a_stopped_variant_keeps_its_place_in_the_family_and_a_rejected_one_leaves_it() -> None:
    family = {"far": constant_gap(5.0), "none": constant_gap(0.0), "near": constant_gap(0.6)}
    first = look(family, range(3), WELCH)
    assert [one.verdict for one in first] == ["better", "open", "open"]
    second = look(family, range(5), WELCH, first)
    # Two are left, and the smaller p-value counts twice.
    assert second[2].p_adjusted == pytest.approx(2 * second[2].p_value)
    assert (second[1].verdict, second[1].n) == ("undecided", 5)
    third = look(family, range(7), WELCH, second)
    assert third[2].p_adjusted == pytest.approx(2 * third[2].p_value), (
        "giving one up makes nobody's test easier"
    )
    assert third[:2] == second[:2]


def test_the_interval_of_one_declared_stands_at_its_own_step_and_excludes_zero() -> None:
    for scores in draw(13, 100, [0.0, 0.5, 0.9]):
        for one in replay(family_of(scores), TEN, WELCH)[-1]:
            assert (one.low > 0 or one.high < 0) == one.significant
            assert one.level >= one.threshold / 3 and (one.significant or one.level == one.threshold / 3)
            assert (one.low, one.high) == one.estimate.interval(one.level)


def test_no_correction_and_pairs_are_followed() -> None:
    scores = draw(14, 1, [0.4, 0.4])[0]
    plain = look(family_of(scores), range(3), Procedure(correction="none"))
    assert [one.p_adjusted for one in plain] == [one.p_value for one in plain]
    assert {one.level for one in plain} == {0.008}
    [pairs, _] = look(family_of(scores), range(3), Procedure(test="paired"))
    assert pairs.p_value == pytest.approx(stats.ttest_rel(scores[1, :3], scores[0, :3]).pvalue)


def test_dunnett_has_no_thresholds_of_its_own_so_welch_and_holm_stand_in() -> None:
    scores = draw(15, 1, [0.4, 0.0])[0]
    assert look(family_of(scores), range(5), Procedure(test="dunnett")) == look(
        family_of(scores), range(5), WELCH
    )


def test_a_look_repeats_itself_however_far_the_trials_have_come() -> None:
    scores = draw(16, 1, [0.3, 0.0])[0]
    assert look(family_of(scores[:, :5]), range(5), WELCH) == look(family_of(scores), range(5), WELCH)


def test_seeds_are_taken_as_planned_not_counted_from_zero() -> None:
    scores = draw(17, 1, [0.3])[0]
    names = [41, 7, 9, 3, 100, 0, 1, 2, 4, 5]
    moved = {
        "1": Comparison(
            dict(zip(names, scores[1].tolist(), strict=True)),
            dict(zip(names, scores[0].tolist(), strict=True)),
        )
    }
    looks = zip(replay(moved, names, WELCH), replay(family_of(scores), TEN, WELCH), strict=True)
    for [found], [expected] in looks:
        assert (found.verdict, found.n) == (expected.verdict, expected.n)
        assert found.p_value == pytest.approx(expected.p_value)


def test_identical_predictions_need_no_second_look() -> None:
    same = constant_gap(0.0)
    [decision] = look({"twin": Comparison(same.of, same.against, identical=True)}, range(3), WELCH)
    assert decision.verdict == "no-op"


def test_failed_trials_leave_fewer_scores_and_a_side_with_one_stays_open_until_the_last_look() -> None:
    gap = constant_gap(0.3)
    lone = Comparison({0: gap.of[0]}, gap.against)
    looks = replay({"lone": lone, "whole": gap}, TEN, WELCH)
    verdicts = [one.verdict for one in (decisions[0] for decisions in looks)]
    assert verdicts[-1] == "undecided" and set(verdicts[:-1]) <= {"open"}
    assert looks[0][0].evidence.n == 1 and math.isnan(looks[0][0].p_value)


def test_seven_seeds_allow_three_looks_and_leave_the_rest_open() -> None:
    looks = replay({"a": constant_gap(0.25)}, range(7), WELCH)
    assert [one.n for [one] in looks] == [3, 5, 7] and looks[-1][0].is_open


def test_a_look_at_another_number_of_seeds_or_out_of_turn_is_an_error() -> None:
    family = {"a": constant_gap(0.25)}
    with pytest.raises(ValueError, match="nobody looks at 4 seeds, but at 3, 5, 7, 10"):
        look(family, range(4), WELCH)
    first: tuple[Decision, ...] = look(family, range(3), WELCH)
    with pytest.raises(ValueError, match="the look at 7 seeds is out of its turn for a"):
        look(family, range(7), WELCH, first)
