"""Self-attention over the H·W positions of a map: Vaswani et al. 2017, arXiv:1706.03762, eq. 1, set into a
CNN with a residual as in Wang, Girshick, Gupta, He 2018, arXiv:1711.07971, equation 6.

X the C values of each position with the encoding P of where it lies, for each of h heads of d/h channels:
  A = softmax(Q Kᵀ / √(d/h) + bias) V,  Q = W_q (X + P), K = W_k (X + P), V = W_v (X + P);  y = x + W_o A
No projection has a bias. Parameters 4Cd and those of `positions`; MACs 4Cd·HW + 2d·(HW)².
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ablate.models.attention.bottleneck import equal_parts, positive_int
from ablate.models.attention.positions import encoding


class SelfAttention(nn.Module):
    """Every position looks at every other. (B, C, H, W) -> (B, C, H, W).

    heads: the largest number below it that divides `dim` if it does not. dim: d, None for C. position: none,
    learned, sinusoidal or relative; learned and relative belong to maps of `map_shape`, (H, W).
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 4,
        dim: int | None = None,
        position: str = "sinusoidal",
        map_shape: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        dim = positive_int("channels", channels) if dim is None else positive_int("dim", dim)
        heads, self.notes = equal_parts("heads", heads, dim)
        self.attend = Attend(channels, heads, dim, position, map_shape)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attend(x)

    def looks_from(self, x: Tensor, positions: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Where these (row, column) look: the softmax over the map, (B, heads, positions, H, W)."""
        height, width = x.shape[2:]
        weights = self.attend.weights(x, [row * width + column for row, column in positions])
        return {"": weights.unflatten(3, (height, width))}

    def map_notes(self, height: int, width: int) -> tuple[str, ...]:
        if height * width > 1:
            return ()
        return ("on a 1×1 map there is one position to look at: query and key get no gradient",)


class Attend(nn.Module):
    """W_o A, without the residual. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(
        self, channels: int, heads: int, dim: int, position: str, map_shape: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.position = encoding(position, channels, heads, map_shape)
        self.query = nn.Linear(channels, dim, bias=False)
        self.key = nn.Linear(channels, dim, bias=False)
        self.value = nn.Linear(channels, dim, bias=False)
        self.out = nn.Linear(dim, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        tokens = self.position.on_tokens(x).flatten(2).transpose(1, 2)  # (B, HW, C)
        query, key, value = (self._split(project(tokens)) for project in (self.query, self.key, self.value))
        bias = self.position.on_logits(height, width)
        if bias is not None:
            bias = bias.to(query.dtype)[None]  # (1, heads, HW, HW)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out = self.out(attended.transpose(1, 2).flatten(2))  # (B, HW, C)
        return out.transpose(1, 2).unflatten(2, (height, width))

    def weights(self, x: Tensor, queries: Sequence[int]) -> Tensor:
        """Rows of the softmax, which `forward` never holds: (B, heads, len(queries), HW)."""
        tokens = self.position.on_tokens(x).flatten(2).transpose(1, 2)  # (B, HW, C)
        query, key = self._split(self.query(tokens[:, list(queries)])), self._split(self.key(tokens))
        logits = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        bias = self.position.on_logits(*x.shape[2:])
        if bias is not None:
            logits = logits + bias[None, :, list(queries)]
        return logits.softmax(dim=3)

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, HW, d) -> (B, heads, HW, d / heads)."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
