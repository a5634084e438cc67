import numpy as np
import pytest
import torch
from torch import nn

from ablate.models.attention import build_attention
from ablate.models.attention.se import SqueezeExcitation


def reference(x, squeeze, excite):
    """y = x · σ(W₂ · max(0, W₁ · mean(x))), in NumPy."""
    pooled = x.sum(axis=(2, 3)) / (x.shape[2] * x.shape[3])
    hidden = np.maximum(0, np.einsum("mc,bc->bm", squeeze, pooled))
    gate = 1 / (1 + np.exp(-np.einsum("cm,bm->bc", excite, hidden)))
    return x * gate[:, :, None, None]


@pytest.mark.parametrize(("channels", "reduction"), [(32, 4), (32, 16), (7, 3), (1, 16)])
def test_against_the_formula(channels, reduction):
    module = SqueezeExcitation(channels, reduction=reduction).double()
    x = torch.randn(3, channels, 5, 4, dtype=torch.float64)
    weights = [layer.weight.detach().numpy() for layer in (module.gate.squeeze, module.gate.excite)]
    np.testing.assert_allclose(module(x).detach().numpy(), reference(x.numpy(), *weights), rtol=1e-12)


def test_the_draws_and_the_arithmetic_stay_those_of_the_first_version():
    """To the bit: trials trained then are compared with trials trained now."""
    torch.manual_seed(3)
    squeeze, excite = nn.Linear(33, 8, bias=False), nn.Linear(8, 33, bias=False)
    x = torch.randn(4, 33, 7, 5, requires_grad=True)
    y = x * torch.sigmoid(excite(torch.relu(squeeze(x.mean(dim=(2, 3))))))[:, :, None, None]
    y.square().sum().backward()

    torch.manual_seed(3)
    module = build_attention("se", 33, {"reduction": 4})
    again = torch.randn(4, 33, 7, 5, requires_grad=True)
    output = module(again)
    output.square().sum().backward()
    assert torch.equal(output, y)
    assert torch.equal(again.grad, x.grad)
    for layer, own in ((squeeze, module.gate.squeeze), (excite, module.gate.excite)):
        assert torch.equal(own.weight, layer.weight)
        assert torch.equal(own.weight.grad, layer.weight.grad)


@pytest.mark.parametrize("reduction", [4, 8, 16, 32])
@pytest.mark.parametrize("channels", [64, 128, 256, 512])
def test_parameters(channels, reduction):
    module = SqueezeExcitation(channels, reduction=reduction)
    assert sum(p.numel() for p in module.parameters()) == 2 * channels**2 // reduction


@pytest.mark.parametrize(("channels", "expected"), [(64, 512), (128, 2048), (512, 32768)])
def test_published_parameters(channels, expected):
    assert sum(p.numel() for p in SqueezeExcitation(channels, reduction=16).parameters()) == expected
