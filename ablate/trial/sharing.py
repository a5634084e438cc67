"""What a trial is told, and what its record says, when several processes train it together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import nn

from ablate.record import SharedTraining
from ablate.train import FitResult, Recipe
from ablate.train.distributed import Ranks, positions

Share = Callable[[int], np.ndarray]


def share_of(recipe: Recipe, rank: int, size: int) -> Share:
    """Given the images of a batch, the positions of those that a rank takes."""
    shape = {"batch_size": recipe.batch_size, "accumulate": recipe.accumulate}
    return partial(positions, **shape, rank=rank, size=size)


def images_per_process(recipe: Recipe, size: int) -> tuple[int, ...]:
    """Of a whole batch, by rank."""
    return tuple(len(share_of(recipe, rank, size)(recipe.batch_size)) for rank in range(size))


def in_words(recipe: Recipe, ranks: Ranks) -> str:
    images = " and ".join(map(str, images_per_process(recipe, ranks.size)))
    return f"{ranks.size} processes ({ranks.backend}) share each batch, {images} images"


def shared_training(recipe: Recipe, ranks: Ranks, network: nn.Module, result: FitResult) -> SharedTraining:
    """For the record."""
    norms = (isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    return SharedTraining(
        processes=ranks.size,
        backend=ranks.backend,
        images_per_process=images_per_process(recipe, ranks.size),
        shared_norms=sum(norms),
        waited_share=result.waited_share,
    )
