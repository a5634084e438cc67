"""Optimisers, complete against torch; and the timetable of a recipe."""

import pytest
import torch
from torch import nn

from ablate.errors import AblateError
from ablate.spec import catalogue
from ablate.train import OPTIMIZERS, Recipe, Stage, make_optimizer
from ablate.train.recipe import NOT_OFFERED, timetable


def recipe(**changes):
    return Recipe(**{"epochs": 6, "batch_size": 4, "optimizer": "sgd", "lr": 0.1, **changes})


def test_every_optimizer_of_torch_is_offered_or_left_out_for_a_reason():
    theirs = {
        name.lower()
        for name, found in vars(torch.optim).items()
        if isinstance(found, type) and issubclass(found, torch.optim.Optimizer) and name != "Optimizer"
    }
    assert theirs - {"muon"} == (OPTIMIZERS.keys() | NOT_OFFERED.keys()) - {"muon"}
    assert not OPTIMIZERS.keys() & NOT_OFFERED.keys()


def test_the_catalogue_names_the_same_optimizers():
    assert {name: entry.torch_name for name, entry in catalogue.OPTIMIZERS.items()} == {
        name: built.__name__ for name, built in OPTIMIZERS.items()
    }


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_goes_downhill_with_its_catalogued_arguments(name):
    args = catalogue.with_defaults({}, catalogue.OPTIMIZERS[name].args)
    weight = nn.Parameter(torch.tensor([[3.0, -2.0], [1.0, 4.0]]))
    optimizer = make_optimizer([weight], recipe(optimizer=name, lr=0.01, optimizer_args=args))
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_weight_decay_reaches_the_optimizer():
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = make_optimizer([weight], recipe(weight_decay=0.25))
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert weight.item() == pytest.approx(2.0 - 0.1 * 0.25 * 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adm"}, "unknown 'adm'; allowed: adadelta, .*did you mean 'adam'"),
        ({"optimizer": "lbfgs"}, "'lbfgs' cannot train here: it evaluates the loss several times a step"),
        ({"optimizer": "rprop", "weight_decay": 0.1}, "'rprop' has no weight decay; leave it at 0"),
        ({"optimizer_args": {"momentun": 0.9}}, "unknown 'momentun'; allowed: .*did you mean 'momentum'"),
        ({"optimizer_args": {"lr": 0.9}}, "unknown 'lr'"),
        ({"optimizer_args": {"nesterov": True}}, "torch refuses 'sgd' with .*Nesterov momentum requires"),
    ],
)
def test_what_an_optimizer_does_not_take_is_said(changes, message):
    with pytest.raises(AblateError, match=message):
        make_optimizer([nn.Parameter(torch.zeros(1))], recipe(**changes))


def test_fp16_takes_the_optimizer_that_checks_for_overflow_on_the_device():
    parameters = [nn.Parameter(torch.zeros(1))]
    assert make_optimizer(parameters, recipe(precision="fp16")).param_groups[0]["fused"] is True
    assert not make_optimizer(parameters, recipe()).param_groups[0]["fused"]


def clock(recipe, epoch_steps):
    """(stage, steps) of every epoch, by the timetable."""
    spans = timetable(recipe, epoch_steps)
    return [
        (stage, span.steps_in(epoch))
        for stage, span in enumerate(spans)
        for epoch in range(span.first_epoch, span.end)
    ]


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, [1]), (6, [6]), (7, [7]), (8, [7, 1]), (21, [7, 7, 7]), (20, [7, 7, 6])]
)
def test_steps_take_as_many_epochs_as_they_need_and_the_last_is_cut_short(steps, expected):
    chosen = recipe(steps=steps)
    assert clock(chosen, 7) == [(0, each) for each in expected]
    assert chosen.total_steps(7) == sum(expected) == steps


def test_stages_follow_one_another_and_take_the_place_of_epochs_and_steps():
    chosen = recipe(steps=5, stages=(Stage(epochs=2), Stage(epochs=1), Stage(epochs=3)))
    assert clock(chosen, 4) == [(stage, 4) for stage in (0, 0, 1, 2, 2, 2)]
    assert chosen.total_steps(4) == 24
    assert [span.first_step(span.first_epoch) for span in timetable(chosen, 4)] == [0, 0, 0]


def test_a_stage_has_its_own_optimiser_and_what_the_recipe_says_for_all():
    stage = Stage(epochs=2, train=("head",), optimizer="adamw", lr=0.3, schedule="step")
    (own,) = recipe(stages=(stage,), clip_norm=2.0, label_smoothing=0.1, schedule="cosine").of_stages()
    assert (own.epochs, own.train, own.optimizer, own.lr, own.schedule) == (
        2,
        ("head",),
        "adamw",
        0.3,
        "step",
    )
    assert (own.batch_size, own.clip_norm, own.label_smoothing, own.stages) == (4, 2.0, 0.1, ())
    alone = recipe(steps=3)
    assert alone.of_stages() == (alone,)
