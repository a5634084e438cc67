import numpy as np
import pytest
import torch

from ablate.measure import count_macs
from ablate.models import attach_attention, build_attention
from ablate.models.attention.cbam import ConvolutionalBlockAttention

CELLS = [(True, True), (True, False), (False, True)]


def convolve(x, weight):
    """Plain cross-correlation with zero padding k // 2, in NumPy. (B, C, H, W) by (O, C, k, k)."""
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
    return np.einsum("bchwij,ocij->bohw", windows, weight)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(x, state, channel, spatial):
    """x' = σ(MLP(mean) + MLP(max)) · x;  y = σ(Conv([mean; max])) · x', in NumPy from the state dict."""
    if channel:
        first, second = (state[f"channel.{name}.weight"][:, :, 0, 0] for name in ("reduce", "expand"))
        logits = [np.maximum(0, pooled @ first.T) @ second.T for pooled in (x.mean((2, 3)), x.max((2, 3)))]
        x = x * sigmoid(sum(logits))[:, :, None, None]
    if spatial:
        two = np.stack([x.mean(axis=1), x.max(axis=1)], axis=1)
        x = x * sigmoid(convolve(two, state["spatial.conv.weight"]))
    return x


@pytest.mark.parametrize(("channels", "reduction", "kernel"), [(16, 4, 7), (7, 3, 3), (1, 16, 1)])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_against_the_formula(cell, channels, reduction, kernel):
    channel, spatial = cell
    module = ConvolutionalBlockAttention(
        channels, reduction=reduction, kernel=kernel, channel=channel, spatial=spatial
    ).double()
    x = torch.randn(2, channels, 9, 6, dtype=torch.float64)
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    np.testing.assert_allclose(module(x).detach().numpy(), reference(x.numpy(), state, *cell), rtol=1e-10)


@pytest.mark.parametrize(("channels", "expected"), [(64, 610), (128, 2146), (256, 8290), (512, 32_866)])
def test_published_parameters(channels, expected):
    assert expected == 2 * channels**2 // 16 + 98
    with torch.device("meta"):
        module = ConvolutionalBlockAttention(channels)
    assert sum(p.numel() for p in module.parameters()) == expected


@pytest.fixture(scope="module")
def torchvision_models():
    return pytest.importorskip("torchvision").models


def attached(model, places):
    with torch.device("meta"):
        return attach_attention(
            model(),
            places,
            lambda place: build_attention("cbam", place.channels, {}),
            image_shape=(3, 224, 224),
            seed=0,
        )


def test_published_figures_in_resnet18(torchvision_models):
    network = attached(torchvision_models.resnet18, ["layer*.[01]"])
    assert [module.channels for module in network.attached] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert sum(p.numel() for p in network.backbone.parameters()) == 11_689_512
    assert sum(p.numel() for p in network.parameters()) == 11_777_336
    sides = {64: 56, 128: 28, 256: 14, 512: 7}
    expected = 2 * sum(4 * c**2 // 16 + 98 * side**2 for c, side in sides.items())
    assert expected == 990_420
    assert count_macs(network, (3, 224, 224)).attention == expected


@pytest.mark.parametrize(("pools", "expected"), [(4, 138_401_456), (5, 138_434_322)])
def test_published_parameters_in_vgg16(torchvision_models, pools, expected):
    places = [f"features.{n}" for n in (4, 9, 16, 23, 30)[:pools]]
    network = attached(torchvision_models.vgg16, places)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="both off: leave the module out instead"):
        ConvolutionalBlockAttention(32, channel=False, spatial=False)
    with pytest.raises(ValueError, match="spatial must be true or false, not 1"):
        ConvolutionalBlockAttention(32, spatial=1)
    with pytest.raises(ValueError, match="kernel must be odd to keep the size of the map, not 4"):
        ConvolutionalBlockAttention(32, kernel=4)
