"""Linear attention, as efficient attention: Shen, Zhang, Zhao, Yi, Li 2018, arXiv:1812.01243, equation 3.

For each of h heads of d/h channels, with Q, K, V the projections of all positions, (HW, d/h):
  E = ρ_q(Q) (ρ_k(K)ᵀ V),  ρ_q a softmax over the channels of a position, ρ_k one over the positions
  y = x + W_o E
No projection has a bias. Parameters 4Cd; MACs 4Cd·HW + 2HW·d²/h: linear in the number of positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ablate.models.attention.bottleneck import equal_parts, positive_int


class LinearAttention(nn.Module):
    """Every position draws on d/h global summaries a head. (B, C, H, W) -> (B, C, H, W).

    heads: the largest number below it that divides `dim` if it does not. dim: d, None for C.
    """

    def __init__(self, channels: int, *, heads: int = 4, dim: int | None = None) -> None:
        super().__init__()
        dim = positive_int("channels", channels) if dim is None else positive_int("dim", dim)
        self.heads, self.notes = equal_parts("heads", heads, dim)
        if dim == self.heads:
            self.notes += ("one channel a head: the softmax over channels is 1 and query gets no gradient",)
        self.query = nn.Linear(channels, dim, bias=False)
        self.key = nn.Linear(channels, dim, bias=False)
        self.value = nn.Linear(channels, dim, bias=False)
        self.out = nn.Linear(dim, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, HW, C)
        query, key, value = (self._split(project(tokens)) for project in (self.query, self.key, self.value))
        summaries = torch.matmul(key.softmax(dim=2).transpose(2, 3), value)  # (B, heads, d/h, d/h)
        drawn = torch.matmul(query.softmax(dim=3), summaries)  # (B, heads, HW, d/h)
        out = self.out(drawn.transpose(1, 2).flatten(2))  # (B, HW, C)
        return x + out.transpose(1, 2).unflatten(2, x.shape[2:])

    def looks_from(self, x: Tensor, positions: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Where these (row, column) look, ρ_q(Q) ρ_k(K)ᵀ: (B, heads, positions, H, W)."""
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)  # (B, HW, C)
        queries = tokens[:, [row * width + column for row, column in positions]]
        query, key = self._split(self.query(queries)), self._split(self.key(tokens))
        drawn = torch.matmul(query.softmax(dim=3), key.softmax(dim=2).transpose(2, 3))
        return {"": drawn.unflatten(3, (height, width))}

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, HW, d) -> (B, heads, HW, d / heads)."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def map_notes(self, height: int, width: int) -> tuple[str, ...]:
        if height * width > 1:
            return ()
        return ("on a 1×1 map the softmax over positions is 1: key gets no gradient",)
