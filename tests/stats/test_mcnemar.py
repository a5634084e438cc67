"""McNemar's exact test, held against scipy's binomial test."""

from __future__ import annotations

import pytest
from scipy import stats

from ablate.stats.mcnemar import McNemar


@pytest.mark.parametrize(("only_of", "only_against"), [(3, 12), (12, 3), (7, 7), (1, 0), (40, 75)])
def test_p_is_that_of_the_binomial_test(only_of: int, only_against: int) -> None:
    expected = stats.binomtest(only_of, only_of + only_against).pvalue
    assert McNemar(only_of, only_against).p_value == pytest.approx(expected)


def test_networks_that_no_image_tells_apart() -> None:
    assert McNemar(0, 0).p_value == 1.0
