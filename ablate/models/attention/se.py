"""Squeeze-and-excitation: Hu, Shen, Albanie, Sun, Wu 2018, arXiv:1709.01507, equations 2-4.

z = mean of x over H×W;  s = σ(W₂ · relu(W₁ z));  y = s · x, with W₁ of C/r × C and W₂ of C × C/r, no biases.
2Cm parameters and as many MACs, m = max(1, ⌊C/r⌋).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.models.attention.bottleneck import bottleneck


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate from the means of all channels. (B, C, H, W) -> (B, C, H, W)."""

    gates = ("gate",)

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        width, self.notes = bottleneck(channels, reduction)
        self.gate = ChannelGate(channels, width, self.notes)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class ChannelGate(nn.Module):
    """s: one weight a channel. (B, C, H, W) -> (B, C, 1, 1)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self, channels: int, width: int, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.notes = notes
        self.squeeze = nn.Linear(channels, width, bias=False)
        self.excite = nn.Linear(width, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # mean, not AdaptiveAvgPool2d: the pool has no deterministic backward on CUDA
        pooled = x.mean(dim=(2, 3))  # (B, C)
        gate = self.squash(self.excite(torch.relu(self.squeeze(pooled))))  # (B, C)
        return gate[:, :, None, None]
