"""`fit_stacked`: what `fit` is for one network, for several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ablate.train.evaluate import Batches
from ablate.train.generators import generators_kept
from ablate.train.precision import numerics
from ablate.train.recipe import Recipe
from ablate.train.stacked.stack import Stack, StackedFit


def fit_stacked(
    networks: Sequence[nn.Module],
    train: Sequence[Batches],
    validation: Sequence[Batches],
    recipe: Recipe,
    *,
    device: str | torch.device,
    dropout_seeds: Sequence[int],
    on_epoch: Callable[[int], object] | None = None,
) -> list[StackedFit]:
    """`fit` for S networks of one architecture at once, each with its own batches and seed; moved to `device`
    and trained in place.

    on_epoch: told of every finished epoch, counted from 1. Raises NotStackable for a network or a recipe that
    must be trained alone, NonFiniteLoss, naming the places in the stack, at the end of the epoch in which a
    loss stopped being a number.
    """
    device = torch.device(device)
    with numerics(deterministic=recipe.deterministic), generators_kept(device):
        stack = Stack(networks, recipe, train, device=device, dropout_seeds=dropout_seeds)
        while stack.epoch < stack.span.end:
            began = time.perf_counter()
            losses, hits = stack.train_epoch(train)  # waits for the device, so the clock may be read
            seconds = time.perf_counter() - began
            stack.finish_epoch(losses, hits, stack.evaluate(validation), seconds)
            if on_epoch is not None:
                on_epoch(stack.epoch)
        stack.write_back(networks)
    return stack.fits
