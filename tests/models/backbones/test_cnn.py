import pytest
import torch

from ablate.models.backbones.cnn import cnn


def parameters(channels_in, widths, pooled, hidden, classes):
    """Written out by hand: biased 3×3 convolutions, batch norms (scale and shift), two linear layers."""
    count, before = 0, channels_in
    for after in widths:
        count += 9 * before * after + after + 2 * after
        before = after
    return count + (before * pooled + 1) * hidden + (hidden + 1) * classes


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_published_parameters():
    assert count(cnn(classes=10, image_shape=(3, 32, 32))) == 1_147_914


@pytest.mark.parametrize(
    ("shape", "args", "widths", "pooled", "hidden"),
    [
        ((1, 28, 28), {"width": 0.5}, (16, 32, 64), 9, 256),
        ((5, 8, 17), {}, (32, 64, 128), 2, 512),
        ((3, 32, 32), {"hidden": 100}, (32, 64, 128), 16, 100),
        ((3, 32, 32), {"width": 0.25, "hidden": 7}, (8, 16, 32), 16, 7),
        ((3, 16, 16), {"width": 0.3}, (10, 19, 38), 4, 154),  # 9.6, 19.2, 38.4, 153.6
        ((3, 16, 16), {"width": 0.203125}, (7, 13, 26), 4, 104),  # 6.5 goes up
        ((3, 16, 16), {"width": 0.001}, (1, 1, 1), 4, 1),
        ((3, 16, 16), {"width": 2}, (64, 128, 256), 4, 1024),
    ],
)
def test_sizes(shape, args, widths, pooled, hidden):
    network = cnn(classes=10, image_shape=shape, **args)
    assert count(network) == parameters(shape[0], widths, pooled, hidden, 10)
    assert network(torch.zeros(2, *shape)).shape == (2, 10)


def test_names_are_those_of_the_contract():
    network = cnn(classes=10, image_shape=(3, 32, 32), dropout=0.2)
    assert [name for name, _ in network.named_children()] == ["block1", "block2", "block3", "head"]
    for block in (network.block1, network.block2, network.block3):
        assert [name for name, _ in block.named_children()] == ["conv", "norm", "relu", "pool"]
    assert network.head.dropout.p == 0.2
    assert network.block1(torch.zeros(1, 3, 32, 32)).shape == (1, 32, 16, 16)  # after its pool


@pytest.mark.parametrize(
    ("shape", "args", "message"),
    [
        ((3, 7, 32), {}, "images of 7×32 are too small: three poolings by two need at least 8×8"),
        ((3, 32, 32), {"width": 0}, "width must be a number above 0, not 0"),
        ((3, 32, 32), {"width": float("nan")}, "width must be a number above 0, not nan"),
        ((3, 32, 32), {"hidden": 0}, "hidden must be at least 1, not 0"),
        ((3, 32, 32), {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ],
)
def test_what_cannot_be_built_is_said(shape, args, message):
    with pytest.raises(ValueError) as caught:
        cnn(classes=10, image_shape=shape, **args)
    assert str(caught.value) == message


def test_trains_under_deterministic_algorithms():
    network = cnn(classes=3, image_shape=(2, 9, 11), width=0.25)
    torch.use_deterministic_algorithms(True)
    try:
        network(torch.randn(4, 2, 9, 11)).square().sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(
        p.grad.abs().sum() > 0 for name, p in network.named_parameters() if not name.endswith("conv.bias")
    )
