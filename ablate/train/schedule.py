"""Learning-rate schedules by name.

A schedule of closed form is a function of the step alone, so it has no state to save; `plateau` is the one
that remembers, and it sees the validation loss only. In a recipe of several stages each has a schedule of its
own, which counts from the beginning of the stage.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ablate.errors import AblateError
from ablate.train.recipe import Recipe, unknown


class Schedule:
    """A learning rate that stays as it is; the others derive from it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def before_step(self, step: int) -> None:
        """Set the rate of training step `step`, counted from 0 in its stage."""

    def after_epoch(self, validation_loss: float) -> None:
        """Told once an epoch how the validation images fare."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class ClosedForm(Schedule):
    """lr(step) = factor(step) · lr, in every parameter group."""

    def __init__(self, optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> None:
        super().__init__(optimizer)
        self.factor = factor
        self.full = [group["lr"] for group in optimizer.param_groups]

    def before_step(self, step: int) -> None:
        factor = self.factor(step)
        for group, full in zip(self.optimizer.param_groups, self.full, strict=True):
            group["lr"] = factor * full


class Plateau(Schedule):
    """torch's ReduceLROnPlateau on the validation loss: lr times `factor` after more than `patience` epochs
    that did not bring it 0.01 % below its lowest."""

    def __init__(self, optimizer: torch.optim.Optimizer, factor: float, patience: int) -> None:
        super().__init__(optimizer)
        self.reducer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience)

    def after_epoch(self, validation_loss: float) -> None:
        self.reducer.step(validation_loss)

    def state_dict(self) -> dict[str, Any]:
        return self.reducer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reducer.load_state_dict(dict(state))


def _constant(optimizer: torch.optim.Optimizer, steps: int, epoch_steps: int) -> Schedule:
    return Schedule(optimizer)


def _plateau(
    optimizer: torch.optim.Optimizer, steps: int, epoch_steps: int, factor: float = 0.1, patience: int = 3
) -> Schedule:
    return Plateau(optimizer, factor, patience)


def _step(
    optimizer: torch.optim.Optimizer, steps: int, epoch_steps: int, step_size: int = 5, gamma: float = 0.1
) -> Schedule:
    return ClosedForm(optimizer, lambda step: gamma ** (step // epoch_steps // step_size))


def _cosine(
    optimizer: torch.optim.Optimizer, steps: int, epoch_steps: int, warmup: float = 0.0, floor: float = 0.0
) -> Schedule:
    """A linear ramp over `warmup` epochs, then half a cosine from lr down to floor · lr."""
    if warmup * epoch_steps >= steps:
        length = f"{steps / epoch_steps:g} epochs of training ({steps} steps)"
        raise AblateError(f"train.schedule.warmup: {warmup:g} epochs leave nothing of {length}")
    ramp = round(warmup * epoch_steps)

    def factor(step: int) -> float:
        if step < ramp:
            return (step + 1) / ramp
        progress = (step - ramp) / max(1, steps - ramp)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return ClosedForm(optimizer, factor)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": _constant,
    "plateau": _plateau,
    "step": _step,
    "cosine": _cosine,
}


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch_steps: int) -> Schedule:
    """The recipe's schedule, for epochs of `epoch_steps` steps; a recipe of stages has one in each of them.

    Raises AblateError for a wrong name or argument.
    """
    name = recipe.schedule
    if name not in SCHEDULES:
        raise AblateError(unknown("train.schedule.name", name, SCHEDULES))
    allowed = list(inspect.signature(SCHEDULES[name]).parameters)[3:]
    for key in recipe.schedule_args:
        if key not in allowed:
            raise AblateError(unknown(f"train.schedule of {name!r}", key, allowed))
    return SCHEDULES[name](optimizer, recipe.total_steps(epoch_steps), epoch_steps, **recipe.schedule_args)
