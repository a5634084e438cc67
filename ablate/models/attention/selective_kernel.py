"""Selective kernel: Li, Wang, Hu, Yang 2019, arXiv:1903.06586, equations 1-6.

Branch i is relu(BN(Conv3 of dilation i)), C→C in G groups, so that it sees 2i + 1 positions across: U_i.
  U = Σ U_i;  s = mean of U over H×W;  z = relu(BN(W s)), of m = max(32, ⌊C/r⌋);  a_i = softmax over the
  branches of A_i z, (C,);  y = Σ a_i · U_i
There is no residual: y stands in the place of x. With n branches, parameters n(9C²/G + 2C) + Cm + 2m + nCm,
MACs 9nC²·HW/G + Cm + nCm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.models.attention.bottleneck import bottleneck, equal_parts, positive_int
from ablate.models.attention.norm import BatchNorm2d

LEAST_WIDTH = 32


class SelectiveKernel(nn.Module):
    """Branches with receptive fields of several sizes, mixed for each channel. (B, C, H, W) -> (B, C, H, W).

    groups: the largest number below it that divides C if it does not. branches: at least 2.
    """

    gates = ("gate",)

    def __init__(self, channels: int, *, reduction: int = 16, branches: int = 2, groups: int = 32) -> None:
        super().__init__()
        if positive_int("branches", branches) < 2:
            raise ValueError("branches must be at least 2: one has nothing to select from")
        width, notes = bottleneck(channels, reduction, least=LEAST_WIDTH)
        groups, more = equal_parts("groups", groups, channels)
        self.notes = notes + more
        self.branches = nn.ModuleList(Branch(channels, i + 1, groups) for i in range(branches))
        self.scales = tuple(f"branches.{i}" for i in range(branches))
        self.gate = BranchGate(channels, width, branches, notes)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.stack([branch(x) for branch in self.branches], dim=1)  # (B, n, C, H, W)
        return (features * self.gate(features.sum(dim=1))).sum(dim=1)


class Branch(nn.Sequential):
    """U_i, of one dilation. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, dilation: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, groups=groups, bias=False
        )
        self.norm = BatchNorm2d(channels)
        self.relu = nn.ReLU()


def over_branches(logits: Tensor) -> Tensor:
    """The softmax over the branches of (B, n, C, 1, 1)."""
    return logits.softmax(dim=1)


class BranchGate(nn.Module):
    """a: the share of every branch in each channel. The sum U, (B, C, H, W) -> (B, n, C, 1, 1)."""

    squash = staticmethod(over_branches)

    def __init__(self, channels: int, width: int, branches: int, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.notes = notes
        self.branches = branches
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = BatchNorm2d(width)
        self.select = nn.Conv2d(width, branches * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        logits = self.select(torch.relu(self.norm(self.reduce(pooled))))  # (B, nC, 1, 1)
        return self.squash(logits.unflatten(1, (self.branches, -1)))
