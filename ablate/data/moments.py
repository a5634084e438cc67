"""Mean and standard deviation of each channel, exact: sums of bytes are whole numbers."""

from __future__ import annotations

import numpy as np

_ROWS = 1024  # 1024 * 255^2 still fits into 32 bits


def statistics(images: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, std), float64 [C], of x / 255 over the pixels of images[indices] (uint8 [N, H, W, C]).

    The standard deviation is that of the population. Give the rows of the training part alone: statistics
    that have seen validation or test images leak them.
    """
    _, height, width, channels = images.shape
    total = np.zeros(height * width * channels, np.uint64)
    squares = np.zeros_like(total)
    for start in range(0, len(indices), _ROWS):
        wide = images[indices[start : start + _ROWS]].reshape(-1, total.size).astype(np.uint32)
        total += wide.sum(axis=0, dtype=np.uint32)
        wide *= wide
        squares += wide.sum(axis=0, dtype=np.uint32)
    count = len(indices) * height * width
    mean, std = np.empty(channels), np.empty(channels)
    for channel in range(channels):
        first = int(total[channel::channels].sum())
        second = int(squares[channel::channels].sum())
        mean[channel] = first / count / 255
        std[channel] = (count * second - first**2) ** 0.5 / count / 255
    return mean, std
