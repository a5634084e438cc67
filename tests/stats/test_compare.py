import math

import numpy as np
import pytest
from scipy import stats

from ablate.stats import Comparison, Procedure, compare, paired, welch

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
    assert [one.p_adjusted for one in found] == pytest.approx(list(expected.pvalue), abs=1e-12)
    assert [one.low for one in found] == pytest.approx(list(bounds.low), abs=2e-3)
    assert [one.high for one in found] == pytest.approx(list(bounds.high), abs=1e-9)
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
