"""The largest |t| of several variants against one control: random numbers agree, and Student's t."""

import numpy as np
import pytest
from scipy import special, stats

from ablate.stats.many_to_one import critical_t, design_of, family_wise_p


def test_one_variant_is_students_t() -> None:
    design = design_of([7], 4)
    assert critical_t(design, 9, 0.05) == pytest.approx(stats.t.ppf(0.975, 9))
    assert family_wise_p(2.0, design, 9) == pytest.approx(2 * stats.t.sf(2.0, 9), rel=1e-9)


@pytest.mark.parametrize(("counts", "control"), [([3, 4, 9], 5), ([2, 2], 2), ([20] * 12, 20), ([30, 3], 3)])
def test_random_numbers_agree_at_unequal_counts(counts: list[int], control: int) -> None:
    rng, draws = np.random.default_rng(0), 400_000
    df = sum(counts) + control - len(counts) - 1
    scatter = np.sqrt(rng.chisquare(df, draws) / df)
    of_control = rng.standard_normal(draws) / np.sqrt(control)
    largest = np.zeros(draws)
    for n in counts:
        difference = rng.standard_normal(draws) / np.sqrt(n) - of_control
        largest = np.maximum(largest, abs(difference) / scatter / np.sqrt(1 / n + 1 / control))
    design = design_of(counts, control)
    for t in (1.5, 2.3, 3.0):
        assert family_wise_p(t, design, df) == pytest.approx((largest >= t).mean(), abs=3e-3)
    assert (largest >= critical_t(design, df, 0.05)).mean() == pytest.approx(0.05, abs=1.1e-3)


def test_the_p_value_at_the_critical_value_is_the_level() -> None:
    for counts, control, df in (([5] * 5, 5, 24), ([3, 8], 4, 12), ([2], 2, 2)):
        design = design_of(counts, control)
        for level in (0.2, 0.05, 0.001):
            assert family_wise_p(critical_t(design, df, level), design, df) == pytest.approx(level, rel=1e-6)


def test_it_lies_between_one_comparison_and_bonferroni() -> None:
    design = design_of([5] * 4, 5)
    alone = 2 * special.stdtr(20, -2.5)
    assert alone < family_wise_p(-2.5, design, 20) < 4 * alone
    assert family_wise_p(0.0, design, 20) == 1 and family_wise_p(60.0, design, 20) == pytest.approx(
        0, abs=1e-12
    )
