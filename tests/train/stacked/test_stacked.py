"""Seeds trained together come out as each does alone, but for rounding."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ablate.models import build_network
from ablate.train import NonFiniteLoss, Recipe, fit, make_optimizer
from ablate.train.stacked import NotStackable, Stack, fit_stacked
from ablate.train.stacked.rules import RULES

SEEDS = (0, 1, 2)
SE = ("se", {"reduction": 4}, ("block*.relu",))
# What comes before batch norm may add any constant to a channel: the true gradient of this bias is zero, and
# Adam makes full steps of its rounding. The statistics follow it, and the output does not change.
CANCELLED = ("conv.bias", "running_mean")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def cnn(seed, attention=None):
    return build_network(
        backbone="cnn",
        args={"width": 0.125},
        attention=attention,
        classes=4,
        image_shape=(1, 8, 8),
        backbone_seed=seed,
        attention_seed=seed + 100,
    )


@pytest.fixture
def data(batches_of):
    """For each seed (training, validation): other images, and an order of its own.

    askew: its validation labels are wrong but for seed 0, so that training makes their loss rise.
    """

    def make(seed, count=80, batch_size=16, askew=False):
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(count) % 4
        x = torch.randn(count, 1, 8, 8, generator=generator)
        x[torch.arange(count), 0, 2 * y, :] += 2
        judged = (y[:20] + (seed if askew else 0)) % 4
        return batches_of(x[20:], y[20:], batch_size, seed=seed), batches_of(x[:20], judged, batch_size)

    return make


def train_both(build, data, recipe):
    """(alone: network, FitResult; together: network, StackedFit) of each seed."""
    alone, together = ([build(seed) for seed in SEEDS] for _ in range(2))
    pairs = [data(seed) for seed in SEEDS]
    lone = [
        fit(network, *pair, recipe, device="cpu", dropout_seed=1000 * seed)
        for network, pair, seed in zip(alone, pairs, SEEDS, strict=True)
    ]
    stacked = fit_stacked(
        together,
        [train for train, _ in pairs],
        [validation for _, validation in pairs],
        recipe,
        device="cpu",
        dropout_seeds=[1000 * seed for seed in SEEDS],
    )
    return list(zip(zip(alone, lone, strict=True), zip(together, stacked, strict=True), strict=True))


def apart(first, second, leave=()):
    """The largest difference between two state dicts, and where it is."""
    return max(
        (float((first[name].double() - second[name].double()).abs().max()), name)
        for name in first
        if not name.endswith(tuple(leave))
    )


@pytest.mark.parametrize("attention", [None, SE], ids=["plain", "se"])
def test_twenty_steps_of_sgd_give_the_parameters_statistics_and_curves_of_lone_runs(data, attention):
    recipe = Recipe(
        epochs=5,
        batch_size=16,
        optimizer="sgd",
        lr=0.05,
        weight_decay=1e-2,
        optimizer_args={"momentum": 0.9},
        schedule="cosine",
        label_smoothing=0.1,
        clip_norm=0.5,
    )
    for (network, lone), (other, stacked) in train_both(lambda seed: cnn(seed, attention), data, recipe):
        assert len(lone.state.steps) == len(stacked.losses) == 20
        assert apart(network.state_dict(), other.state_dict()) < (1e-5, "")
        np.testing.assert_allclose(stacked.losses, [step.loss for step in lone.state.steps], atol=1e-5)
        for row, ours in zip(lone.history, stacked.history, strict=True):
            same = ("epoch", "lr", "train_accuracy", "validation_accuracy", "stage")
            assert [getattr(row, name) for name in same] == [getattr(ours, name) for name in same]
            assert ours.validation_loss == pytest.approx(row.validation_loss, abs=1e-5)
        assert stacked.best_epoch == lone.state.best_epoch
        assert apart(lone.state.best_weights, stacked.best_weights) < (1e-5, "")


@pytest.mark.parametrize("attention", [None, SE], ids=["plain", "se"])
def test_twenty_steps_of_adam_with_a_rate_of_each_seed(data, attention):
    recipe = Recipe(
        epochs=5,
        batch_size=16,
        lr=1e-3,
        schedule="plateau",
        schedule_args={"factor": 0.1, "patience": 0},
    )
    rates = []
    found = train_both(lambda seed: cnn(seed, attention), lambda seed: data(seed, askew=True), recipe)
    for (network, lone), (other, stacked) in found:
        assert apart(network.state_dict(), other.state_dict(), CANCELLED) < (1e-4, "")
        for module in (*network.modules(), *other.modules()):
            module.train(not isinstance(module, nn.Dropout))  # in which batch norm cancels the bias
        x = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(5))
        torch.testing.assert_close(network(x), other(x), atol=1e-4, rtol=1e-4)
        rates.append([row.lr for row in lone.history])
        assert rates[-1] == [row.lr for row in stacked.history]
    assert len(set(map(tuple, rates))) > 1, "each seed has a rate of its own"


@pytest.mark.parametrize(
    "optimizer, args",
    [
        ("adam", {}),
        ("adam", {"betas": (0.8, 0.95), "eps": 1e-5}),
        ("adamw", {}),
        ("sgd", {}),
        ("sgd", {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_a_rule_moves_parameters_as_torch_does(optimizer, args):
    recipe = Recipe(epochs=1, batch_size=1, optimizer=optimizer, weight_decay=0.03, optimizer_args=args)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 50, generator=generator)
    flat, rates = start.flatten().clone(), torch.tensor([1e-2, 3e-3])
    rule, decay = RULES[optimizer](flat, recipe), torch.full((100,), 0.03)
    alone = [nn.Parameter(row.clone()) for row in start]
    optimizers = [make_optimizer([one], recipe) for one in alone]
    for _ in range(6):
        gradient = torch.randn(2, 50, generator=generator)
        rule(flat, gradient.flatten().clone(), rates.repeat_interleave(50), decay)
        for one, torchs, row, rate in zip(alone, optimizers, gradient, rates, strict=True):
            one.grad = row.clone()
            torchs.param_groups[0]["lr"] = float(rate)
            torchs.step()
    torch.testing.assert_close(flat.view(2, 50), torch.stack([one.detach() for one in alone]))


def test_a_seed_does_not_depend_on_its_company(data):
    recipe = Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.05)
    found = []
    for seeds in ((1,), (0, 1, 2)):
        networks, pairs = [cnn(seed) for seed in seeds], [data(seed) for seed in seeds]
        trains, validations = zip(*pairs, strict=True)
        fit_stacked(networks, trains, validations, recipe, device="cpu", dropout_seeds=seeds)
        found.append(networks[seeds.index(1)].state_dict())
    assert apart(*found) < (1e-5, "")


# What is refused


def stack_of(network, data, **recipe):
    train, _ = data(0)
    recipe = Recipe(**{"epochs": 1, "batch_size": 16} | recipe)
    return Stack([network], recipe, [train], device=torch.device("cpu"), dropout_seeds=[0])


@pytest.mark.parametrize(
    "recipe, named",
    [
        ({"optimizer": "rmsprop"}, "train.optimizer.name: rmsprop"),
        ({"optimizer_args": {"amsgrad": True}}, "train.optimizer.args.amsgrad: True"),
        ({"lr_by": {"head": 0.1}}, "train.lr"),
        ({"accumulate": 2}, "train.accumulate"),
        ({"precision": "fp16"}, "train.precision: fp16"),
        ({"train": ("head",)}, r"train \(globs\)"),
    ],
)
def test_a_recipe_that_a_stack_does_not_know_is_refused_by_name(data, recipe, named):
    with pytest.raises(NotStackable, match=f"cannot be trained together with {named}$"):
        stack_of(cnn(0), data, **recipe)
    stack_of(cnn(0), data, optimizer_args={"amsgrad": False})  # says what torch does anyway


class Odd(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.flat, self.linear = how, nn.Flatten(), nn.Linear(64, 4)
        self.dropout, self.unused = nn.Dropout(0.5), nn.Linear(2, 2)
        if how != "unused":
            del self.unused
        if how == "frozen":
            self.linear.bias.requires_grad_(False)

    def forward(self, x):
        x = self.dropout(self.flat(x))
        if self.how == "twice":
            x = self.dropout(x)
        if self.how == "draws":
            x = functional.dropout(x, 0.5)
        return self.linear(x)


@pytest.mark.parametrize(
    "how, said",
    [
        ("twice", "dropout is met 2 times"),
        ("draws", "torch cannot map this network over seeds"),
        ("unused", "unused.weight takes part in no output"),
        ("frozen", "linear.bias takes no gradient"),
    ],
)
def test_a_network_that_would_not_come_out_as_alone_is_refused(data, how, said):
    with pytest.raises(NotStackable, match=said):
        stack_of(Odd(how), data).train_epoch([data(0)[0]])


def test_a_loss_that_is_no_number_names_its_place(data):
    networks, pairs = [cnn(seed) for seed in SEEDS], [data(seed) for seed in SEEDS]
    with torch.no_grad():
        networks[1].backbone.head.output.bias.fill_(float("inf"))
    trains, validations = zip(*pairs, strict=True)
    recipe = Recipe(epochs=1, batch_size=16)
    with pytest.raises(NonFiniteLoss, match=r"in epoch 1, at places 1 of the stack$"):
        fit_stacked(networks, trains, validations, recipe, device="cpu", dropout_seeds=SEEDS)


def test_dropout_of_whole_channels_draws_as_alone(data):
    def build(seed):
        torch.manual_seed(seed)
        layers = OrderedDict(
            conv=nn.Conv2d(1, 6, 3), drop=nn.Dropout2d(0.3), flat=nn.Flatten(), out=nn.Linear(216, 4)
        )
        return nn.Sequential(layers)

    recipe = Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.05)
    for (network, _), (other, _) in train_both(build, data, recipe):
        assert apart(network.state_dict(), other.state_dict()) < (1e-5, "")
