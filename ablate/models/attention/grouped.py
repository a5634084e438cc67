"""Grouped attention, as spatial group-wise enhance (SGE): Li, Hu, Yang 2019, arXiv:1905.09646, equations 1-5.

The channels fall into G groups; for each, with x_i its C/G values at position i:
  g = mean of x_i over the positions;  c_i = g · x_i;  ĉ_i = (c_i − μ) / (s + ε), μ and s over the positions
  a_i = γ ĉ_i + β, one γ and one β a group;  y_i = x_i · σ(a_i)
γ starts at 0 and β at 1, as in the authors' code. 2G parameters. The products c_i are elementwise
multiplications and a sum, so they cost no MACs of the convention; no other layer is in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.models.attention.bottleneck import equal_parts
from ablate.models.gates import StaticGate

EPSILON = 1e-5


class GroupedAttention(nn.Module):
    """Scales each position of each group by how much it looks like the group's mean.

    (B, C, H, W) -> (B, C, H, W). groups: 64 in the paper; the largest number below that divides C if it does
    not.
    """

    gates = ("gate",)

    def __init__(self, channels: int, *, groups: int = 8) -> None:
        super().__init__()
        self.groups, self.notes = equal_parts("groups", groups, channels)
        self.gate = GroupGate(self.groups)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unflatten(1, (self.groups, -1))  # (B, G, C/G, H, W)
        return (parts * self.gate(x)).flatten(1, 2)

    def map_notes(self, height: int, width: int) -> tuple[str, ...]:
        if height * width > 1 or isinstance(self.gate, StaticGate):
            return ()
        return ("on a 1×1 map there is nothing to compare a position with: the scales get no gradient",)


class GroupGate(nn.Module):
    """One weight a group and position. (B, C, H, W) -> (B, G, 1, H, W)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.scale = nn.Parameter(torch.zeros(groups))
        self.shift = nn.Parameter(torch.ones(groups))

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unflatten(1, (self.groups, -1))  # (B, G, C/G, H, W)
        likeness = (parts * parts.mean(dim=(3, 4), keepdim=True)).sum(dim=2)  # (B, G, H, W)
        mean = likeness.mean(dim=(2, 3), keepdim=True)
        # the paper's variance divides by the number of positions: 0, not NaN, on a 1×1 map
        deviation = likeness.std(dim=(2, 3), keepdim=True, correction=0)
        normal = (likeness - mean) / (deviation + EPSILON)
        scale, shift = (each.view(1, -1, 1, 1) for each in (self.scale, self.shift))
        return self.squash(scale * normal + shift)[:, :, None]
