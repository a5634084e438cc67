"""The error on new images, against a world whose true difference is known in closed form."""

import math

import numpy as np
import pytest
from scipy import stats

from ablate.stats import on_new_images, welch


def world(rng: np.random.Generator, images: int, runs: int, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """Probit: right when ability + easiness (shared) + liking for the method + luck of the run > noise."""
    easy = rng.normal(0, 1.0, images)
    sides = []
    for ability in (1.0 + lift, 1.0):
        liking = rng.normal(0, 0.8, images)
        luck = rng.normal(0, 0.05, (runs, 1))
        sides.append(ability + easy + liking + luck + rng.normal(0, 0.6, (runs, images)) > 0)
    return sides[0], sides[1]


@pytest.mark.parametrize(("images", "runs"), [(400, (5, 5)), (400, (3, 10)), (80, (5, 5))])
def test_coverage_on_new_images_holds_where_the_seeds_alone_do_not(
    images: int, runs: tuple[int, int]
) -> None:
    total = math.sqrt(1 + 0.8**2 + 0.05**2 + 0.6**2)
    truth = 100 * (stats.norm.cdf(1.1 / total) - stats.norm.cdf(1.0 / total))
    rng, replicates = np.random.default_rng(0), 600
    covered = {"both": 0, "seeds": 0}
    for _ in range(replicates):
        of, against = world(rng, images, max(runs), 0.1)
        of, against = of[: runs[0]], against[: runs[1]]
        low, high = on_new_images(of, against).interval(0.05)
        covered["both"] += low <= truth <= high
        low, high = welch((100 * of.mean(1)).tolist(), (100 * against.mean(1)).tolist()).interval(0.05)
        covered["seeds"] += low <= truth <= high
    # The limit, less what chance does with so few replicates; `ablate selftest` has twenty thousand.
    assert covered["both"] / replicates >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / replicates)
    assert covered["seeds"] / replicates < 0.85


def test_the_formula_term_by_term() -> None:
    of, against = world(np.random.default_rng(1), 50, 4, 0.1)
    shares = [100 * side.astype(float) for side in (of, against)]
    between_runs = sum(side.mean(1).var(ddof=1) / 4 for side in shares)
    between_images = (shares[0].mean(0) - shares[1].mean(0)).var(ddof=1) / 50
    residual = 0.0
    for side in shares:
        left = side - side.mean(0) - side.mean(1)[:, None] + side.mean()
        residual += (left**2).sum() / (3 * 49) / 4 / 50
    assert on_new_images(of, against).se ** 2 == pytest.approx(between_runs + between_images - residual)


def test_the_error_is_never_below_that_of_the_seeds() -> None:
    rng = np.random.default_rng(2)
    right = rng.random((5, 200)) < rng.uniform(0.5, 0.9, (5, 1))  # images alike, runs far apart
    other = rng.random((5, 200)) < rng.uniform(0.5, 0.9, (5, 1))
    seeds = welch(100 * right.mean(1), 100 * other.mean(1))
    assert on_new_images(right, other).se >= seeds.se


def test_different_images_are_an_error_and_one_run_knows_nothing() -> None:
    with pytest.raises(ValueError, match="the same images: 3 and 4"):
        on_new_images(np.ones((2, 3), bool), np.ones((2, 4), bool))
    assert not on_new_images(np.ones((1, 9), bool), np.ones((5, 9), bool)).known
