"""Coordinate attention: Hou, Zhou, Feng 2021, arXiv:2103.02907, equations 4-8.

z_h = mean of x over W, (C, H);  z_w = mean of x over H, (C, W);  f = δ(BN(W₁ [z_h; z_w])), W₁ of m × C;
g_h = σ(W_h f_h), (C, H, 1);  g_w = σ(W_w f_w), (C, 1, W);  y = x · g_h · g_w, with m = max(8, ⌊C/r⌋), δ the
hard swish of the authors' code. W₁ has no bias: the batch normalisation behind it would take it off again.
Parameters 3Cm + 2m + 2C, MACs 2Cm(H + W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.models.attention.bottleneck import bottleneck
from ablate.models.attention.norm import BatchNorm2d

LEAST_WIDTH = 8


class CoordinateAttention(nn.Module):
    """Scales every value by a gate for its row and one for its column. (B, C, H, W) -> (B, C, H, W)."""

    gates = ("gate",)

    def __init__(self, channels: int, *, reduction: int = 32) -> None:
        super().__init__()
        width, self.notes = bottleneck(channels, reduction, least=LEAST_WIDTH)
        self.gate = RowAndColumnGate(channels, width, self.notes)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.gate(x)
        return x * rows * columns


class RowAndColumnGate(nn.Module):
    """(g_h, g_w), from what the rows and the columns share. (B, C, H, W) -> (B, C, H, 1) and (B, C, 1, W)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self, channels: int, width: int, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.notes = notes
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = BatchNorm2d(width)
        self.rows = nn.Conv2d(width, channels, 1)
        self.columns = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        height, width = x.shape[2:]
        along_rows = x.mean(dim=3, keepdim=True)  # (B, C, H, 1)
        along_columns = x.mean(dim=2, keepdim=True).transpose(2, 3)  # (B, C, W, 1)
        shared = F.hardswish(self.norm(self.reduce(torch.cat((along_rows, along_columns), dim=2))))
        rows, columns = shared.split((height, width), dim=2)
        return self.squash(self.rows(rows)), self.squash(self.columns(columns.transpose(2, 3)))
