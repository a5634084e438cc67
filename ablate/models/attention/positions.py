"""Where a position lies, said to an attention that would not know: three encodings of a map of H×W.

sinusoidal   Vaswani et al. 2017, arXiv:1706.03762, section 3.5, in two dimensions: the first ⌈C/2⌉ channels
             encode the row, the others the column. Of n channels, channel j at position p holds
             sin(p ω) for even j and cos(p ω) for odd j, ω = 10000^(−2⌊j/2⌋/n). No parameters, any size.
learned      Dosovitskiy et al. 2020, arXiv:2010.11929: a vector for every position. C·H·W parameters.
relative     Liu et al. 2021, arXiv:2103.14030, equation 4: a bias for every head and every difference of
             rows and of columns, added to the logits. heads·(2H − 1)(2W − 1) parameters.
The first two are added to the tokens. The last two belong to one size of map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.errors import did_you_mean
from ablate.models.construct import ModelError

ENCODINGS = ("none", "learned", "sinusoidal", "relative")
START_STD = 0.02  # of both tables, as in both papers' code


class Encoding(nn.Module):
    """What is added to tokens or to logits; this one adds nothing."""

    def on_tokens(self, x: Tensor) -> Tensor:
        """A map (B, C, H, W) with its positions written into it."""
        return x

    def on_logits(self, height: int, width: int) -> Tensor | None:
        """(heads, HW, HW), to be added to the logits of each query (rows) and key (columns)."""
        return None


class Sinusoidal(Encoding):
    def on_tokens(self, x: Tensor) -> Tensor:
        return x + sinusoids(*x.shape[1:], device=x.device).to(x.dtype)


class Learned(Encoding):
    """A table of (C, H, W)."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(channels, height, width))
        nn.init.trunc_normal_(self.table, std=START_STD)

    def on_tokens(self, x: Tensor) -> Tensor:
        _check_size("learned", self.table.shape[1:], x.shape[2:])
        return x + self.table


class Relative(Encoding):
    """A table of (heads, 2H − 1, 2W − 1)."""

    def __init__(self, heads: int, height: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(heads, 2 * height - 1, 2 * width - 1))
        nn.init.trunc_normal_(self.table, std=START_STD)

    def on_logits(self, height: int, width: int) -> Tensor:
        own = [(side + 1) // 2 for side in self.table.shape[1:]]
        _check_size("relative", own, (height, width))
        bias = self.table[:, _differences(height, self.table.device)]  # (heads, H, H, 2W - 1)
        bias = bias[..., _differences(width, self.table.device)]  # (heads, H, H, W, W)
        return bias.transpose(2, 3).flatten(3).flatten(1, 2)


def encoding(name: str, channels: int, heads: int, map_shape: tuple[int, int] | None) -> Encoding:
    """The encoding called `name` for tokens of C channels; (H, W) is needed by those with a table.

    Raises ValueError for another name, or for a table without a size.
    """
    if name not in ENCODINGS:
        hint = did_you_mean(name, ENCODINGS) if isinstance(name, str) else ""
        raise ValueError(f"position must be one of {', '.join(ENCODINGS)}, not {name!r}; {hint}".rstrip("; "))
    if name == "none":
        return Encoding()
    if name == "sinusoidal":
        return Sinusoidal()
    if map_shape is None:
        raise ValueError(f"{name} positions need the size of the map: give map_shape=(H, W)")
    return Learned(channels, *map_shape) if name == "learned" else Relative(heads, *map_shape)


def sinusoids(channels: int, height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """(C, H, W), float32."""
    rows = _waves((channels + 1) // 2, height, device)[:, :, None].expand(-1, -1, width)
    columns = _waves(channels // 2, width, device)[:, None, :].expand(-1, height, -1)
    return torch.cat((rows, columns))


def _waves(channels: int, length: int, device: torch.device | None) -> Tensor:
    """(n, length) for n channels along one axis."""
    channel = torch.arange(channels, device=device)
    pair = torch.div(channel, 2, rounding_mode="floor")
    frequency = 10000.0 ** (-2.0 * pair / max(channels, 1))
    angle = torch.arange(length, device=device) * frequency[:, None]
    return torch.where((channel % 2 == 0)[:, None], angle.sin(), angle.cos())


def _differences(length: int, device: torch.device) -> Tensor:
    """(length, length): p − q + length − 1, the index of the bias of key q for query p."""
    position = torch.arange(length, device=device)
    return position[:, None] - position[None, :] + length - 1


def _check_size(name: str, own: tuple[int, int], given: tuple[int, int]) -> None:
    if tuple(own) != tuple(given):
        raise ModelError(
            f"the {name} positions belong to maps of {own[0]}×{own[1]}, but one of {given[0]}×{given[1]} came"
            "\n    position: sinusoidal or none fits any size"
        )
