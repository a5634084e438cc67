"""What a training run is made of, as plain values, and the optimisers and learning-rate schedules by name.

A schedule of closed form is a function of the step alone, so it has no state to save; `plateau` is the one
that remembers, and it sees the validation loss only.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from ablate.errors import AblateError, did_you_mean

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adafactor": torch.optim.Adafactor,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
}
# torch has these too; each needs something that a convolutional network in mini-batches does not give.
NOT_OFFERED = {
    "lbfgs": "it evaluates the loss several times a step",
    "muon": "it takes matrices only, and convolutions, biases and norms are none",
    "sparseadam": "it takes sparse gradients only",
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    epochs: passes over the training images. batch_size: images a step. lr: learning rate at full height.
    clip_norm: largest 2-norm of the whole gradient (None: no clipping). precision: resolved, never "auto".
    schedule_args: plateau takes factor, patience; step takes step_size (epochs), gamma; cosine takes warmup
    (epochs, fractions allowed) and floor (fraction of lr).
    """

    epochs: int
    batch_size: int
    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    optimizer_args: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = "constant"
    schedule_args: Mapping[str, Any] = field(default_factory=dict)
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False


def make_optimizer(parameters: Iterable[Any], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over parameters or parameter groups.

    Raises AblateError for a wrong name or argument.
    """
    name = recipe.optimizer
    if name in NOT_OFFERED:
        raise AblateError(f"train.optimizer.name: {name!r} cannot train here: {NOT_OFFERED[name]}")
    if name not in OPTIMIZERS:
        raise AblateError(_unknown("train.optimizer.name", name, OPTIMIZERS))
    build = OPTIMIZERS[name]
    known = inspect.signature(build).parameters
    args = {"lr": recipe.lr, **recipe.optimizer_args}
    if "weight_decay" in known:
        args["weight_decay"] = recipe.weight_decay
    elif recipe.weight_decay:
        raise AblateError(f"train.optimizer.weight_decay: {name!r} has no weight decay; leave it at 0")
    if recipe.precision == "fp16" and "fused" in known:
        # Without it the gradient scaler asks the device at every step whether a gradient overflowed.
        args.setdefault("fused", True)
    for key in recipe.optimizer_args:
        if key not in known or key in ("params", "lr", "weight_decay"):
            allowed = [other for other in known if other not in ("params", "lr", "weight_decay")]
            raise AblateError(_unknown(f"train.optimizer.args of {name!r}", key, allowed))
    try:
        return build(parameters, **args)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AblateError(f"train.optimizer: torch refuses {name!r} with {args}: {error}") from error


class Schedule:
    """A learning rate that stays as it is; the others derive from it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def before_step(self, step: int) -> None:
        """Set the rate of training step `step`, counted from 0 over the whole run."""

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


def _constant(optimizer: torch.optim.Optimizer, epochs: int, epoch_steps: int) -> Schedule:
    return Schedule(optimizer)


def _plateau(
    optimizer: torch.optim.Optimizer, epochs: int, epoch_steps: int, factor: float = 0.1, patience: int = 3
) -> Schedule:
    return Plateau(optimizer, factor, patience)


def _step(
    optimizer: torch.optim.Optimizer, epochs: int, epoch_steps: int, step_size: int = 5, gamma: float = 0.1
) -> Schedule:
    return ClosedForm(optimizer, lambda step: gamma ** (step // epoch_steps // step_size))


def _cosine(
    optimizer: torch.optim.Optimizer, epochs: int, epoch_steps: int, warmup: float = 0.0, floor: float = 0.0
) -> Schedule:
    """A linear ramp over `warmup` epochs, then half a cosine from lr down to floor · lr."""
    if warmup >= epochs:
        raise AblateError(f"train.schedule.warmup: {warmup:g} epochs leave nothing of train.epochs: {epochs}")
    total, ramp = epochs * epoch_steps, round(warmup * epoch_steps)

    def factor(step: int) -> float:
        if step < ramp:
            return (step + 1) / ramp
        progress = (step - ramp) / max(1, total - ramp)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return ClosedForm(optimizer, factor)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": _constant,
    "plateau": _plateau,
    "step": _step,
    "cosine": _cosine,
}


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch_steps: int) -> Schedule:
    """The recipe's schedule, for epochs of `epoch_steps` steps.

    Raises AblateError for a wrong name or argument.
    """
    name = recipe.schedule
    if name not in SCHEDULES:
        raise AblateError(_unknown("train.schedule.name", name, SCHEDULES))
    allowed = list(inspect.signature(SCHEDULES[name]).parameters)[3:]
    for key in recipe.schedule_args:
        if key not in allowed:
            raise AblateError(_unknown(f"train.schedule of {name!r}", key, allowed))
    return SCHEDULES[name](optimizer, recipe.epochs, epoch_steps, **recipe.schedule_args)


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that the optimiser gets."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        raise AblateError("the network has no parameter to train")
    return parameters


def _unknown(field_name: str, value: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    hint = did_you_mean(value, names)
    head = f"{field_name}: unknown {value!r}; allowed: {', '.join(names) or 'nothing'}"
    return f"{head} ({hint})" if hint else head
