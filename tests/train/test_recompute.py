"""Gradient checkpointing changes what is kept, and nothing else, to the last bit."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ablate.errors import AblateError
from ablate.models import build_network
from ablate.train import Recipe, Stage, fit
from ablate.train.recompute import recomputed


class Residual(nn.Module):
    """A block that is no Sequential, with dropout, a cumulative batch norm and an activation in place."""

    def __init__(self, channels):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.act, self.drop = nn.ReLU(inplace=True), nn.Dropout2d(0.2)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels, momentum=None)

    def forward(self, x):
        out = self.drop(self.act(self.norm1(self.conv1(x))))
        return self.act(self.norm2(self.conv2(out)) + x)


class Odd(nn.Module):
    """(B, 4, 4, 4) -> the same; its forward depends on a buffer that it changes: each pass halves it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("size", torch.tensor(4.0))
        self.register_buffer("fixed", torch.arange(3.0))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        if self.training:
            self.size = self.size / 2
        return x * self.scale.exp().tanh() * (1 + self.size)


def deep(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        chain = [
            layer
            for _ in range(6)
            for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(True))
        ]
        blocks = [Residual(4) for _ in range(4)]
        spectral = nn.utils.spectral_norm(nn.Conv2d(4, 4, 1))
        return nn.Sequential(
            nn.Conv2d(2, 4, 1),
            nn.Sequential(*chain),
            nn.Sequential(*blocks, spectral, nn.ReLU(inplace=True)),
            nn.Sequential(Odd(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 3)),
        )


def recipe(**changes):
    return Recipe(**{"epochs": 2, "batch_size": 8, "lr": 1e-2, **changes})


def ends(make, train, validation, **changes):
    """State dicts and curves of a fit without and with checkpointing."""
    found = []
    for checkpointing in (False, True):
        network = make()
        chosen = recipe(gradient_checkpointing=checkpointing, **changes)
        result = fit(network, train, validation, chosen, device="cpu", dropout_seed=2)
        found.append((network.state_dict(), [row[:6] for row in result.history]))
    return found


def assert_equal(found):
    (plain, history), (checkpointed, again) = found
    assert plain.keys() == checkpointed.keys()
    assert [name for name in plain if not torch.equal(plain[name], checkpointed[name])] == []
    assert history == again


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16"},
        {"accumulate": 2, "clip_norm": 0.1, "optimizer": "sgd"},
        {"channels_last": True, "deterministic": True},
        {"stages": (Stage(epochs=1, train=("2", "3")), Stage(epochs=2), Stage(epochs=1, train=("3",)))},
    ],
    ids=["adam", "bf16", "accumulate", "channels-last", "stages"],
)
def test_the_result_is_the_same_bit_for_bit_buffers_included(train, validation, changes):
    found = ends(deep, train, validation, **changes)
    assert_equal(found)
    assert any(name.endswith("num_batches_tracked") for name in found[0][0])


def test_attention_at_the_end_and_within_a_segment_is_the_same_bit_for_bit(attended, train, validation):
    assert_equal(ends(attended, train, validation))


@pytest.mark.parametrize("name", ["se", "msa"])
def test_ablates_own_networks_are_the_same_bit_for_bit(batches_of, name):
    def make():
        return build_network(
            backbone="cnn",
            args={"width": 0.25},
            attention=(name, {}, ["block1.relu", "block2", "block3.pool"]),
            classes=3,
            image_shape=(2, 8, 8),
            backbone_seed=0,
            attention_seed=0,
        )

    x = torch.randn(32, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    batches = batches_of(x, torch.arange(32) % 3, 8)
    assert_equal(ends(make, batches, batches, epochs=1))


def kept_bytes(network, x, y):
    """Bytes of activations that a forward keeps for the backward, each storage once, and the loss."""
    own = {one.untyped_storage().data_ptr() for one in (*network.parameters(), *network.buffers(), x)}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = functional.cross_entropy(network(x), y)
    return sum(size for size, _ in kept.values()), loss


@pytest.mark.parametrize("kind", ["deep", "attended"])
def test_what_is_kept_for_the_backward_pass_really_falls(attended, kind):
    network = deep() if kind == "deep" else attended()
    x, y = torch.randn(8, 2, 4, 4), torch.arange(8) % 3
    plain, _ = kept_bytes(network, x, y)
    with recomputed(network):
        less, loss = kept_bytes(network, x, y)
        loss.backward()
    # 49 layers in segments of at most 7: between them pass a map each, where nearly every layer kept one.
    assert less < plain / 2
    assert all(parameter.grad is not None for parameter in network.parameters())
    again, _ = kept_bytes(network, x, y)
    assert again == plain, "afterwards everything is as it was"


def test_the_network_keeps_its_names_and_is_itself_again_afterwards(attended):
    for network in (deep(), attended()):
        names = list(network.state_dict())
        attributes = [list(vars(module)) for module in network.modules()]
        with recomputed(network):
            assert list(network.state_dict()) == names
            assert any("forward" in vars(module) for module in network.modules())
        assert [list(vars(module)) for module in network.modules()] == attributes


def test_without_gradients_nothing_is_set_aside(attended):
    network = attended().eval()
    x = torch.randn(4, 2, 4, 4)
    with torch.no_grad():
        plain = network(x)
        with recomputed(network):
            assert torch.equal(network(x), plain)


def test_a_block_that_overwrites_its_input_is_refused_by_name(train, validation):
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.conv(x.mul_(2))

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Conv2d(2, 4, 1), Overwrites(), nn.Linear(64, 3)

        def forward(self, x):
            return self.head(self.block(self.stem(x)).flatten(1))

    said = "a Overwrites of this network changes its input in place, so it cannot be computed again"
    with pytest.raises(AblateError, match=said):
        fit(Whole(), train, validation, recipe(gradient_checkpointing=True), device="cpu", dropout_seed=0)


class Dense(nn.Module):
    """Layers that are given the list of all maps so far, which grows."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Concatenated(2 + 2 * index) for index in range(4))
        self.head = nn.Linear(160, 3)

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps))
        return self.head(torch.cat(maps, 1).flatten(1))


class Concatenated(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, maps):
        return self.conv(self.norm(torch.cat(maps, 1)).relu())


def test_a_block_is_given_again_what_it_was_given_although_the_list_has_grown(train, validation):
    def make():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Dense()

    assert_equal(ends(make, train, validation))


def test_an_error_of_the_network_passes_through_and_leaves_no_trace():
    network = deep()
    with pytest.raises(RuntimeError, match="expected input"), recomputed(network):
        network(torch.randn(4, 5, 4, 4))
    assert not any("forward" in vars(module) for module in network.modules())
    x, y = torch.randn(8, 2, 4, 4), torch.arange(8) % 3
    with recomputed(network):
        assert kept_bytes(network, x, y)[0] < kept_bytes(deep(), x, y)[0]
