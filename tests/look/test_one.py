"""Maps, channels, branches and self-attention of planted networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ablate.look.one import Subject, query_positions, read_maps
from ablate.models import Network, attach_attention, build_attention

PARTS = ("self-attention", "axial", "linear")


class Scaled(nn.Module):
    """Channel c of the map is the image times scale[c]; the logits are the means of the first three."""

    def __init__(self, scale):
        super().__init__()
        self.eye = nn.Conv2d(1, len(scale), 1, bias=False)
        with torch.no_grad():
            self.eye.weight.copy_(torch.tensor(scale).view(-1, 1, 1, 1))

    def forward(self, x):
        return self.eye(x).mean(dim=(2, 3))[:, :3]


def test_channels_go_by_mean_absolute_value_and_titles_by_the_softmax():
    x = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    labels = np.array([0, 1, 2, 1])
    network = Network(Scaled([1.0, -3.0, 0.5, 2.0]))
    subject = Subject(network, None, x, labels, x, labels, 3)
    said, rows = read_maps(subject, ("eye",), channels=3, top=2)
    (row,) = rows["layers"]
    assert row.shape == (4, 5, 5) and row.channels == (1, 3, 0)
    np.testing.assert_allclose(row.maps[:, 0], -3 * x[:, 0].numpy(), rtol=1e-6)
    assert row.top.tolist() == [[1, 3]] * 4
    means = x.mean(dim=(1, 2, 3))
    np.testing.assert_allclose(row.top_response, torch.stack((3 * means, 2 * means), 1).numpy(), rtol=1e-5)
    np.testing.assert_allclose(row.top_maps[:, 1], 2 * x[:, 0].numpy(), rtol=1e-6)
    expected = (means[:, None] * torch.tensor([1.0, -3.0, 0.5])).softmax(1)
    assert [one.predicted for one in said] == [0] * 4
    np.testing.assert_allclose([one.confidence for one in said], expected[:, 0], rtol=1e-5)
    own = expected[torch.arange(4), torch.from_numpy(labels)]
    np.testing.assert_allclose([one.true_confidence for one in said], own, rtol=1e-5)


def test_the_branches_of_msa_are_its_three_convolutions(make_network, make_subject):
    network = make_network("msa", ("block1",), {"reduction": 2, "channel": False, "spatial": False})
    scale = network.attention["block1"].multi_scale
    for size, conv in enumerate((scale.conv1, scale.conv3, scale.conv5), start=1):
        nn.init.zeros_(conv.weight)
        nn.init.constant_(conv.bias, -float(size))
    _, rows = read_maps(make_subject(network), (), channels=1, top=1)
    (row,) = rows["branches"]
    assert row.names == ("conv1", "conv3", "conv5")
    np.testing.assert_array_equal(row.strength, np.tile([1.0, 2.0, 3.0], (6, 1)))
    assert row.maps.shape == (6, 3, 8, 8)


def test_branches_that_are_off_are_not_there_and_those_of_selective_kernel_are(make_network, make_subject):
    off = make_network("msa", args={"multi_scale": False})
    assert read_maps(make_subject(off), (), 1, 1)[1]["branches"] == ()
    (row,) = read_maps(
        make_subject(make_network("selective-kernel", args={"branches": 3})), (), channels=1, top=1
    )[1]["branches"]
    assert row.names == ("branches.0", "branches.1", "branches.2")


def test_the_change_of_a_module_is_relative_to_what_it_is_given(make_network, make_subject):
    network = make_network("se", ("block1",), {"reduction": 2})
    nn.init.zeros_(network.attention["block1"].gate.excite.weight)  # y = x / 2
    (row,) = read_maps(make_subject(network), (), 1, 1)[1]["changes"]
    assert set(np.round(np.unique(row.maps), 6).tolist()) <= {0.0, 0.5}
    assert 0.5 in row.maps


@pytest.mark.parametrize("name", PARTS)
def test_where_positions_look_is_what_the_forward_pass_draws_on(name):
    """Values weighted by `looks_from` give the module's own output, for every position of every image."""
    torch.manual_seed(0)
    args = {"heads": 2} | ({} if name == "linear" else {"position": "relative"})
    module = build_attention(name, 6, args, map_shape=(4, 5)).eval()
    x = torch.randn(3, 6, 4, 5)
    positions = [(row, column) for row in range(4) for column in range(5)]
    with torch.no_grad():
        parts = module.looks_from(x, positions)
        output = module(x)
        if name == "axial":
            between = module._down_columns(x)
            assert list(parts) == ["columns", "rows"]
            torch.testing.assert_close(drawn(parts["columns"], module.columns, x), between - x)
            torch.testing.assert_close(drawn(parts["rows"], module.rows, between), output - between)
        else:
            inner = getattr(module, "attend", module)
            torch.testing.assert_close(drawn(parts[""], inner, x), output - x)
    for weights in parts.values():
        assert weights.shape == (3, 2, 20, 4, 5)
        torch.testing.assert_close(weights.sum(dim=(3, 4)), torch.ones(3, 2, 20))


def drawn(weights, attend, x):
    """W_o of the values under these weights, (B, C, H, W)."""
    value = attend._split(attend.value(x.flatten(2).transpose(1, 2)))  # (B, heads, HW, d/h)
    heads = torch.einsum("bnqhw,bnhwd->bnqd", weights, value.unflatten(2, x.shape[2:]))
    return attend.out(heads.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, x.shape[2:])


@pytest.mark.parametrize("name", PARTS)
def test_self_attention_is_shown_for_a_few_positions(make_network, make_subject, name):
    _, rows = read_maps(make_subject(make_network(name)), (), 1, 1)
    for row in rows["attention"]:
        assert row.queries == ((2, 2), (1, 1), (1, 2), (2, 1))
        np.testing.assert_allclose(row.maps.sum(axis=(2, 3)), 1, rtol=1e-5)
    assert len(rows["attention"]) == (2 if name == "axial" else 1)


@pytest.mark.parametrize(("size", "count"), [((1, 1), 1), ((1, 7), 3), ((8, 8), 5), ((2, 2), 4)])
def test_positions_lie_on_the_map_and_none_is_asked_twice(size, count):
    found = query_positions(*size)
    assert len(found) == len(set(found)) == count
    assert all(0 <= row < size[0] and 0 <= column < size[1] for row, column in found)


def test_a_mechanism_of_ones_own_is_looked_at_without_a_word_of_it(make_subject):
    class Own(nn.Module):
        def forward(self, x):
            return 2 * x

    network = attach_attention(
        Scaled([1.0, 2.0, 3.0]), ["eye"], lambda _: Own(), image_shape=(1, 16, 16), seed=0
    )
    _, rows = read_maps(make_subject(network.eval()), ("eye",), 3, 1)
    np.testing.assert_allclose(rows["changes"][0].maps, 1, rtol=1e-5)
