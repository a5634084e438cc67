import numpy as np
import pytest
import torch

from ablate.models.attention.eca import EfficientChannelAttention, adaptive_kernel


def reference(x, kernel):
    """Each channel's gate from the means of the k channels around it, those beyond the ends being 0."""
    reach, means = len(kernel) // 2, x.mean(axis=(2, 3))
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        near = [(tap, c + tap - reach) for tap in range(len(kernel)) if 0 <= c + tap - reach < x.shape[1]]
        logit = sum(kernel[tap] * means[:, other] for tap, other in near)
        y[:, c] = x[:, c] / (1 + np.exp(-logit))[:, None, None]
    return y


@pytest.mark.parametrize(("channels", "kernel"), [(64, None), (9, 5), (2, 7), (1, None)])
def test_against_the_formula(channels, kernel):
    module = EfficientChannelAttention(channels, kernel=kernel).double()
    x = torch.randn(3, channels, 5, 4, dtype=torch.float64)
    weight = module.gate.conv.weight.detach().numpy()[0, 0]
    np.testing.assert_allclose(module(x).detach().numpy(), reference(x.numpy(), weight), rtol=1e-12)


@pytest.mark.parametrize(
    ("channels", "kernel"), [(1, 1), (8, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_the_kernel_grows_with_the_channels(channels, kernel):
    assert adaptive_kernel(channels) == kernel
    assert [p.shape for p in EfficientChannelAttention(channels).parameters()] == [(1, 1, kernel)]


def test_a_number_that_would_have_no_effect_is_refused():
    with pytest.raises(ValueError, match="gamma and beta have no effect beside an explicit kernel"):
        EfficientChannelAttention(64, kernel=3, gamma=1.0)
    with pytest.raises(ValueError, match="gamma must be a number greater than 0, not 0"):
        EfficientChannelAttention(64, gamma=0)
    with pytest.raises(ValueError, match="kernel must be odd"):
        EfficientChannelAttention(64, kernel=2)
