import numpy as np
import pytest
import torch

from ablate.models.attention.grouped import GroupedAttention


def reference(x, scale, shift, groups):
    y, width = np.empty_like(x), x.shape[1] // groups
    for b, g in np.ndindex(x.shape[0], groups):
        part = x[b, g * width : (g + 1) * width].reshape(width, -1)  # (C/G, HW)
        likeness = part.mean(axis=1) @ part
        normal = (likeness - likeness.mean()) / (likeness.std() + 1e-5)
        gate = 1 / (1 + np.exp(-(scale[g] * normal + shift[g])))
        y[b, g * width : (g + 1) * width] = (part * gate).reshape(width, *x.shape[2:])
    return y


@pytest.mark.parametrize(("channels", "groups"), [(12, 4), (6, 6), (5, 1)])
def test_against_the_formula(channels, groups):
    module = GroupedAttention(channels, groups=groups).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    scale, shift = (p.detach().numpy().ravel() for p in (module.gate.scale, module.gate.shift))
    x = torch.randn(3, channels, 5, 4, dtype=torch.float64)
    expected = reference(x.numpy(), scale, shift, groups)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9)


def test_it_starts_as_the_same_gate_everywhere():
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(GroupedAttention(8)(x), x * torch.sigmoid(torch.ones(())))
