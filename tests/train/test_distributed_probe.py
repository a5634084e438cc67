"""What the probe refuses, by planted modules that look at other images, and what it leaves as it was."""

import copy

import pytest
import torch
from torch import nn

from ablate.errors import AblateError
from ablate.models.gates import ShuffledGate
from ablate.train import Recipe
from ablate.train.distributed.probe import has_unused_parameters, refuse_mixing
from ablate.train.recompute import recomputed
from ablate.train.state import prepare


class Centred(nn.Module):
    """The mean of the batch, by hand, and behind a scale that starts at nothing."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))
        self.inner = Mean()

    def forward(self, x):
        return x + self.scale.view(1, -1, 1, 1) * self.inner(x)


class Mean(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class Counting(nn.Module):
    """Keeps a statistic of its own, and uses it nowhere yet."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("seen", torch.zeros(channels))

    def forward(self, x):
        if self.training:
            self.seen = 0.9 * self.seen + 0.1 * x.detach().mean((0, 2, 3))
        return x


def with_gate(attended, gate):
    network = attended(dropout=0.5)
    network.attention["block1"].norm = gate
    return network


def state_of(network):
    return prepare(network, Recipe(epochs=1, batch_size=8), 4, torch.device("cpu"))


def images(count=3):
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(3))


def test_batch_norm_and_dropout_may_be_shared_out(attended):
    network = attended(dropout=0.5)
    refuse_mixing(network, state_of(network), images(), 2)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (ShuffledGate(nn.Identity()), "attention.block1.norm (ShuffledGate)"),
        (nn.Softmax(0), "attention.block1.norm (Softmax)"),
    ],
)
def test_a_module_that_looks_at_other_images_is_named(attended, module, named):
    network = with_gate(attended, module)
    with pytest.raises(AblateError) as caught:
        refuse_mixing(network, state_of(network), images(), 4)
    assert str(caught.value) == (
        f"{named} looks at all images of its batch, of which each of 4 processes has a share only\n"
        "    train it in one process, without --gpus-per-trial"
    )


@pytest.mark.parametrize(
    ("module", "named"), [(Centred(4), "block1.act.inner (Mean)"), (Counting(4), "block1.act (Counting)")]
)
def test_what_has_no_effect_yet_is_found_too(attended, module, named):
    network = attended()
    network.backbone.block1.add_module("act", module)
    with pytest.raises(AblateError, match=r"looks at all images") as caught:
        refuse_mixing(network, state_of(network), images(), 2)
    assert str(caught.value).startswith(named)


def test_the_network_is_as_it_was(attended):
    network = attended()
    network.backbone.block1.add_module("act", nn.Dropout(0.3))
    state, before, drawn = state_of(network), copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with recomputed(network):
        refuse_mixing(network, state, images(), 2)
        assert not has_unused_parameters(network, state, images(1))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(one.grad is None for one in network.parameters())


def test_a_parameter_that_no_loss_reaches_is_found(attended):
    network = attended()
    network.spare = nn.Linear(2, 2)
    assert has_unused_parameters(network, state_of(network), images())
    network.spare.requires_grad_(False)
    assert not has_unused_parameters(network, state_of(network), images())
