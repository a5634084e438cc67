import numpy as np
import pytest
import torch

from ablate.models.attention.linear import LinearAttention


def softmax(x, axis):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize(("channels", "heads", "dim"), [(12, 3, None), (5, 2, 6), (4, 1, None)])
def test_against_the_formula_in_the_order_that_is_not_linear(channels, heads, dim):
    """(ρ_q(Q) ρ_k(K)ᵀ) V with the whole HW × HW matrix, whose rows sum to 1, gives the same."""
    module = LinearAttention(channels, heads=heads, dim=dim).double()
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    x = torch.randn(2, channels, 4, 3, dtype=torch.float64)
    expected = np.empty(x.shape)
    for b, image in enumerate(x.numpy()):
        tokens = image.reshape(channels, -1).T
        query, key, value = (tokens @ state[f"{name}.weight"].T for name in ("query", "key", "value"))
        width, parts = query.shape[1] // heads, []
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            weights = softmax(query[:, own], 1) @ softmax(key[:, own], 0).T
            np.testing.assert_allclose(weights.sum(axis=1), 1)
            parts.append(weights @ value[:, own])
        out = np.concatenate(parts, axis=1) @ state["out.weight"].T
        expected[b] = image + out.T.reshape(image.shape)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9)
