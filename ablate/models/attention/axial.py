"""Axial attention: Ho, Kalchbrenner, Weissenborn, Salimans 2019, arXiv:1912.12180, section 3; first along the
columns and then along the rows as in Wang et al. 2020, arXiv:2003.07853, section 3.2.

u = x + A_H(x), every position looking at those of its column;  y = u + A_W(u), at those of its row. Each A is
the self-attention of `self_attention` on maps of H×1 or 1×W, with projections and encoding of its own.
Parameters 8Cd and those of `positions`; MACs 8Cd·HW + 2d·HW(H + W).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ablate.models.attention.bottleneck import equal_parts, positive_int
from ablate.models.attention.self_attention import Attend


class AxialAttention(nn.Module):
    """Every position looks along its column, then along its row. (B, C, H, W) -> (B, C, H, W).

    Arguments as in SelfAttention.
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
        column, row = (None, None) if map_shape is None else ((map_shape[0], 1), (1, map_shape[1]))
        self.columns = Attend(channels, heads, dim, position, column)
        self.rows = Attend(channels, heads, dim, position, row)

    def forward(self, x: Tensor) -> Tensor:
        images, _, height, _ = x.shape
        x = self._down_columns(x)
        rows = self.rows(x.permute(0, 2, 1, 3).flatten(0, 1).unsqueeze(2))  # (B·H, C, 1, W)
        return x + rows.squeeze(2).unflatten(0, (images, height)).permute(0, 2, 1, 3)

    def _down_columns(self, x: Tensor) -> Tensor:
        """u."""
        images, _, _, width = x.shape
        columns = self.columns(x.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(3))  # (B·W, C, H, 1)
        return x + columns.squeeze(3).unflatten(0, (images, width)).permute(0, 2, 3, 1)

    def looks_from(self, x: Tensor, positions: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Where these (row, column) look, down their column and then along their row: twice
        (B, heads, positions, H, W)."""
        between = self._down_columns(x)
        images, _, height, width = x.shape
        shape = (images, self.columns.heads, len(positions), height, width)
        down, along = x.new_zeros(shape), x.new_zeros(shape)
        for at, (row, column) in enumerate(positions):
            down[:, :, at, :, column] = self.columns.weights(x[..., column : column + 1], [row])[:, :, 0]
            along[:, :, at, row] = self.rows.weights(between[:, :, row : row + 1], [column])[:, :, 0]
        return {"columns": down, "rows": along}

    def map_notes(self, height: int, width: int) -> tuple[str, ...]:
        axes = [name for name, length in (("column", height), ("row", width)) if length == 1]
        return tuple(
            f"on a {height}×{width} map a {axis} is one position: query and key of {axis}s get no gradient"
            for axis in axes
        )
