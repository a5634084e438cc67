import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower

from ablate.stats import minimum_detectable_effect, seeds_needed
from ablate.stats.power import critical_value, seeds_for_equivalence


@pytest.mark.parametrize(
    ("family", "expected"), [(1, {0.3: 17, 0.5: 7, 0.7: 5, 1.0: 3}), (14, {0.3: 31, 0.5: 13, 0.7: 8, 1.0: 5})]
)
def test_the_published_seeds_at_an_sd_of_three_tenths(family: int, expected: dict[float, int]) -> None:
    assert {effect: seeds_needed(effect, 0.3, 0.05 / family) for effect in expected} == expected


@pytest.mark.parametrize("n", [3, 5, 10, 40])
def test_the_minimum_detectable_effect_has_80_percent_power_by_statsmodels(n: int) -> None:
    mde = minimum_detectable_effect(0.3 * math.sqrt(2 / n), 2 * n - 2, critical_value(2 * n - 2, 0.05))
    assert TTestIndPower().power(mde / 0.3, n, 0.05) == pytest.approx(0.8, abs=1e-3)


def test_an_unknown_error_detects_nothing() -> None:
    assert minimum_detectable_effect(math.inf, 0, math.nan) == math.inf


def test_no_spread_and_no_effect_give_no_number_of_seeds() -> None:
    assert seeds_needed(0.5, 0.0, 0.05) is None
    assert seeds_needed(0.0, 0.3, 0.05) is None
    assert seeds_needed(1e-4, 0.3, 0.05) is None  # some 14 million


def test_seeds_for_a_main_effect_by_simulation() -> None:
    """Eight cells: simulated power is above 80 % with these seeds and below with one fewer."""
    n = seeds_needed(0.5, 0.5, 0.05 / 7, variance=0.5, groups=8)
    assert n is not None

    def power(seeds: int) -> float:
        rng = np.random.default_rng(seeds)
        scores = rng.normal(0, 0.5, (20_000, 8, seeds))
        scores[:, 4:] += 0.5
        effect = scores[:, 4:].mean((1, 2)) - scores[:, :4].mean((1, 2))
        error = np.sqrt(scores.var(axis=2, ddof=1).mean(1) / seeds / 2)
        return float((2 * stats.t.sf(abs(effect) / error, 8 * (seeds - 1)) < 0.05 / 7).mean())

    assert power(n) > 0.8 - 0.01 > power(n - 1)


def test_seeds_for_equivalence_by_simulation() -> None:
    n = seeds_for_equivalence(0.5, 0.3, 0.05)
    assert n is not None

    def accepted(seeds: int) -> float:
        rng = np.random.default_rng(seeds)
        of, against = rng.normal(0, 0.3, (2, 20_000, seeds))
        error = np.sqrt((of.var(axis=1, ddof=1) + against.var(axis=1, ddof=1)) / seeds)
        difference = abs(of.mean(1) - against.mean(1))
        return float((stats.t.sf((0.5 - difference) / error, 2 * seeds - 2) < 0.05).mean())

    assert accepted(n) > 0.8 - 0.01 > accepted(n - 1)
