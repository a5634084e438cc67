import numpy as np
import pytest
import torch

from ablate.models.attention import build_attention
from ablate.models.attention.positions import sinusoids
from ablate.models.construct import ModelError


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def attend(tokens, state, prefix, heads, bias=None):
    """W_o softmax(Q Kᵀ / √(d/h) + bias) V for (N, C) tokens of one image, head by head, in NumPy."""
    query, key, value = (tokens @ state[f"{prefix}{name}.weight"].T for name in ("query", "key", "value"))
    width, parts = query.shape[1] // heads, []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        logits = query[:, own] @ key[:, own].T / np.sqrt(width)
        logits = logits + (0 if bias is None else bias[head])
        parts.append(softmax(logits, 1) @ value[:, own])
    return np.concatenate(parts, axis=1) @ state[f"{prefix}out.weight"].T


def encoded(x, state, position):
    """(what is added to the map, bias by head, query and key), written position by position."""
    channels, height, width = x.shape
    added, bias = np.zeros_like(x), None
    if position == "learned":
        added = state["attend.position.table"]
    if position == "sinusoidal":
        for c, i, j in np.ndindex(x.shape):
            half = (channels + 1) // 2
            n, k, p = (half, c, i) if c < half else (channels - half, c - half, j)
            angle = p * 10000 ** (-2 * (k // 2) / n)
            added[c, i, j] = np.cos(angle) if k % 2 else np.sin(angle)
    if position == "relative":
        table = state["attend.position.table"]
        bias = np.empty((table.shape[0], height * width, height * width))
        for q, k in np.ndindex(height * width, height * width):
            rows, columns = q // width - k // width, q % width - k % width
            bias[:, q, k] = table[:, rows + height - 1, columns + width - 1]
    return added, bias


@pytest.mark.parametrize("position", ["none", "learned", "sinusoidal", "relative"])
@pytest.mark.parametrize(("channels", "args"), [(12, {"heads": 3}), (5, {"heads": 2, "dim": 6})])
def test_against_the_formula(channels, args, position):
    module = build_attention(
        "self-attention", channels, {**args, "position": position}, map_shape=(4, 3)
    ).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    x = torch.randn(2, channels, 4, 3, dtype=torch.float64)
    expected = np.empty(x.shape)
    for b, image in enumerate(x.numpy()):
        added, bias = encoded(image, state, position)
        tokens = (image + added).reshape(channels, -1).T
        expected[b] = image + attend(tokens, state, "attend.", args["heads"], bias).T.reshape(image.shape)
    # sinusoids are computed in single precision
    rtol, atol = (1e-4, 1e-5) if position == "sinusoidal" else (1e-9, 1e-12)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=rtol, atol=atol)


def test_without_positions_it_does_not_know_where_anything_lies():
    x, order = torch.randn(1, 8, 4, 4), torch.randperm(16, generator=torch.Generator().manual_seed(0))

    def shuffled(x):
        return x.flatten(2)[:, :, order].unflatten(2, (4, 4))

    for position, blind in (("none", True), ("sinusoidal", False), ("learned", False), ("relative", False)):
        module = build_attention("self-attention", 8, {"position": position}, map_shape=(4, 4))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_()
        assert torch.allclose(module(shuffled(x)), shuffled(module(x)), atol=1e-3) is blind


def test_every_position_has_its_own_sinusoid():
    for channels in (1, 2, 5, 64):
        table = sinusoids(channels, 9, 1 if channels == 1 else 7)
        assert table.shape == (channels, 9, 1 if channels == 1 else 7)
        vectors = table.flatten(1).T
        assert len({tuple(vector.tolist()) for vector in vectors}) == len(vectors)


@pytest.mark.parametrize(
    ("name", "position", "size"),
    [
        ("self-attention", "learned", "8×6, but one of 7×6"),
        ("self-attention", "relative", "8×6, but one of 7×6"),
        ("axial", "learned", "8×1, but one of 7×1"),
        ("axial", "relative", "8×1, but one of 7×1"),
    ],
)
def test_a_table_belongs_to_one_size_of_map(name, position, size):
    with pytest.raises(ModelError, match=f"{position} positions need the size of the map"):
        build_attention(name, 8, {"position": position})
    module = build_attention(name, 8, {"position": position}, map_shape=(8, 6))
    with pytest.raises(ModelError) as caught:
        module(torch.zeros(1, 8, 7, 6))
    assert str(caught.value) == (
        f"the {position} positions belong to maps of {size} came"
        "\n    position: sinusoidal or none fits any size"
    )


@pytest.mark.parametrize("position", ["none", "sinusoidal"])
@pytest.mark.parametrize("name", ["self-attention", "axial"])
def test_the_others_fit_any_size(name, position):
    module = build_attention(name, 8, {"position": position}, map_shape=(8, 6))
    assert module(torch.zeros(1, 8, 3, 11)).shape == (1, 8, 3, 11)


def test_an_unknown_encoding_is_answered_with_the_nearest():
    with pytest.raises(ModelError) as caught:
        build_attention("self-attention", 8, {"position": "sinusoid"})
    assert str(caught.value) == (
        "attention self-attention(position='sinusoid'): position must be one of none, learned, sinusoidal,"
        " relative, not 'sinusoid'; did you mean 'sinusoidal'?"
    )
