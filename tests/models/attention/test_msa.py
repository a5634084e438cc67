import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ablate.models.attention import build_attention
from ablate.models.attention.msa import MultiScaleAttention, channel_deviation

CELLS = [cell for cell in itertools.product([False, True], repeat=3) if any(cell)]


def convolve(x, weight, bias):
    """Plain cross-correlation with zero padding k // 2, in NumPy. (B, C, H, W) by (O, C, k, k)."""
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
    return np.einsum("bchwij,ocij->bohw", windows, weight) + bias[None, :, None, None]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(x, state, multi_scale, channel, spatial):
    """y = x + F(x) · Mc(x) · Ms(x), in NumPy, from the state dict's arrays."""

    def conv(name, values):
        return convolve(values, state[f"{name}.weight"], state[f"{name}.bias"])

    features, channel_gate, spatial_gate = x, 1.0, 1.0
    if multi_scale:
        scales = [conv(f"multi_scale.conv{k}", x) for k in (1, 3, 5)]
        features = conv("multi_scale.fuse", np.concatenate(scales, axis=1))
    if channel:
        pooled = x.mean(axis=(2, 3), keepdims=True)
        channel_gate = sigmoid(conv("channel.expand", np.maximum(0, conv("channel.reduce", pooled))))
    if spatial:
        deviation = x.std(axis=1, ddof=1, keepdims=True) if x.shape[1] > 1 else np.zeros_like(x)
        stack = [x.max(axis=1, keepdims=True), x.mean(axis=1, keepdims=True), deviation]
        spatial_gate = sigmoid(conv("spatial.conv", np.concatenate(stack, axis=1)))
    return x + features * channel_gate * spatial_gate


@pytest.mark.parametrize(("channels", "reduction"), [(16, 4), (7, 3), (1, 16)])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_against_the_formula(cell, channels, reduction):
    switches = dict(zip(("multi_scale", "channel", "spatial"), cell, strict=True))
    module = MultiScaleAttention(channels, reduction=reduction, **switches).double()
    x = torch.randn(2, channels, 9, 6, dtype=torch.float64)
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    np.testing.assert_allclose(module(x).detach().numpy(), reference(x.numpy(), state, *cell), rtol=1e-10)


def closed_form(channels, reduction, multi_scale=True, channel=True, spatial=True):
    m = channels // reduction
    scales = 35 * channels * m + 3 * m + 3 * m * channels + channels
    gate = channels * m + m + m * channels + channels
    return multi_scale * scales + channel * gate + spatial * (3 * 49 + 1)


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("reduction", [4, 8, 16, 32])
@pytest.mark.parametrize("channels", [64, 128, 256, 512])
def test_parameters(channels, reduction, cell):
    switches = dict(zip(("multi_scale", "channel", "spatial"), cell, strict=True))
    with torch.device("meta"):
        module = MultiScaleAttention(channels, reduction=reduction, **switches)
    assert sum(p.numel() for p in module.parameters()) == closed_form(channels, reduction, *cell)


@pytest.mark.parametrize(
    ("channels", "reduction", "expected"),
    [
        (64, 16, 10_532),
        (128, 16, 41_396),
        (256, 16, 164_564),
        (512, 16, 656_660),
        (512, 4, 2_623_124),
        (512, 8, 1_312_148),
        (512, 32, 328_916),
    ],
)
def test_published_parameters(channels, reduction, expected):
    with torch.device("meta"):
        module = MultiScaleAttention(channels, reduction=reduction)
    assert sum(p.numel() for p in module.parameters()) == expected


def test_with_everything_off_the_module_must_be_absent():
    with pytest.raises(ValueError, match="all off: leave the module out instead"):
        MultiScaleAttention(32, multi_scale=False, channel=False, spatial=False)


def test_a_switch_is_true_or_false():
    with pytest.raises(ValueError, match="channel must be true or false, not 'no'"):
        MultiScaleAttention(32, channel="no")


def test_a_spatial_gate_alone_has_no_bottleneck_to_round():
    assert MultiScaleAttention(33, multi_scale=False, channel=False).notes == ()


