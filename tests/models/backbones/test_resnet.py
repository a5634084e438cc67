import pytest
import torch
from torchvision import models

from ablate.measure import count_macs
from ablate.models import build_network
from ablate.models.backbones.resnet import resnet18

BLOCKS = [f"layer{layer}.{block}" for layer in (1, 2, 3, 4) for block in (0, 1)]
CHANNELS = [64, 64, 128, 128, 256, 256, 512, 512]
SIDES = [56, 56, 28, 28, 14, 14, 7, 7]  # of each block's output at 224×224


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(attention=None, **changes):
    with torch.device("meta"):
        return build_network(
            backbone="resnet18",
            args={},
            attention=attention,
            classes=1000,
            image_shape=(3, 224, 224),
            backbone_seed=0,
            attention_seed=0,
            **changes,
        )


def by_hand():
    """(parameters, MACs at 224×224): a biasless convolution and its norm at a time."""
    parameters, macs = 49 * 3 * 64 + 2 * 64, 49 * 3 * 64 * 112**2
    before = 64
    for after, side in zip(CHANNELS, SIDES, strict=True):
        kernels = [9 * before * after, 9 * after * after] + ([before * after] if before != after else [])
        parameters += sum(kernels) + 2 * after * len(kernels)
        macs += sum(kernels) * side**2
        before = after
    return parameters + 512 * 1000 + 1000, macs + 512 * 1000


def test_published_parameters_and_macs():
    network = on_meta()
    assert (size(network), count_macs(network, (3, 224, 224)).total) == by_hand()
    assert by_hand() == (11_689_512, 1_814_073_344)


def test_it_is_torchvisions_network_bit_for_bit():
    """From the same random state: names, shapes, weights and output, in training and in evaluation."""
    torch.manual_seed(5)
    theirs = models.resnet18(num_classes=4)
    torch.manual_seed(5)
    ours = resnet18(classes=4, image_shape=(3, 64, 64))
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())
    assert [path for path, _ in ours.named_modules()] == [path for path, _ in theirs.named_modules()]
    for side in (64, 45):
        image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))
        assert torch.equal(ours.train()(image), theirs.train()(image))
        assert torch.equal(ours.eval()(image), theirs.eval()(image))
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())


def test_width_and_channels():
    network = resnet18(classes=7, image_shape=(5, 32, 32), width=0.25).eval()
    assert network.conv1.in_channels == 5
    assert [network.get_submodule(path).conv2.out_channels for path in BLOCKS] == [c // 4 for c in CHANNELS]
    for side in (1, 32, 50):
        assert network(torch.zeros(2, 5, side, side)).shape == (2, 7)
    with pytest.raises(ValueError, match="width must be a number above 0, not -1"):
        resnet18(classes=7, image_shape=(5, 32, 32), width=-1)


@pytest.mark.parametrize("place", ["after", "before-add"])
def test_cbam_in_all_eight_blocks(place):
    full = on_meta(("cbam", {}, BLOCKS), place=place)
    assert [m.channels for m in full.attached] == CHANNELS
    assert [m.path for m in full.attached] == BLOCKS if place == "after" else [f"{b}.bn2" for b in BLOCKS]
    assert size(full) == 11_777_336
    attention = sum(4 * c * c // 16 + 98 * s * s for c, s in zip(CHANNELS, SIDES, strict=True))
    assert count_macs(full, (3, 224, 224)).attention == attention == 990_420


def test_se_in_every_layer():
    full = on_meta(("se", {"reduction": 16}, ["layer*"]))
    assert size(full) == 11_689_512 + sum(2 * c * c // 16 for c in (64, 128, 256, 512))
