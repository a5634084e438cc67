"""The three-block network that squeeze-and-excitation was tried in: 32, 64, 128 channels, two linear layers.

At width 1 on 3×32×32 images with 10 classes: 1,147,914 parameters and 11,375,616 MACs.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from ablate.models.backbones.width import scaled

CHANNELS = (32, 64, 128)
HIDDEN = 512
SMALLEST_IMAGE = 2 ** len(CHANNELS)


def cnn(
    *,
    classes: int,
    image_shape: tuple[int, int, int],
    width: float = 1.0,
    hidden: int | None = None,
    dropout: float = 0.5,
) -> nn.Sequential:
    """block1, block2, block3 (each conv, norm, relu, pool) and head (flatten, hidden, relu, dropout, output).

    image_shape: (C, H, W), with H and W of at least 8. width: scales 32, 64, 128 and 512, each to the nearest
    whole number (halves up) and at least 1. hidden: units of the first linear layer instead of 512 × width.
    (B, C, H, W) -> (B, classes). Raises ValueError for an argument out of its range.
    """
    channels_in, height, across = image_shape
    if min(height, across) < SMALLEST_IMAGE:
        raise ValueError(
            f"images of {height}×{across} are too small: three poolings by two need at least"
            f" {SMALLEST_IMAGE}×{SMALLEST_IMAGE}"
        )
    if hidden is not None and hidden < 1:
        raise ValueError(f"hidden must be at least 1, not {hidden!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
    channels = [scaled(base, width) for base in CHANNELS]
    units = scaled(HIDDEN, width) if hidden is None else hidden
    pooled = (height // SMALLEST_IMAGE) * (across // SMALLEST_IMAGE)
    blocks = {
        f"block{number}": _block(before, after)
        for number, (before, after) in enumerate(
            zip([channels_in, *channels], channels, strict=False), start=1
        )
    }
    head = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden=nn.Linear(channels[-1] * pooled, units),
            relu=nn.ReLU(),
            dropout=nn.Dropout(dropout),
            output=nn.Linear(units, classes),
        )
    )
    return nn.Sequential(OrderedDict(**blocks, head=head))


def _block(before: int, after: int) -> nn.Sequential:
    """(B, before, H, W) -> (B, after, H // 2, W // 2)."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(before, after, 3, padding=1),
            norm=nn.BatchNorm2d(after),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(2),
        )
    )
