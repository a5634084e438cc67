"""Which recipes several seeds can share, and their optimisers over all parameters of all seeds at once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ablate.errors import AblateError
from ablate.train.recipe import OPTIMIZERS, Recipe


class NotStackable(AblateError):
    """This variant cannot be trained with several seeds at once; one after another it can."""


Rule = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""(parameters, gradients, rates, weight decay), all of one length: moves the parameters in place."""


def check_recipe(recipe: Recipe) -> None:
    unfit = {
        "train.stages": bool(recipe.stages),
        "train.lr": bool(recipe.lr_by),
        "train.accumulate": recipe.accumulate != 1,
        "train.gradient_checkpointing": recipe.gradient_checkpointing,
        "train.compile": recipe.compile,
        "train.precision: fp16": recipe.precision == "fp16",
        f"train.optimizer.name: {recipe.optimizer}": recipe.optimizer not in RULES,
        "train (globs)": recipe.train != ("*",),
    }
    refused = [name for name, is_unfit in unfit.items() if is_unfit]
    if recipe.optimizer in RULES:
        known = inspect.signature(OPTIMIZERS[recipe.optimizer]).parameters
        refused += [
            f"train.optimizer.args.{name}: {value}"
            for name, value in recipe.optimizer_args.items()
            if name not in _ARGUMENTS[recipe.optimizer] and value != known[name].default
        ]
    if refused:
        raise NotStackable(f"several seeds cannot be trained together with {', '.join(refused)}")


def _sgd(flat: Tensor, recipe: Recipe) -> Rule:
    momentum = float(recipe.optimizer_args.get("momentum", 0.0))
    nesterov = bool(recipe.optimizer_args.get("nesterov", False))
    moved: list[Tensor] = []

    def move(parameters: Tensor, gradients: Tensor, rates: Tensor, decay: Tensor) -> None:
        step = torch.addcmul(gradients, parameters, decay)
        if momentum:
            if moved:
                moved[0].mul_(momentum).add_(step)
            else:
                moved.append(step.clone())
            step = step.add_(moved[0], alpha=momentum) if nesterov else moved[0]
        parameters.addcmul_(step, rates, value=-1)

    return move


def _adam(flat: Tensor, recipe: Recipe, decoupled: bool = False) -> Rule:
    first, second = recipe.optimizer_args.get("betas", (0.9, 0.999))
    eps = float(recipe.optimizer_args.get("eps", 1e-8))
    mean, square, steps = torch.zeros_like(flat), torch.zeros_like(flat), 0

    def move(parameters: Tensor, gradients: Tensor, rates: Tensor, decay: Tensor) -> None:
        nonlocal steps
        steps += 1
        if decoupled:
            parameters.mul_(1 - rates * decay)
        elif recipe.weight_decay:
            gradients.addcmul_(parameters, decay)
        mean.lerp_(gradients, 1 - first)
        square.mul_(second).addcmul_(gradients, gradients, value=1 - second)
        scale = square.sqrt().div_(math.sqrt(1 - second**steps)).add_(eps)
        parameters.addcdiv_(mean * (rates / (1 - first**steps)), scale, value=-1)

    return move


def _adamw(flat: Tensor, recipe: Recipe) -> Rule:
    return _adam(flat, recipe, decoupled=True)


RULES: dict[str, Callable[[Tensor, Recipe], Rule]] = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}
_ARGUMENTS = {"adam": ("betas", "eps"), "adamw": ("betas", "eps"), "sgd": ("momentum", "nesterov")}
