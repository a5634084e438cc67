"""What one training step of a variant takes: seconds, for an estimate of a study's time, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import count, islice

import numpy as np
import torch

from ablate.data import Images
from ablate.models import Network
from ablate.spec.settings import Settings
from ablate.train import FitState, Recipe, numerics
from ablate.train.accelerate import choose
from ablate.train.fit import count_steps
from ablate.train.pooling import fast_pools
from ablate.train.recompute import recomputed
from ablate.train.state import prepare
from ablate.train.step import in_training_mode, train_step
from ablate.trial.data import TrialData
from ablate.trial.network import build_for
from ablate.trial.recipe import make_recipe


def measured_step(settings: Settings, images: Images, device: str, *, steps: int = 5) -> float:
    """Seconds of one training step, augmentation included: the median of a few, after two to warm up.

    Of a recipe of stages: the mean over their epochs.
    """
    recipe = make_recipe(settings, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has it: more threads can be many times slower
    try:
        return _measured_step(settings, recipe, images, device, steps)
    finally:
        torch.set_num_threads(threads)


def measured_peak_bytes(settings: Settings, images: Images, device: str) -> int | None:
    """The most that CUDA's allocator held through a few training steps; None on another device, and where
    not even one such trial fits.

    What is allocated outside it, above all the context itself, is not counted.
    """
    if not device.startswith("cuda"):
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        _measured_step(settings, make_recipe(settings, device), images, device, steps=3, probes=True)
        return int(torch.cuda.max_memory_reserved(device))
    except torch.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()  # workers are to find it free


def _measured_step(
    settings: Settings, recipe: Recipe, images: Images, device: str, steps: int, probes: bool = False
) -> float:
    """probes: also what `train.accelerate` leads to, which takes memory of its own."""
    data = TrialData.prepare(settings, 0, recipe, device, images)
    train = data.train_batches(settings, 0)
    network = build_for(settings, images.shape, len(images.classes), 0)
    epoch_steps = count_steps(train, recipe)
    state = prepare(network, recipe, epoch_steps, torch.device(device))
    batches = (batch for epoch in count() for batch in islice(train.epoch(epoch), epoch_steps))
    around = recomputed(network) if recipe.gradient_checkpointing else nullcontext()
    medians: list[float] = []
    with numerics(deterministic=recipe.deterministic), fast_pools(network), around:
        for stage in range(len(state.spans)):
            state.enter(stage)
            in_training_mode(network, state)
            medians.append(_median_step(network, state, islice(batches, steps + 2), recipe))
            if probes:
                choose(network, state, recipe, lambda: next(iter(train.epoch(0))))
    return float(np.average(medians, weights=[span.epochs for span in state.spans]))


def _median_step(
    network: Network, state: FitState, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], recipe: Recipe
) -> float:
    """Seconds, without the first two steps."""
    seconds: list[float] = []
    began = time.perf_counter()
    for x, y in batches:
        float(train_step(network, state, x, y, recipe)[0])  # waits for the device
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    return float(np.median(seconds[2:]))
