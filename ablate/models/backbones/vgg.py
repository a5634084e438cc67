"""VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556, configuration D), with torchvision's module names.

At width 1 with 1000 classes: 138,357,544 parameters, 14,714,688 of them in `features`, and 15.47 GMACs at
224×224. Its state dict has the names and shapes of torchvision's, and the same random state gives the same
weights.
"""

from __future__ import annotations

from torch import Tensor, nn

from ablate.models.backbones.pool import AveragePool
from ablate.models.backbones.width import scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = 4096
POOLED = 7
SMALLEST_IMAGE = 2 ** len(STAGES)


class VGG(nn.Module):
    """features (convolutions, ReLUs, pools), avgpool (7×7) and classifier: (B, C, H, W) -> (B, classes)."""

    def __init__(self, features: nn.Sequential, channels: int, hidden: int, classes: int, dropout: float):
        super().__init__()
        self.features = features
        self.avgpool = AveragePool(POOLED, POOLED)
        self.classifier = nn.Sequential(
            nn.Linear(channels * POOLED * POOLED, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg16(
    *,
    classes: int,
    image_shape: tuple[int, int, int],
    batch_norm: bool = False,
    width: float = 1.0,
    dropout: float = 0.5,
) -> VGG:
    """13 convolutions in five stages, each ended by a pool, and three linear layers.

    image_shape: (C, H, W), with H and W of at least 32. batch_norm: a BatchNorm2d after each convolution, as
    in torchvision's vgg16_bn; the numbers in `features` shift with it. width: scales 64 to 512 channels and
    the 4096 units. The pools are `features` 4, 9, 16, 23, 30 (6, 13, 23, 33, 43 with batch norm). Raises
    ValueError for an argument out of its range.
    """
    before, height, across = image_shape
    if min(height, across) < SMALLEST_IMAGE:
        raise ValueError(
            f"images of {height}×{across} are too small: five poolings by two need at least"
            f" {SMALLEST_IMAGE}×{SMALLEST_IMAGE}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
    layers: list[nn.Module] = []
    for stage in STAGES:
        for base in stage:
            after = scaled(base, width)
            layers.append(nn.Conv2d(before, after, 3, padding=1))
            layers += [nn.BatchNorm2d(after)] if batch_norm else []
            layers.append(nn.ReLU())
            before = after
        layers.append(nn.MaxPool2d(2))
    return VGG(nn.Sequential(*layers), before, scaled(HIDDEN, width), classes, dropout)
