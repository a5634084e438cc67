"""ResNet-18 (He et al. 2016, arXiv:1512.03385, table 1), with torchvision's module names.

At width 1 with 1000 classes: 11,689,512 parameters, and 1.81 GMACs at 224×224. Its state dict has the names
and shapes of torchvision's, and the same random state gives the same weights.
"""

from __future__ import annotations

from torch import Tensor, nn

from ablate.models.backbones.pool import AveragePool
from ablate.models.backbones.width import scaled

CHANNELS = (64, 128, 256, 512)
BLOCKS = 2  # in each of the four layers


class ResidualBlock(nn.Module):
    """(B, before, H, W) -> (B, after, ⌈H / stride⌉, ⌈W / stride⌉)."""

    def __init__(self, before: int, after: int, stride: int, downsample: nn.Module | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(branch + shortcut)


class ResNet(nn.Module):
    """conv1, bn1, relu, maxpool, layer1 … layer4, avgpool, fc: (B, C, H, W) -> (B, classes)."""

    def __init__(self, channels_in: int, width: float, classes: int):
        super().__init__()
        one, two, three, four = (scaled(base, width) for base in CHANNELS)
        self.conv1 = nn.Conv2d(channels_in, one, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(one)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(one, one, stride=1)
        self.layer2 = _layer(one, two, stride=2)
        self.layer3 = _layer(two, three, stride=2)
        self.layer4 = _layer(three, four, stride=2)
        self.avgpool = AveragePool(1, 1)
        self.fc = nn.Linear(four, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(*, classes: int, image_shape: tuple[int, int, int], width: float = 1.0) -> ResNet:
    """Eight residual blocks, two in each of layer1 … layer4.

    image_shape: (C, H, W) of any size; the last map is a 32nd of it on each side, rounded up. width: scales
    64 to 512 channels. Raises ValueError for a width out of its range.
    """
    return ResNet(image_shape[0], width, classes)


def _layer(before: int, after: int, stride: int) -> nn.Sequential:
    downsample = None
    if stride != 1 or before != after:
        downsample = nn.Sequential(
            nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
        )
    first = ResidualBlock(before, after, stride, downsample)
    return nn.Sequential(first, *(ResidualBlock(after, after, 1) for _ in range(BLOCKS - 1)))
