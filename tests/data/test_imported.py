import sys
import types

import numpy as np
import pytest

from ablate.data.load import load_images
from ablate.errors import DataError

LABELS = np.array([0, 1, 0, 1])


def images(count=4, *, seed=0, shape=(6, 6, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def good(root):
    return images(), LABELS, images(2, seed=1), [1, 0], ["cat", "dog"]


@pytest.fixture
def load(monkeypatch):
    """load(function, **options): through `load_images`, as a module of the user's own would."""

    def load(function, **options):
        module = types.ModuleType("own_data")
        module.pictures = function
        monkeypatch.setitem(sys.modules, "own_data", module)
        return load_images("own_data:pictures", **options)

    return load


def test_a_function_gives_images_with_and_without_channels_and_names(load):
    loaded = load(good)
    np.testing.assert_array_equal(loaded.train, images())
    assert loaded.test_labels.tolist() == [1, 0]
    assert loaded.test_labels.dtype == np.int64
    assert loaded.classes == ("cat", "dog")
    grey = load(lambda root: (images(shape=(5, 4)), LABELS, images(2, seed=1, shape=(5, 4)), LABELS[:2]))
    assert grey.shape == (1, 5, 4)
    assert grey.classes == ("0", "1")
    assert load(good, image_size=3).shape == (3, 3, 3)


def test_root_arrives_and_fresh_content_is_always_seen(load):
    def by_root(root):
        return images(seed=len(root)), LABELS, images(2, seed=1), LABELS[:2]

    short, long = load(by_root, root="/a"), load(by_root, root="/abcdef")
    assert short.fingerprint != long.fingerprint


def test_with_a_fingerprint_the_function_does_not_run(load):
    known = load(good).fingerprint
    assert load(lambda root: 1 / 0, fingerprint=known).fingerprint == known


BAD = {
    "float": (
        lambda r: (images() / 255.0, LABELS, images(2), LABELS[:2]),
        "train images have type float64; uint8",
    ),
    "flat": (
        lambda r: (images().reshape(4, -1), LABELS, images(2), LABELS[:2]),
        r"train images have shape \(4, 108\)",
    ),
    "none": (
        lambda r: (images(0), LABELS[:0], images(2), LABELS[:2]),
        r"train images have shape \(0, 6, 6, 3\)",
    ),
    "channels": (
        lambda r: (images(shape=(3, 6, 6)), LABELS, images(2), LABELS[:2]),
        r"looks like channels first; give them channels last: x.transpose\(0, 2, 3, 1\)",
    ),
    "sizes": (
        lambda r: (images(), LABELS, images(2, shape=(8, 6, 3)), LABELS[:2]),
        "train images are 6x6x3 and test images 8x6x3",
    ),
    "count": (
        lambda r: (images(), LABELS[:3], images(2), LABELS[:2]),
        r"train labels are int64 of shape \(3,\)",
    ),
    "one-hot": (
        lambda r: (images(), np.eye(4), images(2), LABELS[:2]),
        r"train labels are float64 of shape \(4, 4\)",
    ),
    "negative": (
        lambda r: (images(), LABELS - 1, images(2), LABELS[:2]),
        "train labels hold -1; labels count from 0",
    ),
    "gap": (lambda r: (images(), LABELS * 2, images(2), LABELS[:2]), "no training image for 1"),
    "names": (lambda r: (*good(r)[:4], ["cat"]), "1 class names for labels 0..1: cat"),
    "twice": (lambda r: (*good(r)[:4], ["cat", "cat"]), "2 class names for labels 0..1: cat, cat"),
    "tuple": (lambda r: images(), "returned ndarray; it must return"),
    "three": (lambda r: (1, 2, 3), "returned 3 values; it must return"),
    "overlap": (
        lambda r: (images(), LABELS, images()[1:3], LABELS[1:3]),
        "every test image .* is also a training image",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_said(name, load):
    function, message = BAD[name]
    with pytest.raises(DataError, match=message):
        load(function)


def test_an_exception_of_the_function_is_told_with_its_place(load):
    def broken(root):
        raise KeyError("pixels")

    with pytest.raises(
        DataError, match=r"own_data:pictures raised KeyError: 'pixels' \(.*test_imported.py:\d+\)"
    ):
        load(broken)


def test_an_absent_module_or_function_is_named(load):
    with pytest.raises(DataError, match="module no_such_module cannot be imported"):
        load_images("no_such_module:pictures")
    load(good)
    with pytest.raises(DataError, match="own_data has no function 'picture'; did you mean 'pictures'"):
        load_images("own_data:picture")
