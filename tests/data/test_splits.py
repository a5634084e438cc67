import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data import split
from ablate.errors import DataError

BALANCED = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 600))


def test_balanced_classes_are_cut_exactly():
    parts = split(BALANCED, fraction=1.0, validation=0.1, seed=0)
    assert np.bincount(BALANCED[parts.train]).tolist() == [540] * 10
    assert np.bincount(BALANCED[parts.validation]).tolist() == [60] * 10


def test_the_fraction_comes_first_and_the_validation_set_out_of_it():
    parts = split(BALANCED, fraction=0.05, validation=0.2, seed=0)
    assert np.bincount(BALANCED[parts.train]).tolist() == [24] * 10
    assert np.bincount(BALANCED[parts.validation]).tolist() == [6] * 10


def test_smaller_fractions_are_subsets_of_larger_ones():
    kept = [
        set(np.concatenate((parts.train, parts.validation)))
        for parts in (
            split(BALANCED, fraction=fraction, validation=0.1, seed=3) for fraction in (0.05, 0.25, 1.0)
        )
    ]
    assert kept[0] < kept[1] < kept[2]


def test_the_seed_decides_and_nothing_else():
    one, same, other = (split(BALANCED, fraction=0.5, validation=0.1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train, same.train)
    np.testing.assert_array_equal(one.validation, same.validation)
    # Two independent draws of 300 out of 6,000 share 15 on average.
    assert len(set(one.validation) & set(other.validation)) < 40
    # Pinned: these rows may never change without raising the number of the training code.
    assert one.validation[:5].tolist() == [6, 39, 55, 59, 61]


def test_every_image_is_equally_likely_to_validate():
    labels = np.repeat([0, 1], [40, 20])
    draws = 2000
    hits = np.zeros(60)
    for seed in range(draws):
        hits[split(labels, validation=0.2, seed=seed).validation] += 1
    # A binomial count of n = 2000, p = 0.2 has a standard deviation of 17.9.
    assert abs(hits - 400).max() < 5 * 17.9


@given(
    st.lists(st.integers(2, 60), min_size=2, max_size=8),
    st.floats(0.02, 1.0),
    st.floats(0.01, 0.99),
    st.integers(0, 2**63 - 1),
)
def test_any_split_is_disjoint_stratified_and_leaves_no_class_out(counts, fraction, validation, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    try:
        parts = split(labels, fraction=fraction, validation=validation, seed=seed)
    except DataError:
        assert min(counts) * fraction < 3
        return
    assert not set(parts.train) & set(parts.validation)
    assert parts.train.dtype == parts.validation.dtype == np.int64
    kept = np.bincount(labels[np.concatenate((parts.train, parts.validation))], minlength=len(counts))
    assert kept.sum() == round(sum(count * fraction for count in counts))
    assert np.all(abs(kept - np.array(counts) * fraction) < 1 + 1e-9)
    for part in (parts.train, parts.validation):
        assert np.bincount(labels[part], minlength=len(counts)).min() >= 1
    held_out = np.bincount(labels[parts.validation], minlength=len(counts))
    assert np.all(abs(held_out - np.clip(kept * validation, 1, kept - 1)) <= 1 + 1e-9)


def test_too_few_images_say_how_many_are_needed():
    labels = np.repeat([0, 1, 2], [100, 12, 5])
    with pytest.raises(DataError) as caught:
        split(labels, fraction=0.1, validation=0.1, seed=0)
    assert str(caught.value) == (
        "data.fraction 0.1 leaves fewer than two images, one to train and one to validate, in 2 of 3 "
        "classes; "
        "raise data.fraction or give more images\n"
        "  class 1: 12 images, 1 kept; at least 20 are needed\n"
        "  class 2: 5 images, 1 kept; at least 20 are needed"
    )