def test_small_maps_are_said():
    at_1x1 = MultiScaleAttention(64).map_notes(1, 1)
    assert [note.split(" of the weights")[0] for note in at_1x1] == [
        "on a 1×1 map 89%",  # 8 of 9
        "on a 1×1 map 96%",  # 24 of 25
        "on a 1×1 map 98%",  # 48 of 49
    ]
    module, x = MultiScaleAttention(64), torch.randn(4, 64, 1, 1)
    module(x).sum().backward()
    assert (module.multi_scale.conv5.weight.grad[0, 0] != 0).sum() == 1
    assert MultiScaleAttention(64).map_notes(7, 7) == ()


def test_the_deviation_is_torch_std_to_the_bit_and_zero_for_one_channel():
    x = torch.randn(2, 9, 4, 4)
    assert torch.equal(channel_deviation(x), x.std(dim=1, keepdim=True))
    assert torch.equal(channel_deviation(x[:, :1]), torch.zeros(2, 1, 4, 4))


def test_the_deviation_has_the_right_slope_beside_dead_positions():
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    x[:, :, 0, 0] = 0.3  # all channels agree here: a kink, whose slope must be finite
    x.requires_grad_()
    channel_deviation(x).sum().backward()
    assert torch.equal(x.grad[:, :, 0, 0], torch.zeros(1, 4, dtype=torch.float64))
    alive = x.detach()[:, :, 1:]
    expected = (alive - alive.mean(1, keepdim=True)) / (3 * alive.std(1, keepdim=True))
    torch.testing.assert_close(x.grad[:, :, 1:], expected)


def first_version(x, layers):
    """The formula in torch's own layers, drawn in the order in which the first version drew them."""
    conv1, conv3, conv5, fuse, reduce, expand, spatial = layers
    features = fuse(torch.cat((conv1(x), conv3(x), conv5(x)), dim=1))
    features = features * torch.sigmoid(expand(torch.relu(reduce(x.mean(dim=(2, 3), keepdim=True)))))
    three = (x.amax(1, keepdim=True), x.mean(1, keepdim=True), x.std(1, keepdim=True))
    return x + features * torch.sigmoid(spatial(torch.cat(three, dim=1)))


def test_the_draws_and_the_arithmetic_stay_those_of_the_first_version():
    torch.manual_seed(3)
    layers = [nn.Conv2d(16, 4, k, padding=k // 2) for k in (1, 3, 5)]
    layers += [nn.Conv2d(12, 16, 1), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1), nn.Conv2d(3, 1, 7, padding=3)]
    x = torch.randn(3, 16, 7, 5, requires_grad=True)
    y = first_version(x, layers)
    y.square().sum().backward()

    torch.manual_seed(3)
    module = build_attention("msa", 16, {"reduction": 4})
    again = torch.randn(3, 16, 7, 5, requires_grad=True)
    output = module(again)
    output.square().sum().backward()
    assert torch.equal(output, y)
    assert torch.equal(again.grad, x.grad)
    expected = [parameter for layer in layers for parameter in layer.parameters()]
    for own, drawn in zip(module.parameters(), expected, strict=True):
        assert torch.equal(own, drawn)
        assert torch.equal(own.grad, drawn.grad)


def test_deformable_branches_start_as_the_plain_ones():
    modules = []
    for deformable in (False, True):
        torch.manual_seed(3)
        modules.append(MultiScaleAttention(16, reduction=4, deformable=deformable))
    plain, deformable = modules
    state = deformable.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in plain.state_dict().items())
    x = torch.randn(2, 16, 7, 5)
    torch.testing.assert_close(deformable(x), plain(x), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        deformable.multi_scale.conv3.offset.bias.fill_(0.5)
    assert not torch.allclose(deformable(x), plain(x), atol=1e-3)


@pytest.mark.parametrize(("channels", "reduction"), [(64, 16), (33, 4)])
def test_parameters_with_deformable_branches(channels, reduction):
    with torch.device("meta"):
        counts = [
            sum(
                p.numel()
                for p in MultiScaleAttention(channels, reduction=reduction, deformable=on).parameters()
            )
            for on in (False, True)
        ]
    offsets = sum(2 * k**2 * (k**2 * channels + 1) for k in (3, 5))
    assert offsets == 1412 * channels + 68
    assert counts[1] - counts[0] == offsets
