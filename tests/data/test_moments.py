import numpy as np

from ablate.data import statistics


def test_statistics_are_numpys_over_the_rows_given():
    images = np.random.default_rng(0).integers(0, 256, (2500, 5, 4, 3), dtype=np.uint8)
    images[::2, ..., 1] //= 3
    rows = np.arange(0, 2500, 2)
    mean, std = statistics(images, rows)
    scaled = images[rows] / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)), rtol=1e-12)


def test_large_sums_do_not_overflow_and_a_constant_channel_has_no_deviation():
    images = np.full((3000, 32, 32, 1), 255, np.uint8)
    mean, std = statistics(images, np.arange(3000))
    assert (mean.tolist(), std.tolist()) == ([1.0], [0.0])
