import pytest
from scipy import stats

from ablate.stats import learning_limit


def test_the_limit_is_three_binomial_standard_errors_above_chance() -> None:
    guesses = stats.binom(2000, 0.1)
    assert learning_limit(0.1, 2000) == pytest.approx(100 * (guesses.mean() + 3 * guesses.std()) / 2000)


@pytest.mark.parametrize(("chance", "count"), [(0.0, 10), (1.1, 10), (0.5, 0)])
def test_impossible_values_are_errors(chance: float, count: int) -> None:
    with pytest.raises(ValueError, match="chance must lie"):
        learning_limit(chance, count)
