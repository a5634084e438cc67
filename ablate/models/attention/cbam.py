"""CBAM, convolutional block attention module: Woo, Park, Lee, Kweon 2018, arXiv:1807.06521, equations 1-3.

With m = max(1, ⌊C/r⌋), σ the sigmoid and one MLP shared by both poolings:
  Mc(x) = σ(MLP(mean of x over H×W) + MLP(max of x over H×W))      MLP: 1×1 convolutions C→m, ReLU, m→C
  Ms(x) = σ(Conv_k([mean; max of x over the channels]))            2→1, padded by k//2
  x' = Mc(x) · x;  y = Ms(x') · x'
No convolution has a bias. Parameters 2Cm + 2k²; MACs 4Cm + 2k²·HW. A gate that is off is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.models.attention.bottleneck import bottleneck, odd_int, switch


class ConvolutionalBlockAttention(nn.Module):
    """A channel gate, then a spatial gate. (B, C, H, W) -> (B, C, H, W).

    Raises ValueError with both switches off: the module must be absent then.
    """

    switches = ("channel", "spatial")
    gates = ("channel", "spatial")

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        kernel: int = 7,
        channel: bool = True,
        spatial: bool = True,
    ) -> None:
        super().__init__()
        channel, spatial = switch("channel", channel), switch("spatial", spatial)
        if not (channel or spatial):
            raise ValueError("channel and spatial are both off: leave the module out instead")
        width, notes = bottleneck(channels, reduction)
        kernel = odd_int("kernel", kernel)
        self.notes = notes if channel else ()  # the spatial gate has no bottleneck
        self.channel = ChannelGate(channels, width, self.notes) if channel else None
        self.spatial = SpatialGate(kernel) if spatial else None

    def forward(self, x: Tensor) -> Tensor:
        if self.channel is not None:
            x = x * self.channel(x)
        if self.spatial is not None:
            x = x * self.spatial(x)
        return x


class ChannelGate(nn.Module):
    """Mc(x): one weight a channel. (B, C, H, W) -> (B, C, 1, 1)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self, channels: int, width: int, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.notes = notes
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.expand = nn.Conv2d(width, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # amax, not AdaptiveMaxPool2d: the pool has no deterministic backward on CUDA
        pooled = torch.cat(
            (x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)), dim=2
        )  # (B, C, 2, 1)
        logits = self.expand(torch.relu(self.reduce(pooled)))  # (B, C, 2, 1)
        return self.squash(logits.sum(dim=2, keepdim=True))


class SpatialGate(nn.Module):
    """Ms(x): one weight a position. (B, C, H, W) -> (B, 1, H, W)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        statistics = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return self.squash(self.conv(statistics))
