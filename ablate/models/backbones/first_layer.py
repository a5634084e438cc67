"""The first layer and the number of image channels: RGB weights for gray, RGB-D or five-channel images.

One rule for every backbone. From scratch, the layer is simply one for so many channels. Pretrained weights
are turned into weights for C channels as timm does: for one channel the kernel is summed over its channels;
for more, its channels are repeated in turn and scaled by (channels of the file) / C, so that an image whose
channels are alike gives what it gave before.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Path and module of the first convolution, as the modules are registered; None without one."""
    return next(
        ((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d)), None
    )


def take_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution by a new one for images of so many channels, unless it has them already.

    Raises ValueError when the network has no convolution, or a grouped one, to replace.
    """
    found = first_convolution(network)
    if found is None or found[1].groups != 1:
        raise ValueError(f"its first layer cannot be replaced by one for {channels} channels")
    path, old = found
    if old.in_channels == channels:
        return
    parent, _, name = path.rpartition(".")
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        dilation=old.dilation,
        bias=old.bias is not None,
        padding_mode=old.padding_mode,
    )
    setattr(network.get_submodule(parent), name, new)


def adapt_kernel(weight: Tensor, channels: int) -> Tensor:
    """The kernel (out, in, h, w) of a trained first layer for another number of channels: (out, C, h, w)."""
    before = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, math.ceil(channels / before), 1, 1)[:, :channels]
    return repeated * (before / channels)
