"""Gates of networks with planted weights: what is captured is what was planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ablate.look.one import Subject
from ablate.look.sampled import read_gates
from ablate.models import Network, attach_attention


def zero(module):
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


def test_se_with_zero_weights_is_one_half_and_learned_nothing(make_network, make_subject):
    network = make_network("se", ("block1", "block2"), {"reduction": 1})
    zero(network.attention["block1"])
    rows, predicted = read_gates(make_subject(network))
    first, second = rows
    assert (first.place, first.name, first.kind, first.shape) == ("block1", "gate", "channel", (4, 1, 1))
    assert (first.weights == 0.5).all() and first.weights.shape == (6, 4)
    assert (first.verdict, first.learned_nothing) == ("constant", True)
    assert first.sentence.startswith("learned nothing: 0.500 everywhere; it varies by 0.0 %")
    assert first.figures.changed is None  # no forward pass is spent on a constant
    assert second.figures.over_images > 0
    assert len(predicted) == 30


def test_a_planted_spatial_gate_is_shown_as_it_is(make_network, make_subject):
    """CBAM's 7×7 convolution reads the mean over the channels at its own position alone: σ(3·mean)."""
    network = make_network("cbam", ("block1",), {"channel": False})
    conv = network.attention["block1"].spatial.conv
    zero(conv)
    with torch.no_grad():
        conv.weight[0, 0, 3, 3] = 3.0
    subject = make_subject(network)
    network.detach_attention()
    taken = []
    hook = network.backbone.block1.register_forward_hook(lambda *given: taken.append(given[2]))
    network(subject.sample)
    hook.remove()
    expected = torch.sigmoid(3 * taken[0].mean(dim=1)).detach().numpy()

    network = make_network("cbam", ("block1",), {"channel": False})
    network.attention["block1"].spatial.conv.load_state_dict(conv.state_dict())
    ((row,), _) = read_gates(make_subject(network))
    assert (row.kind, row.shape, row.weights) == ("spatial", (1, 8, 8), None)
    np.testing.assert_allclose(row.maps, expected[:6], rtol=1e-5)
    np.testing.assert_allclose(row.element_mean[0], expected.mean(axis=0), rtol=1e-5)
    of_class = expected[np.arange(30) % 3 == 1].mean(axis=0)
    np.testing.assert_allclose(row.class_means[1, 0], of_class, rtol=1e-4)


class Sign(nn.Module):
    """A gate of nearly 0 or nearly 1, by the sign of the image's mean; its mechanism gives it alone."""

    def forward(self, x):
        return torch.sigmoid(50 * x.mean(dim=(1, 2, 3), keepdim=True)).expand(-1, x.shape[1], -1, -1)


class Switch(nn.Module):
    gates = ("gate",)

    def __init__(self):
        super().__init__()
        self.gate = Sign()

    def forward(self, x):
        return torch.ones_like(x) * self.gate(x)


class Reader(nn.Module):
    """Class 0 where what it reads is above `limit`, class 1 below."""

    def __init__(self, limit):
        super().__init__()
        self.eye = nn.Identity()
        self.limit = limit

    def forward(self, x):
        level = self.eye(x).mean(dim=(1, 2, 3)) - self.limit
        return torch.stack((level, -level, torch.full_like(level, -9.0)), dim=1)


@pytest.mark.parametrize(("positive", "limit", "changed"), [(20, 0.5, 10), (20, 0.9, 20), (15, 0.25, 15)])
def test_predictions_that_change_with_the_mean_in_the_gates_place(positive, limit, changed):
    """Of 30 images `positive` open the gate; its mean is positive / 30, above or below what decides."""
    network = attach_attention(Reader(limit), ["eye"], lambda spot: Switch(), image_shape=(2, 4, 4), seed=0)
    sample = torch.ones(30, 2, 4, 4)
    sample[positive:] = -1
    labels = (np.arange(30) >= positive).astype(np.int64)
    ((row,), predicted) = read_gates(Subject(network, None, sample[:4], labels[:4], sample, labels, 3))
    assert predicted.tolist() == labels.tolist()
    assert row.figures.changed == changed
    assert row.figures.between_classes == pytest.approx(1.0)
    (without,), _ = read_gates(
        Subject(network, None, sample[:4], labels[:4], sample, labels, 3), replace=False
    )
    assert without.figures.changed is None


def test_what_training_did_not_move_is_told_from_what_it_did(make_network, make_subject):
    start, network = (make_network("msa", ("block1",), {"reduction": 2}) for _ in range(2))
    with torch.no_grad():
        network.attention["block1"].spatial.conv.weight.mul_(-3)
    channel, spatial = read_gates(make_subject(network, start=start))[0]
    assert channel.figures.from_start == pytest.approx(0, abs=1e-7)
    assert channel.learned_nothing
    assert spatial.figures.from_start > 0.05
    assert not spatial.learned_nothing


def test_a_static_gate_is_the_same_for_every_image(make_network, make_subject):
    network = make_network("se", args={"reduction": 4}, gate="static")
    with torch.no_grad():
        network.attention["block2"].gate.logits[0].copy_(torch.linspace(-2, 2, 8))
    (row,), _ = read_gates(
        make_subject(network, start=make_network("se", args={"reduction": 4}, gate="static"))
    )
    assert row.verdict == "static"
    np.testing.assert_allclose(row.weights, np.tile(torch.linspace(-2, 2, 8).sigmoid().numpy(), (6, 1)))


def test_of_a_shuffled_gate_each_images_own_is_shown(make_network, make_subject):
    own = read_gates(make_subject(make_network("se", args={"reduction": 4})))[0][0]
    shuffled = read_gates(make_subject(make_network("se", args={"reduction": 4}, gate="shuffled")))[0][0]
    np.testing.assert_array_equal(own.weights, shuffled.weights)
    np.testing.assert_array_equal(own.class_means, shuffled.class_means)


@pytest.mark.parametrize(
    ("mechanism", "args", "kinds"),
    [
        ("coordinate", {}, [("gate 1 of 2", "both", (8, 4, 1)), ("gate 2 of 2", "both", (8, 1, 4))]),
        ("grouped", {"groups": 2}, [("gate", "both", (2, 1, 4, 4))]),
        ("selective-kernel", {}, [("gate", "channel", (2, 8, 1, 1))]),
        ("eca", {}, [("gate", "channel", (8, 1, 1))]),
        ("cbam", {"spatial": False}, [("channel", "channel", (8, 1, 1))]),
        ("self-attention", {}, []),
    ],
)
def test_every_mechanism_shows_its_gates(make_network, make_subject, mechanism, args, kinds):
    rows, _ = read_gates(
        make_subject(make_network(mechanism, args=args), start=make_network(mechanism, args=args))
    )
    assert [(row.name, row.kind, row.shape) for row in rows] == kinds
    for row in rows:
        assert (row.maps is None) == (row.kind == "channel")
        if row.maps is not None:
            assert row.maps.shape[0] == 6
        assert row.figures.from_start == pytest.approx(0, abs=1e-6)


def test_a_network_without_attention_has_no_gates(make_network, make_subject):
    rows, predicted = read_gates(make_subject(make_network(None)))
    assert rows == () and len(predicted) == 30
    assert isinstance(make_network(None), Network)
