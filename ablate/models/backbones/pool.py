"""Average pooling to a fixed size, in operators that are deterministic on every device.

The backward pass of torch's own adaptive average pooling adds up in any order on CUDA wherever the output is
larger than 1×1, and so refuses to run under ``torch.use_deterministic_algorithms``. (Max pooling of two
dimensions needs no replacement: its CUDA backward walks, for each input pixel, the windows that contain it in
a fixed order, in both memory layouts.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragePool(nn.Module):
    """(B, C, H, W) -> (B, C, h, w): means over the windows of `torch.nn.AdaptiveAvgPool2d`.

    Window i of n over a side of length L covers the pixels from ⌊iL/n⌋ to ⌈(i+1)L/n⌉ - 1, so a map smaller
    than the output is spread over it. No parameters; equal to torch's pool up to rounding.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        if (self.height, self.width) == (1, 1):  # torch takes this mean, too: equal bit for bit
            return x.mean((2, 3), keepdim=True)
        return _along(_along(x, 2, self.height), 3, self.width)

    def extra_repr(self) -> str:
        return f"{self.height}, {self.width}"


def _along(x: Tensor, dim: int, count: int) -> Tensor:
    """Means over `count` windows of one dimension: a window is a rectangle, so its sides can go in turn."""
    length = x.shape[dim]
    if length == count:
        return x
    if length % count == 0:  # windows side by side, each of the same length
        return x.unflatten(dim, (count, length // count)).mean(dim + 1)
    windows = [(i * length // count, -((i + 1) * length // -count)) for i in range(count)]
    return torch.stack([x.narrow(dim, start, end - start).mean(dim) for start, end in windows], dim)
