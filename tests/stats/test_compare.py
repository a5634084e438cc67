import math

import numpy as np
import pytest
from scipy import stats

from ablate.stats import Comparison, Procedure, compare, paired, welch
from ablate.stats.compare import equal_spread

DUNNETT = Procedure(test="dunnett")


def by_seed(scores: object) -> dict[int, float]:
    return dict(enumerate(np.asarray(scores, dtype=float).tolist()))


def test_welch_agrees_with_scipy_at_unequal_n_and_spread() -> None:
    rng = np.random.default_rng(1)
    for of_n, against_n, std in ((5, 5, 0.3), (3, 9, 2.0), (2, 2, 0.1)):
        of, against = rng.normal(85, std, of_n), rng.normal(84, 0.3, against_n)
        expected = stats.ttest_ind(of, against, equal_var=False)
        found = welch(of, against)
        assert (found.p_value, found.df) == pytest.approx((expected.pvalue, expected.df), rel=1e-9)
        assert found.interval(0.01) == pytest.approx(tuple(expected.confidence_interval(0.99)), rel=1e-9)


def test_one_arm_without_spread_is_a_known_constant_two_are_no_evidence() -> None:
    constant, scores = [10.0] * 5, [84.0, 84.3, 84.9, 84.1, 84.4]
    assert welch(scores, constant).interval(0.05) == pytest.approx(
        tuple(np.array(stats.t.interval(0.95, 4, np.mean(scores), stats.sem(scores))) - 10)
    )
    assert not welch([90.0] * 5, constant).known


def test_paired_t_uses_shared_seeds_only_and_agrees_with_scipy() -> None:
    of = {0: 84.0, 1: 85.0, 2: 84.5, 3: 86.0, 7: 99.0}
    against = {3: 85.0, 2: 84.1, 1: 84.2, 0: 83.9, 8: 0.0}
    expected = stats.ttest_rel([of[seed] for seed in range(4)], [against[seed] for seed in range(4)])
    found = paired(of, against)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9) and found.df == 3


def test_paired_without_a_shared_seed_knows_nothing() -> None:
    [judgement] = compare([Comparison({0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.0})], Procedure(test="paired"))
    assert judgement.verdict == "undecidable" and math.isnan(judgement.p_value)


def test_dunnett_agrees_with_scipy_and_repeats_itself() -> None:
    rng = np.random.default_rng(2)
    control = rng.normal(84, 0.3, 5)
    arms = [rng.normal(84 + shift, 0.3, 5) for shift in (0.0, 0.3, 1.0)]
    family = [Comparison(by_seed(arm), by_seed(control)) for arm in arms]
    expected = stats.dunnett(*arms, control=control, rng=np.random.default_rng(0))
    bounds = expected.confidence_interval(0.95)
    found = compare(family, DUNNETT)
    # scipy integrates with random numbers: its p-values are good to some 1e-4.
    assert [one.p_adjusted for one in found] == pytest.approx(list(expected.pvalue), abs=3e-4)
    assert [one.low for one in found] == pytest.approx(list(bounds.low), abs=2e-3)
    assert [one.high for one in found] == pytest.approx(list(bounds.high), abs=2e-3)
    assert found == compare(family, DUNNETT)
    assert [one.verdict for one in found][-1] == "better"


def test_dunnett_leaves_out_what_has_one_run_and_refuses_two_controls() -> None:
    control = by_seed([84.0, 84.3, 84.5, 84.1, 84.9])
    family = [Comparison({0: 85.0}, control), Comparison(by_seed([86.0, 86.3, 86.5, 86.1, 86.9]), control)]
    assert [one.verdict for one in compare(family, DUNNETT)] == ["undecidable", "better"]
    with pytest.raises(ValueError, match="one and the same control"):
        compare([*family, Comparison(control, by_seed([1.0, 2.0, 3.0]))], DUNNETT)


def test_dunnett_without_any_spread_decides_nothing() -> None:
    [judgement] = compare([Comparison(by_seed([90.0] * 5), by_seed([80.0] * 5))], DUNNETT)
    assert judgement.verdict == "undecided" and judgement.high == math.inf


def test_equal_spread_is_bartletts_test() -> None:
    rng = np.random.default_rng(3)
    for counts in ((5, 5), (3, 4, 9), (10, 10, 10, 10)):
        groups = [rng.normal(84, rng.uniform(0.2, 0.9), n).tolist() for n in counts]
        assert equal_spread(groups) == pytest.approx(stats.bartlett(*groups).pvalue, rel=1e-9)
    assert equal_spread([[84.0, 84.0], [84.0, 84.5]]) == 0
    assert math.isnan(equal_spread([[84.0, 84.0], [85.0, 85.0]]))


def dunnett_families(unstable: float, replicates: int) -> list[tuple[bool, bool]]:
    """Five variants without effect at n = 5, the first more or less stable: (an error, a warning)."""
    draws = np.random.default_rng(4).normal(84, 0.3, (replicates, 6, 5))
    draws[:, 1] = 84 + unstable * (draws[:, 1] - 84)
    found = []
    for control, *arms in draws:
        judged = compare([Comparison(by_seed(arm), by_seed(control)) for arm in arms], DUNNETT)
        warned = {one.evidence.unequal_spread for one in judged}
        assert len(warned) == 1, "the family is warned of as one"
        found.append((any(one.p_adjusted <= 0.05 for one in judged), *warned))
    return found


def test_dunnetts_family_wise_error_holds_at_equal_spread_alone() -> None:
    calm, wild = dunnett_families(1.0, 400), dunnett_families(3.0, 400)
    assert np.mean([error for error, _ in calm]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert 0.06 <= np.mean([error for error, _ in wild]) <= 0.15, "published: .10 to .13"
    assert np.mean([warned for _, warned in calm]) <= 0.09
    assert np.mean([warned for _, warned in wild]) >= 0.5


def test_welch_rests_on_no_equal_spread_and_warns_of_nothing() -> None:
    wild, calm = by_seed([80.0, 90.0, 85.0, 70.0, 99.0]), by_seed([84.0, 84.1, 84.2, 84.1, 84.0])
    assert not compare([Comparison(wild, calm)], Procedure())[0].evidence.unequal_spread
    assert compare([Comparison(wild, calm)], DUNNETT)[0].evidence.unequal_spread
