import numpy as np
import pytest
import torch

from ablate.models.attention.selective_kernel import SelectiveKernel


def normalised(x, state, name, axes):
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    shape = (-1,) + (1,) * (x.ndim - 2)
    scale, shift = (state[f"{name}.{part}"].reshape(shape) for part in ("weight", "bias"))
    return np.maximum(0, (x - mean) / np.sqrt(variance + 1e-5) * scale + shift)


def convolve(x, weight, dilation):
    """Groups are read off the weight's shape; zero padding keeps the size."""
    out_channels, per_group = weight.shape[:2]
    groups = x.shape[1] // per_group
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (dilation, dilation), (dilation, dilation)))
    y = np.zeros((x.shape[0], out_channels, height, width))
    for o, c, i, j in np.ndindex(weight.shape):
        source = o // (out_channels // groups) * per_group + c
        top, left = i * dilation, j * dilation
        y[:, o] += weight[o, c, i, j] * padded[:, source, top : top + height, left : left + width]
    return y


def reference(x, state, branches):
    features = []
    for n in range(branches):
        convolved = convolve(x, state[f"branches.{n}.conv.weight"], n + 1)
        features.append(normalised(convolved, state, f"branches.{n}.norm", (0, 2, 3)))
    pooled = sum(features).mean(axis=(2, 3))
    hidden = normalised(pooled @ state["gate.reduce.weight"][:, :, 0, 0].T, state, "gate.norm", (0,))
    logits = (hidden @ state["gate.select.weight"][:, :, 0, 0].T).reshape(len(x), branches, -1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return sum(shares[:, n, :, None, None] * features[n] for n in range(branches))


@pytest.mark.parametrize(("branches", "groups"), [(2, 1), (3, 4)])
def test_against_the_formula(branches, groups):
    module = SelectiveKernel(8, branches=branches, groups=groups).double()
    x = torch.randn(3, 8, 6, 5, dtype=torch.float64)
    state = {key: value.numpy().copy() for key, value in module.state_dict().items()}
    expected = reference(x.numpy(), state, branches)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-8, atol=1e-12)


def test_one_branch_has_nothing_to_select_from():
    with pytest.raises(ValueError, match="branches must be at least 2"):
        SelectiveKernel(8, branches=1)


def test_a_lone_value_is_normalised_by_the_running_statistics():
    module, x = SelectiveKernel(8), torch.randn(1, 8, 1, 1)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trained = module.train()(x)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(module.eval()(x), trained)
