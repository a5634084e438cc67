"""What a training run is made of, as plain values: the recipe and its stages, their timetable, optimisers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

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
class Stage:
    """One stage of a staged recipe; the fields are those of `Recipe`, for this stage alone."""

    epochs: int
    train: tuple[str, ...] = ("*",)
    optimizer: str = "adam"
    lr: float = 1e-3
    lr_by: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    decay_on: Literal["all", "weights"] = "all"
    optimizer_args: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = "constant"
    schedule_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    epochs: passes over the training images. steps: optimiser steps in all, in place of `epochs`; the last
    epoch may be cut short. batch_size: images a step. train: globs of what is trained, the rest is frozen.
    lr: learning rate at full height. lr_by: {glob: rate} in place of lr; the last glob that names a parameter
    decides. decay_on: what weight decay pulls at, all parameters or "weights", those of two or more
    dimensions. stages: one after another, in place of epochs, steps, train, and all that says optimiser or
    schedule. accumulate: a step's images go through the network in so many parts. clip_norm: largest 2-norm
    of the whole gradient (None: no clipping). precision: resolved, never "auto". accelerate: see
    `ablate.train.accelerate`. schedule_args: plateau takes
    factor, patience; step takes step_size (epochs), gamma; cosine takes warmup (epochs, fractions allowed)
    and floor (fraction of lr).
    """

    epochs: int
    batch_size: int
    steps: int | None = None
    train: tuple[str, ...] = ("*",)
    optimizer: str = "adam"
    lr: float = 1e-3
    lr_by: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    decay_on: Literal["all", "weights"] = "all"
    optimizer_args: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = "constant"
    schedule_args: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    label_smoothing: float = 0.0
    accumulate: int = 1
    gradient_checkpointing: bool = False
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    accelerate: Literal["auto", "off", "graphs", "compile"] = "auto"
    deterministic: bool = False

    def of_stages(self) -> tuple[Recipe, ...]:
        """One recipe for each stage; this one alone where there are none."""
        if not self.stages:
            return (self,)
        return tuple(replace(self, stages=(), steps=None, **vars(stage)) for stage in self.stages)

    def total_steps(self, epoch_steps: int) -> int:
        """Optimiser steps in all, with `epoch_steps` in a whole epoch."""
        if self.steps is not None and not self.stages:
            return self.steps
        return epoch_steps * sum(part.epochs for part in self.stages or (self,))


@dataclass(frozen=True)
class Span:
    """A stage and where it lies in the run.

    recipe: of the stage alone. epoch_steps: of a whole epoch. first_epoch: counted from 0 over the whole run.
    steps, epochs: the length of the stage.
    """

    recipe: Recipe
    epoch_steps: int
    first_epoch: int
    steps: int

    @property
    def epochs(self) -> int:
        return -(-self.steps // self.epoch_steps)

    @property
    def end(self) -> int:
        """The first epoch after it."""
        return self.first_epoch + self.epochs

    def first_step(self, epoch: int) -> int:
        """The first step of an epoch, counted from 0 in the stage."""
        return (epoch - self.first_epoch) * self.epoch_steps

    def steps_in(self, epoch: int) -> int:
        """Steps of an epoch: fewer in the last one where `steps` cuts it short."""
        return min(self.epoch_steps, self.steps - self.first_step(epoch))


def timetable(recipe: Recipe, epoch_steps: int) -> tuple[Span, ...]:
    """The stages one after another."""
    spans: list[Span] = []
    for stage in recipe.of_stages():
        begin = spans[-1].end if spans else 0
        spans.append(Span(stage, epoch_steps, begin, stage.total_steps(epoch_steps)))
    return tuple(spans)


def make_optimizer(parameters: Iterable[Any], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over parameters or parameter groups.

    Raises AblateError for a wrong name or argument.
    """
    name = recipe.optimizer
    if name in NOT_OFFERED:
        raise AblateError(f"train.optimizer.name: {name!r} cannot train here: {NOT_OFFERED[name]}")
    if name not in OPTIMIZERS:
        raise AblateError(unknown("train.optimizer.name", name, OPTIMIZERS))
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
            raise AblateError(unknown(f"train.optimizer.args of {name!r}", key, allowed))
    try:
        return build(parameters, **args)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AblateError(f"train.optimizer: torch refuses {name!r} with {args}: {error}") from error


def unknown(field_name: str, value: str, allowed: Iterable[str]) -> str:
    """The sentence for a name that is none of those allowed."""
    names = list(allowed)
    hint = did_you_mean(value, names)
    head = f"{field_name}: unknown {value!r}; allowed: {', '.join(names) or 'nothing'}"
    return f"{head} ({hint})" if hint else head
