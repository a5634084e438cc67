"""What is allowed to chance is what chance does; and the first difference is named, with its size."""

import numpy as np
import pytest

from ablate.verify.compare import STANDARD_ERRORS, array_differences, chance_of_accuracy


def test_the_allowance_is_that_of_two_independent_proportions():
    """By drawing: 3 standard errors hold all but a few in a thousand of pairs that have one true accuracy."""
    rng, count = np.random.default_rng(0), 2000
    for truth in (0.1, 0.6, 0.93):
        first, second = rng.binomial(count, truth, (2, 20_000))
        allowed = np.array([chance_of_accuracy([a, b], count) for a, b in zip(first, second, strict=True)])
        apart = 100 * np.abs(first - second) / count
        assert 0.0005 < (apart > allowed).mean() < 0.006, truth  # of a normal law: 0.0027
        assert (apart > allowed / STANDARD_ERRORS).mean() == pytest.approx(0.317, abs=0.02)


def test_where_all_is_right_some_images_may_still_be_lost():
    assert chance_of_accuracy([360, 360], 360) > 100 / 360
    assert chance_of_accuracy([360, 300], 360) < 100 * 60 / 360


def test_arrays_are_compared_with_type_and_length():
    kept = np.array([3, 1, 2, 2])
    assert list(array_differences("label", kept, kept.copy())) == []
    assert list(array_differences("label", kept, np.array([3, 1, 4, 5]))) == [
        "label: 2 of 4 images differ, the first in row 2: was 2, is 4"
    ]
    assert list(array_differences("label", kept, kept[:2])) == ["label: was int64 (4,), is int64 (2,)"]
    assert len(list(array_differences("label", kept, kept.astype(np.float32)))) == 1
