"""One training step: forward and backward pass, clipping, optimiser. Nothing in it makes the host wait."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.train.groups import trainable
from ablate.train.precision import autocast
from ablate.train.recipe import Recipe
from ablate.train.state import FitState

Gradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x [B,C,H,W], y [B]) -> (loss, number of hits), both on the device; leaves the gradient of the mean loss in
the parameters' `.grad`, in place of what was there."""


def in_training_mode(model: nn.Module, state: FitState) -> None:
    """Training mode, in which what the stage freezes stays as in evaluation: statistics fixed, no dropout."""
    model.train()
    for module in state.frozen:
        module.training = False


def train_step(
    model: nn.Module,
    state: FitState,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    gradients: Gradients | None = None,
) -> tuple[Tensor, Tensor]:
    """One step on images [B,C,H,W] and labels [B]: (loss, number of hits), both left on the device.

    With `recipe.accumulate` the images go through the network in parts; a part's gradient has the weight of
    its share, so that the sum is the gradient of the mean loss over all B. gradients: a way to them other
    than `plain_gradients` of the model.
    """
    if recipe.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    loss, hits = (gradients or plain_gradients(model, state, recipe))(x, y)
    if recipe.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(trainable(state.network), recipe.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return loss, hits


def plain_gradients(model: nn.Module, state: FitState, recipe: Recipe) -> Gradients:
    """torch's own way: operator after operator, as Python comes to it."""

    def gradients(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        state.optimizer.zero_grad(set_to_none=True)
        return add_gradients(model, state, x, y, recipe)

    return gradients


def add_gradients(
    model: nn.Module, state: FitState, x: Tensor, y: Tensor, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the mean loss over all images, part by part: (that loss, number of hits)."""
    if recipe.accumulate == 1:
        return _pass_back(model, state, x, y, recipe)
    parts = parts_of_step(len(y), recipe.batch_size, recipe.accumulate)
    pairs = zip(x.tensor_split(parts), y.tensor_split(parts), strict=True)
    figures = [_pass_back(model, state, *pair, recipe, share=len(pair[1]) / len(y)) for pair in pairs]
    loss, hits = (torch.stack(column).sum() for column in zip(*figures, strict=True))
    return loss, hits


def _pass_back(
    model: nn.Module, state: FitState, x: Tensor, y: Tensor, recipe: Recipe, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Add the gradient of `share` times the mean loss: (that loss, number of hits)."""
    with autocast(recipe.precision, x.device):
        logits = model(x)
    logits = logits.float()
    loss = functional.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
    if share != 1.0:
        loss = share * loss
    state.scaler.scale(loss).backward()
    return loss.detach(), (logits.detach().argmax(1) == y).sum()


def parts_of_step(count: int, batch_size: int, accumulate: int) -> int:
    """Parts of a step of `count` images: batch norm has no use for a part of one image, unless the recipe
    itself asks for such parts."""
    smallest = 2 if batch_size >= 2 * accumulate else 1
    return min(accumulate, max(1, count // smallest))
