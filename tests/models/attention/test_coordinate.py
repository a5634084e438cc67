import numpy as np
import torch

from ablate.models.attention.coordinate import CoordinateAttention


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(x, state):
    """y[b, c, i, j] = x · g_h[c, i] · g_w[c, j], with the batch's own statistics in the normalisation."""

    def layer(name, values):
        bias = state.get(f"gate.{name}.bias", np.zeros(1))
        return np.einsum("mc,bcn->bmn", state[f"gate.{name}.weight"][:, :, 0, 0], values) + bias[:, None]

    shared = layer("reduce", np.concatenate([x.mean(axis=3), x.mean(axis=2)], axis=2))
    mean, variance = (f(shared, axis=(0, 2), keepdims=True) for f in (np.mean, np.var))
    shared = (shared - mean) / np.sqrt(variance + 1e-5)
    shared = shared * state["gate.norm.weight"][:, None] + state["gate.norm.bias"][:, None]
    shared = shared * np.clip(shared + 3, 0, 6) / 6
    rows = sigmoid(layer("rows", shared[:, :, : x.shape[2]]))
    columns = sigmoid(layer("columns", shared[:, :, x.shape[2] :]))
    return x * rows[:, :, :, None] * columns[:, :, None, :]


def test_against_the_formula():
    for channels, reduction in ((64, 4), (5, 32)):
        module = CoordinateAttention(channels, reduction=reduction).double()
        with torch.no_grad():
            module.gate.norm.weight.uniform_(0.5, 2)
            module.gate.norm.bias.normal_()
        state = {key: value.numpy() for key, value in module.state_dict().items()}
        x = torch.randn(3, channels, 7, 4, dtype=torch.float64)
        np.testing.assert_allclose(module(x).detach().numpy(), reference(x.numpy(), state), rtol=1e-8)


def test_the_bottleneck_is_never_narrower_than_eight():
    assert CoordinateAttention(64).gate.reduce.out_channels == 8
    assert CoordinateAttention(512).gate.reduce.out_channels == 16
