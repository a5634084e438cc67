"""A subset of classes: which rows, which labels, which pixels, and what it does not copy."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from ablate.data import Augmenter, Batches, load_images, split, statistics
from ablate.data.images import Rows, UnknownClass
from ablate.errors import DataError


@pytest.fixture
def whole():
    return load_images("digits")


def test_labels_count_anew_in_the_order_given_and_pixels_are_those_of_the_class(whole):
    part = whole.of_classes([7, "2", 5])
    assert part.classes == ("7", "2", "5")
    for images, labels, all_images, all_labels in (
        (part.train, part.train_labels, whole.train, whole.train_labels),
        (part.test, part.test_labels, whole.test, whole.test_labels),
    ):
        assert images.shape == (len(labels), 8, 8, 1)
        assert len(labels) == sum(int((all_labels == digit).sum()) for digit in (7, 2, 5))
        for label, digit in enumerate((7, 2, 5)):
            assert np.array_equal(images[np.flatnonzero(labels == label)], all_images[all_labels == digit])
    assert (part.fingerprint, part.shape) == (whole.fingerprint, (1, 8, 8))


def test_a_test_image_keeps_its_row_of_the_whole_test_set(whole):
    part = whole.of_classes(["9", "0"])
    for position in (0, 5, len(part.test) - 1):
        assert np.array_equal(part.test[position], whole.test[part.test_rows[position]])
    assert np.array_equal(whole.test_rows, np.arange(360))
    assert set(whole.test_labels[part.test_rows]) == {0, 9}


def test_no_pixel_is_copied(whole):
    part = whole.of_classes([0, 1])
    assert part.train.images is whole.train
    assert isinstance(part.train, Rows)


def test_all_classes_in_their_order_are_the_whole_again(whole):
    part = whole.of_classes(range(10))
    assert np.array_equal(part.train[:], whole.train)
    assert np.array_equal(part.train_labels, whole.train_labels)
    assert whole.of_classes(None) is whole
    assert part.of_classes([3, 4]).classes == ("3", "4"), "numbers are always the source's"


def test_loading_and_pickling_give_the_same_subset(whole):
    loaded = load_images("digits", classes=["4", "1"], fingerprint=whole.fingerprint)
    again = pickle.loads(pickle.dumps(loaded))  # noqa: S301
    for part in (loaded, again):
        assert part.classes == ("4", "1")
        assert np.array_equal(part.train[:], whole.of_classes([4, 1]).train[:])
        assert np.array_equal(part.test_labels, whole.of_classes([4, 1]).test_labels)


def test_batches_split_and_statistics_take_a_subset_as_they_take_an_array(whole):
    part = whole.of_classes([8, 3])
    copied = part.train[:]
    rows = split(part.train_labels, fraction=0.5, validation=0.2, seed=3)
    mean, std = statistics(part.train, rows.train)
    assert (mean, std) == statistics(copied, rows.train)
    options = {"batch_size": 16, "mean": mean, "std": std, "device": "cpu", "order_generator_seed": 1}
    options |= {"augment": Augmenter(crop=1), "augment_seed": 2}
    lazily = Batches(part.train, part.train_labels, rows.train, **options)
    eagerly = Batches(copied, part.train_labels, rows.train, **options)
    for (x, y), (x_copied, y_copied) in zip(lazily.epoch(0), eagerly.epoch(0), strict=True):
        assert x.equal(x_copied)
        assert y.equal(y_copied)


def test_an_unknown_class_is_named_with_those_there_are(tmp_path, write_folder, colour_parts):
    root = str(write_folder("pets", colour_parts))
    with pytest.raises(UnknownClass) as caught:
        load_images("image-folder", root=root, classes=["cta", 2, "dog"])
    assert str(caught.value) == (
        "data.classes: image-folder has no class 'cta', 2; did you mean 'cat'?; "
        "by number and name, it has: 0 cat, 1 dog"
    )
    with pytest.raises(
        UnknownClass, match="the class 'dog' of image-folder is given twice: by name, or by its number 1"
    ):
        load_images("image-folder", root=root, classes=["dog", 1])
    with pytest.raises(UnknownClass, match="no class -1"):
        load_images("image-folder", root=root, classes=[-1, 0])


def test_classes_without_a_test_image_are_refused(whole):
    only_zeros = replace(whole, test=whole.test[:2], test_labels=np.zeros(2, np.int64))
    with pytest.raises(DataError, match=r"data\.classes: digits has no test image of 1, 2"):
        only_zeros.of_classes([1, 2])
