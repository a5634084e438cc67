"""Blank images for studies of costs alone: what a network costs depends on the shape of an image and on the
number of classes, and on no pixel. A study names a function: ``data.source: blank_images:imagenet_classes``.
"""

from __future__ import annotations

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def imagenet_classes(root: str | None) -> Arrays:
    """1,000 classes in colour, an image each to train and one to test; data.image_size gives the size."""
    return _blank(1000)


def cifar10_classes(root: str | None) -> Arrays:
    """Ten classes of 32×32 in colour."""
    return _blank(10, side=32)


def _blank(classes: int, side: int = 8) -> Arrays:
    train = np.zeros((classes, side, side, 3), np.uint8)
    test = np.full((1, side, side, 3), 255, np.uint8)  # a test image must be none of the training images
    return train, np.arange(classes), test, np.zeros(1, np.int64)
