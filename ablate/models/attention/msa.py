"""Multi-scale attention (MSA), as the source document on attention in VGG16 defines it.

With m = max(1, ⌊C/r⌋) and σ the sigmoid:
  F(x)  = Fuse([Conv1(x); Conv3(x); Conv5(x)])             each C→m, Fuse a 1×1 convolution 3m→C
  Mc(x) = σ(Expand(relu(Reduce(mean of x over H×W))))      1×1 convolutions C→m→C; (B, C, 1, 1)
  Ms(x) = σ(Conv7([max; mean; std of x over the channels]))   3→1, std unbiased; (B, 1, H, W)
  y     = x + F(x) · Mc(x) · Ms(x)
Every convolution is biased and padded by k//2. A gate that is off is 1; without the branches F(x) = x.
MACs with everything on: HW(38Cm + 147) + 2Cm. With `deformable`, Conv3 and Conv5 are deformable convolutions
(`deformable`): 1412C + 68 parameters and 1412C·HW MACs more, for their offsets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.models.attention.bottleneck import bottleneck, switch
from ablate.models.attention.deformable import DeformableConv2d
from ablate.models.gates import StaticGate

SCALES = (1, 3, 5)
SPATIAL_KERNEL = 7


class MultiScaleAttention(nn.Module):
    """Parallel convolutions of three sizes, gated by channel and by position. (B, C, H, W) -> (B, C, H, W).

    deformable: the 3×3 and 5×5 branches learn where to look. Raises ValueError with all three switches off:
    the module must be absent then, for y = 2x is another network.
    """

    switches = ("multi_scale", "channel", "spatial")
    gates = ("channel", "spatial")
    scales = ("multi_scale.conv1", "multi_scale.conv3", "multi_scale.conv5")

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        multi_scale: bool = True,
        channel: bool = True,
        spatial: bool = True,
        deformable: bool = False,
    ) -> None:
        super().__init__()
        on = dict(zip(self.switches, (multi_scale, channel, spatial), strict=True))
        for name, value in (*on.items(), ("deformable", deformable)):
            switch(name, value)
        if not any(on.values()):
            raise ValueError("multi_scale, channel and spatial are all off: leave the module out instead")
        width, notes = bottleneck(channels, reduction)
        self.notes = notes if multi_scale or channel else ()  # the spatial gate has no bottleneck
        self.multi_scale = MultiScale(channels, width, deformable) if multi_scale else None
        self.channel = ChannelGate(channels, width, () if multi_scale else notes) if channel else None
        self.spatial = SpatialGate() if spatial else None

    def forward(self, x: Tensor) -> Tensor:
        features = x if self.multi_scale is None else self.multi_scale(x)
        if self.channel is not None:
            features = features * self.channel(x)
        if self.spatial is not None:
            features = features * self.spatial(x)
        return x + features

    def map_notes(self, height: int, width: int) -> tuple[str, ...]:
        """What is lost on an H×W map: weights that only ever meet the padding."""
        looks = self.spatial is not None and not isinstance(self.spatial, StaticGate)
        kernels = [*(SCALES if self.multi_scale else ()), *([SPATIAL_KERNEL] if looks else ())]
        notes = []
        for kernel in kernels:
            used = min(kernel, 2 * height - 1) * min(kernel, 2 * width - 1)
            if 2 * used <= kernel**2:
                notes.append(
                    f"on a {height}×{width} map {1 - used / kernel**2:.0%} of the weights of the"
                    f" {kernel}×{kernel} convolution see only padding and get no gradient"
                )
        return tuple(notes)


class MultiScale(nn.Module):
    """F(x): three scales side by side, fused. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, width: int, deformable: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv3, self.conv5 = (
            DeformableConv2d(channels, width, k)
            if deformable and k > 1
            else nn.Conv2d(channels, width, k, padding=k // 2)
            for k in SCALES
        )
        self.fuse = nn.Conv2d(3 * width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(torch.cat((self.conv1(x), self.conv3(x), self.conv5(x)), dim=1))


class ChannelGate(nn.Module):
    """Mc(x): one weight a channel, from the means of all channels. (B, C, H, W) -> (B, C, 1, 1)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self, channels: int, width: int, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.notes = notes
        self.reduce = nn.Conv2d(channels, width, 1)
        self.expand = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        return self.squash(self.expand(torch.relu(self.reduce(pooled))))


class SpatialGate(nn.Module):
    """Ms(x): one weight a position, from three statistics of its channels. (B, C, H, W) -> (B, 1, H, W)."""

    squash = staticmethod(torch.sigmoid)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, SPATIAL_KERNEL, padding=SPATIAL_KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        highest, mean = x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)
        return self.squash(self.conv(torch.cat((highest, mean, channel_deviation(x)), dim=1)))


def channel_deviation(x: Tensor) -> Tensor:
    """Unbiased standard deviation over the channels, (B, C, H, W) -> (B, 1, H, W); 0 for a single channel.

    Where all channels agree (dead positions after a ReLU) torch.std's own backward gives 0, not the infinite
    slope of the square root, so no epsilon shifts the value; a test holds this for every torch that runs it.
    """
    if x.shape[1] == 1:
        return torch.zeros_like(x)
    return x.std(dim=1, keepdim=True)
