import numpy as np
import pytest
import torch

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
    weights = [module.squeeze.weight.detach().numpy(), module.excite.weight.detach().numpy()]
    np.testing.assert_allclose(module(x).detach().numpy(), reference(x.numpy(), *weights), rtol=1e-12)


@pytest.mark.parametrize("reduction", [4, 8, 16, 32])
@pytest.mark.parametrize("channels", [64, 128, 256, 512])
def test_parameters(channels, reduction):
    module = SqueezeExcitation(channels, reduction=reduction)
    assert sum(p.numel() for p in module.parameters()) == 2 * channels**2 // reduction


@pytest.mark.parametrize(("channels", "expected"), [(64, 512), (128, 2048), (512, 32768)])
def test_published_parameters(channels, expected):
    assert sum(p.numel() for p in SqueezeExcitation(channels, reduction=16).parameters()) == expected
