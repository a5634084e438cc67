import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from ablate.stats import holm


def test_adjusted_p_values_agree_with_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):  # statsmodels collects garbage at every call
        p = rng.uniform(size=rng.integers(1, 9)) ** 3
        assert holm(list(p), 0.05)[0] == pytest.approx(multipletests(p, 0.05, "holm")[1], rel=1e-12)


def test_levels_stand_at_the_own_step_if_rejected_else_at_the_first_failing_one() -> None:
    # Steps of four: .0125, .0167, .025, .05. The third smallest fails (.03 > .025) and the fourth with it.
    adjusted, levels = holm([0.03, 0.001, 0.04, 0.016], 0.05)
    assert levels == pytest.approx([0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3])
    assert adjusted == pytest.approx([0.06, 0.004, 0.06, 0.048])


def test_all_rejected_and_none_rejected() -> None:
    assert holm([0.01, 0.001], 0.05)[1] == pytest.approx([0.05, 0.025])
    assert holm([0.5, 0.9], 0.05)[1] == pytest.approx([0.025, 0.025])


def test_a_comparison_that_cannot_be_tested_yet_keeps_its_place_in_the_family() -> None:
    adjusted, levels = holm([0.02, math.nan, math.nan], 0.05)
    assert adjusted[0] == pytest.approx(0.06) and math.isnan(adjusted[1])
    assert levels == pytest.approx([0.05 / 3] * 3)


def test_an_empty_family() -> None:
    assert holm([], 0.05) == ([], [])
