import copy
import itertools
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork

from ablate.models import ModelError, PlaceError, build_network
from ablate.models.features import FeatureMaps

POOLS = {"features.4": "0", "features.9": "1", "features.16": "2", "features.23": "3", "features.30": "4"}
LAYERS = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}


def network(backbone, at, name="msa", width=0.125):
    return build_network(
        backbone=backbone,
        args={"width": width},
        attention=(name, {"reduction": 4}, at),
        classes=10,
        image_shape=(3, 64, 64),
        backbone_seed=0,
        attention_seed=1,
    )


def vgg16(**more):
    return network("vgg16", list(POOLS), **more), POOLS


def resnet18(**more):
    return network("resnet18", list(LAYERS), **more), LAYERS


class UNetDecoder(nn.Module):
    """Upsample, join with the map before, convolve; in the end a logit a class and pixel of the first map."""

    def __init__(self, channels, classes):
        super().__init__()
        pairs = itertools.pairwise(channels)
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(shallow + deep, shallow, 3, padding=1), nn.ReLU())
            for shallow, deep in pairs
        )
        self.head = nn.Conv2d(channels[0], classes, 1)

    def forward(self, maps):
        *before, x = maps.values()
        for step, skip in zip(reversed(self.steps), reversed(before), strict=True):
            x = step(torch.cat([skip, nn.functional.interpolate(x, size=skip.shape[2:])], 1))
        return self.head(x)


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def gradient_reaches_all_attention(full):
    """Some of every module's: a ReLU of a gate may be dead as it is drawn."""
    return all(
        sum(parameter.grad.abs().sum() for parameter in module.parameters()) > 0
        for module in full.attention.values()
    )


@pytest.mark.parametrize("build", [vgg16, resnet18])
def test_a_feature_pyramid_for_detection(build, images):
    full, places = build()
    maps = FeatureMaps(full, places)
    channels = maps.channels((3, 64, 64))
    assert channels == tuple(module.channels for module in full.attached)
    pyramid = FeaturePyramidNetwork(list(channels), out_channels=8)
    levels = pyramid(maps(images))  # 64×96, where the network was planned on 64×64
    strides = [2, 4, 8, 16, 32] if build is vgg16 else [4, 8, 16, 32]
    assert [level.shape for level in levels.values()] == [(2, 8, 64 // s, 96 // s) for s in strides]
    assert list(levels) == list(places.values())
    sum(level.square().sum() for level in levels.values()).backward()
    assert gradient_reaches_all_attention(full)


@pytest.mark.parametrize("build", [vgg16, resnet18])
def test_a_u_net_decoder_for_segmentation(build, images):
    full, places = build()
    maps = FeatureMaps(full, places)
    decoder = UNetDecoder(maps.channels((3, 64, 64)), classes=5)
    optimizer = torch.optim.SGD([*maps.parameters(), *decoder.parameters()], lr=0.05)
    stride = 2 if build is vgg16 else 4
    labels = (images[:, 0, ::stride, ::stride] > 0).long()
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        logits = decoder(maps(images))
        assert logits.shape == (2, 5, 64 // stride, 96 // stride)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert gradient_reaches_all_attention(full)
    assert losses[-1] < losses[0]


def test_maps_are_what_the_network_itself_passes_on(images):
    full = resnet18()[0].eval()
    maps = FeatureMaps(full, {"layer2": "b", "layer1": "a", "maxpool": "c"})(images)
    assert list(maps) == ["b", "a", "c"] and isinstance(maps, OrderedDict)
    backbone = copy.deepcopy(full).detach_attention()
    stem = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
    first = full.attention["layer1"](backbone.layer1(stem))
    assert torch.equal(maps["c"], stem)
    assert torch.equal(maps["a"], first)
    assert torch.equal(maps["b"], full.attention["layer2"](backbone.layer2(first)))
    before_attention = backbone.layer1(stem)
    assert not torch.equal(maps["a"], before_attention)


def test_the_network_stays_as_it_was(images):
    full, places = resnet18()
    full.eval()
    expected, state = full(images), list(full.state_dict())
    maps = FeatureMaps(full, places)
    maps(images)
    with pytest.raises(RuntimeError):
        maps(torch.zeros(1, 4, 64, 64))  # four channels
    assert torch.equal(full(images), expected)
    assert list(full.state_dict()) == state
    assert not any(module._forward_hooks for module in full.detach_attention().modules())


def test_any_module_is_a_network(images):
    bare = resnet18()[0].detach_attention().eval()
    maps = FeatureMaps(bare, {"layer4.1": "last"})
    assert maps.channels((3, 64, 64)) == (64,)
    with torch.inference_mode():
        assert maps(images)["last"].shape == (2, 64, 2, 3)


def test_faults_are_said(images):
    full, _ = resnet18()
    with pytest.raises(ModelError, match="no module 'layer5'\n    did you mean 'layer"):
        FeatureMaps(full, {"layer1": "0", "layer5": "1"})
    with pytest.raises(ModelError, match="two feature maps have one name: x, x"):
        FeatureMaps(full, {"layer1": "x", "layer2": "x"})
    with pytest.raises(ModelError, match="no place"):
        FeatureMaps(full, {})
    with pytest.raises(ModelError, match=r"'fc' gives no feature map \(B, C, H, W\) but \(2, 10\)"):
        FeatureMaps(full, {"fc": "x"})(images)
    with pytest.raises(PlaceError, match="runs 2 times"):
        FeatureMaps(full, {"layer1.0.relu": "x"}).channels((3, 64, 64))


def test_a_map_that_is_overwritten_is_refused(images):
    inplace = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    with pytest.raises(ModelError, match="the map of '0' was overwritten in place by a module after it"):
        FeatureMaps(inplace, {"0": "conv", "2": "pool"})(images)
    assert FeatureMaps(inplace, {"1": "relu", "2": "pool"})(images)["relu"].min() >= 0


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.used(x)


def test_a_module_that_does_not_run_is_said(images):
    with pytest.raises(ModelError, match="'unused' did not run in this forward"):
        FeatureMaps(Optional(), {"used": "a", "unused": "b"})(images)
