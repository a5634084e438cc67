"""Learning-rate schedules against torch's and against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ablate.errors import AblateError
from ablate.spec import catalogue
from ablate.train import SCHEDULES, Recipe, make_optimizer, make_schedule


def recipe(**changes):
    return Recipe(**{"epochs": 6, "batch_size": 4, "optimizer": "sgd", "lr": 0.1, **changes})


def rates(recipe, epoch_steps, validation_losses=None):
    """The learning rate of every step."""
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], recipe)
    schedule = make_schedule(optimizer, recipe, epoch_steps)
    seen = []
    for epoch in range(recipe.epochs):
        for step in range(epoch_steps):
            schedule.before_step(epoch * epoch_steps + step)
            seen.append(optimizer.param_groups[0]["lr"])
        schedule.after_epoch(validation_losses[epoch] if validation_losses else 1.0)
    return seen


def test_the_catalogue_names_the_same_schedules_with_the_same_defaults():
    assert catalogue.SCHEDULES.keys() == SCHEDULES.keys()
    for name, args in catalogue.SCHEDULES.items():
        defaults = {key: argument.default for key, argument in args.items()}
        losses = [3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        given = rates(recipe(schedule=name, schedule_args=defaults, epochs=13), 2, losses)
        assert given == rates(recipe(schedule=name, epochs=13), 2, losses), name


def test_constant_stays():
    assert rates(recipe(), 3) == [0.1] * 18


def test_step_equals_the_scheduler_of_torch():
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(reference, step_size=2, gamma=0.3)
    expected = []
    for _ in range(6):
        expected += [reference.param_groups[0]["lr"]] * 3
        reference.step()
        scheduler.step()
    seen = rates(recipe(schedule="step", schedule_args={"step_size": 2, "gamma": 0.3}), 3)
    np.testing.assert_allclose(seen, expected, rtol=1e-12)


def test_cosine_without_warmup_equals_the_scheduler_of_torch():
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=24, eta_min=0.01)
    expected = []
    for _ in range(24):
        expected.append(reference.param_groups[0]["lr"])
        reference.step()
        scheduler.step()
    seen = rates(recipe(schedule="cosine", schedule_args={"floor": 0.1}), 4)
    np.testing.assert_allclose(seen, expected, rtol=1e-9)


def test_cosine_rises_over_its_warmup_and_then_falls_over_what_is_left():
    seen = rates(recipe(schedule="cosine", schedule_args={"warmup": 1.5, "floor": 0.2}), 4)
    np.testing.assert_allclose(seen[:6], [0.1 * (step + 1) / 6 for step in range(6)])
    falling = [0.1 * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * step / 18))) for step in range(18)]
    np.testing.assert_allclose(seen[6:], falling)


def test_a_warmup_as_long_as_the_training_is_refused():
    with pytest.raises(AblateError, match=r"warmup: 6 epochs leave nothing of 6 epochs .*\(24 steps\)"):
        rates(recipe(schedule="cosine", schedule_args={"warmup": 6.0}), 4)
    with pytest.raises(AblateError, match=r"warmup: 2 epochs leave nothing of 1.75 epochs .*\(7 steps\)"):
        rates(recipe(steps=7, schedule="cosine", schedule_args={"warmup": 2}), 4)


def test_over_a_number_of_steps_cosine_ends_with_them_and_its_warmup_stays_in_epochs():
    chosen = recipe(steps=10, schedule="cosine", schedule_args={"warmup": 0.5, "floor": 0.2})
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], chosen)
    schedule = make_schedule(optimizer, chosen, 4)
    seen = []
    for step in range(11):
        schedule.before_step(step)
        seen.append(optimizer.param_groups[0]["lr"])
    falling = [0.1 * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * step / 8))) for step in range(9)]
    np.testing.assert_allclose(seen, [0.05, 0.1, *falling])
    assert seen[-1] == pytest.approx(0.02), "the floor, one step after the last"


def test_plateau_falls_after_more_than_patience_epochs_without_progress():
    # Best 2.0 at epoch 2; 1.9999 is within 0.01 % of it, so epochs 3 to 5 count as three without progress.
    losses = [3.0, 2.0, 2.0, 2.1, 1.9999, 1.5]
    seen = rates(recipe(schedule="plateau", schedule_args={"factor": 0.5, "patience": 2}), 1, losses)
    np.testing.assert_allclose(seen, [0.1, 0.1, 0.1, 0.1, 0.1, 0.05])


def test_every_parameter_group_keeps_its_own_full_rate():
    groups = [
        {"params": [nn.Parameter(torch.zeros(1))]},
        {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.01},
    ]
    chosen = recipe(schedule="step", schedule_args={"step_size": 1, "gamma": 0.5})
    optimizer = make_optimizer(groups, chosen)
    schedule = make_schedule(optimizer, chosen, epoch_steps=2)
    schedule.before_step(5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.0025])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosin"}, "unknown 'cosin'; allowed: constant, plateau, step, cosine .*'cosine'"),
        (
            {"schedule": "step", "schedule_args": {"patience": 2}},
            "unknown 'patience'; allowed: step_size, gamma",
        ),
        ({"schedule": "constant", "schedule_args": {"gamma": 2}}, "unknown 'gamma'; allowed: nothing"),
    ],
)
def test_what_a_schedule_does_not_take_is_said(changes, message):
    with pytest.raises(AblateError, match=message):
        rates(recipe(**changes), 2)
