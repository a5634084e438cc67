"""Efficient channel attention (ECA): Wang, Wu, Zhu, Li, Zuo, Hu 2020, arXiv:1910.03151, equations 5-12.

z = mean of x over H×W;  s = σ(Conv1d_k(z)) along the channels, zero-padded, no bias;  y = s · x.
The kernel adapts to the channels: k = the odd number nearest to log₂(C)/γ + β/γ, taken as in the authors'
code (⌊·⌋, plus 1 if even). k parameters, k·C MACs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ablate.models.attention.bottleneck import odd_int, positive_int

GAMMA, BETA = 2.0, 1.0


class EfficientChannelAttention(nn.Module):
    """Scales each channel by a gate from the means of its k neighbours. (B, C, H, W) -> (B, C, H, W).

    kernel: None for the one that adapts by gamma and beta; with a number, those two must keep their defaults.
    """

    gates = ("gate",)

    def __init__(
        self, channels: int, *, kernel: int | None = None, gamma: float = GAMMA, beta: float = BETA
    ) -> None:
        super().__init__()
        positive_int("channels", channels)
        if kernel is None:
            kernel = adaptive_kernel(channels, gamma, beta)
        elif (gamma, beta) != (GAMMA, BETA):
            raise ValueError(
                "gamma and beta have no effect beside an explicit kernel; leave out one or the other"
            )
        self.gate = NeighbourGate(odd_int("kernel", kernel))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def adaptive_kernel(channels: int, gamma: float = GAMMA, beta: float = BETA) -> int:
    """k for C channels. ValueError for a gamma that is not above 0."""
    if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not gamma > 0:
        raise ValueError(f"gamma must be a number greater than 0, not {gamma!r}")
    if isinstance(beta, bool) or not isinstance(beta, int | float):
        raise ValueError(f"beta must be a number, not {beta!r}")
    nearest = int(abs((math.log2(channels) + beta) / gamma))
    return nearest if nearest % 2 else nearest + 1


class NeighbourGate(nn.Module):
    """s: one weight a channel, from its neighbours. (B, C, H, W) -> (B, C, 1, 1)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3))[:, None]  # (B, 1, C)
        return self.squash(self.conv(pooled))[:, 0, :, None, None]
