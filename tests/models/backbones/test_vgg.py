import pytest
import torch
from torchvision import models

from ablate.measure import count_macs
from ablate.models import build_network
from ablate.models.backbones.vgg import vgg16

CONVOLUTIONS = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
CONVOLUTIONS += [(256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512)]
SIDES = [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3  # of the map that each convolution gives
POOLS = [f"features.{n}" for n in (4, 9, 16, 23, 30)]
LINEAR = 25088 * 4096 + 4096 * 4096


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(attention=None, classes=1000, image_shape=(3, 224, 224), **args):
    with torch.device("meta"):
        return build_network(
            backbone="vgg16",
            args=args,
            attention=attention,
            classes=classes,
            image_shape=image_shape,
            backbone_seed=0,
            attention_seed=0,
        )


def test_published_parameters():
    backbone = on_meta().backbone
    in_features = sum(9 * before * after + after for before, after in CONVOLUTIONS)
    assert size(backbone.features) == in_features == 14_714_688
    linear = LINEAR + 4096 * 1000 + 4096 + 4096 + 1000
    assert size(backbone) == in_features + linear == 138_357_544
    assert size(on_meta(batch_norm=True).backbone) == 138_357_544 + sum(
        2 * after for _, after in CONVOLUTIONS
    )


def test_published_macs():
    macs = count_macs(on_meta(), (3, 224, 224))
    by_hand = sum(
        9 * before * after * side**2 for (before, after), side in zip(CONVOLUTIONS, SIDES, strict=True)
    )
    by_hand += LINEAR + 4096 * 1000
    assert macs.total == by_hand == 15_470_264_320


def test_it_is_torchvisions_network():
    """From the same random state: names, weights, and the output; bit for bit at the size it was made for."""
    torch.manual_seed(5)
    theirs = models.vgg16(num_classes=4).eval()
    torch.manual_seed(5)
    ours = vgg16(classes=4, image_shape=(3, 64, 64)).eval()
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())
    with torch.no_grad():
        for side, tolerance in ((64, 1e-6), (70, 1e-6), (224, 0)):
            image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
            torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=tolerance)


def test_with_batch_norm_it_has_the_modules_of_torchvisions():
    with torch.device("meta"):
        theirs, ours = models.vgg16_bn(), vgg16(classes=1000, image_shape=(3, 64, 64), batch_norm=True)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    layers = [(path, type(module)) for path, module in theirs.named_modules() if "." in path]
    assert [(path, type(module)) for path, module in ours.named_modules() if "." in path] == layers
    pools = [int(path.split(".")[1]) for path, kind in layers if kind is torch.nn.MaxPool2d]
    assert pools == [6, 13, 23, 33, 43]  # as vgg16 says


@pytest.mark.parametrize("width", [0.125, 0.3])
def test_width_and_channels(width):
    channels = [max(1, int(after * width + 0.5)) for _, after in CONVOLUTIONS]
    hidden = int(4096 * width + 0.5)
    network = vgg16(classes=7, image_shape=(5, 33, 47), width=width, dropout=0.2).eval()
    convolutions = [module for module in network.features if isinstance(module, torch.nn.Conv2d)]
    pairs = list(zip([5, *channels], channels, strict=False))
    assert [(c.in_channels, c.out_channels) for c in convolutions] == pairs
    expected = sum(9 * before * after + after for before, after in pairs)
    expected += (49 * channels[-1] + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * 7
    assert size(network) == expected
    assert network(torch.zeros(2, 5, 33, 47)).shape == (2, 7)
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}


def test_the_published_positions_of_msa():
    full = on_meta(("msa", {"reduction": 16}, POOLS))
    channels = [64, 128, 256, 512, 512]
    assert [(m.path, m.channels) for m in full.attached] == list(zip(POOLS, channels, strict=True))
    assert [m.param_count for m in full.attached] == [10_532, 41_396, 164_564, 656_660, 656_660]
    assert size(full) == 138_357_544 + 1_529_812
    sides = [112, 56, 28, 14, 7]
    by_hand = sum(
        s * s * (38 * c * c // 16 + 147) + 2 * c * c // 16 for c, s in zip(channels, sides, strict=True)
    )
    assert count_macs(full, (3, 224, 224)).attention == by_hand == 521_151_647


def test_cbam_after_the_pools():
    assert size(on_meta(("cbam", {}, POOLS[:4]))) == 138_401_456
    assert size(on_meta(("cbam", {}, POOLS))) == 138_434_322


@pytest.mark.parametrize(
    ("shape", "args", "message"),
    [
        ((3, 31, 64), {}, "images of 31×64 are too small: five poolings by two need at least 32×32"),
        ((3, 64, 64), {"width": 0}, "width must be a number above 0, not 0"),
        ((3, 64, 64), {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ],
)
def test_what_cannot_be_built_is_said(shape, args, message):
    with pytest.raises(ValueError) as caught:
        vgg16(classes=10, image_shape=shape, **args)
    assert str(caught.value) == message
