"""What a network has and holds: parameters, MACs, activations, and the peaks of its memory."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from ablate.bench.subjects import Conditions, Subject

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ablate.measure import MemoryPeak
    from ablate.train import Recipe

SAVED_BATCH = 2  # batch norm trains on no lone value
# A training step computes the forward pass, and as much again for the gradients of activations and of
# weights; the step runs twice, first to set up.
FORWARDS_OF_A_STEP, STEPS = 3, 2


@dataclass(frozen=True)
class Footprint:
    """Of one network; units and conventions as in `CostRecord`."""

    param_count: int
    attention_param_count: int
    macs: int
    attention_macs: int
    activations: int
    saved_bytes: int
    training: MemoryPeak
    train_batch: int
    inference: MemoryPeak


def footprint(subject: Subject, conditions: Conditions) -> Footprint:
    """Counts, then memory, each of a network of its own. conditions.device: as `resolve_device` gives it.

    Raises AblateError for a network that cannot be built or counted.
    """
    import torch

    from ablate.measure import count_activations, count_macs, count_parameters, saved_bytes

    network = subject.build()
    macs = count_macs(network, subject.image_shape)
    pair = torch.rand((SAVED_BATCH, *subject.image_shape), device=conditions.device)
    network.to(conditions.device).train()
    saved = saved_bytes(network, pair) // SAVED_BATCH
    forward_s = 0.0 if conditions.limit_s is None else _forward_s(network, pair) / SAVED_BATCH
    network.to("cpu")  # or CUDA's allocator would count it with the peaks of the others
    inference = _inference(subject, conditions)
    training, train_batch = training_memory(subject, conditions, saved=saved, forward_s=forward_s)
    return Footprint(
        param_count=count_parameters(network),
        attention_param_count=count_parameters(network, within="attention"),
        macs=macs.total,
        attention_macs=macs.attention,
        activations=count_activations(network, subject.image_shape),
        saved_bytes=saved,
        training=training,
        train_batch=train_batch,
        inference=inference,
    )


def _forward_s(network: nn.Module, images: Tensor) -> float:
    """The shortest of a few forward passes, so that a busy machine does not make a network seem slow."""
    import torch

    found = []
    with torch.no_grad():
        for _ in range(3):
            began = time.perf_counter()
            network(images)
            found.append(time.perf_counter() - began)
    return min(found)


def _inference(subject: Subject, conditions: Conditions) -> MemoryPeak:
    """Of a network of its own, so that nothing of another measurement is held."""
    import torch

    from ablate.measure import inference_peak
    from ablate.measure.calls import DTYPES

    dtype = DTYPES[conditions.dtype]
    image = torch.rand((1, *subject.image_shape), device=conditions.device, dtype=dtype)
    return inference_peak(subject.build().to(conditions.device, dtype).eval(), image)


def training_memory(
    subject: Subject, conditions: Conditions, *, saved: int, forward_s: float = 0.0
) -> tuple[MemoryPeak, int]:
    """Peak of the recipe's own step, or of plain SGD with momentum where there is no recipe; and its batch.

    Of a recipe of stages the worst. saved: bytes kept for the backward pass of one image, and forward_s:
    seconds of its forward pass, which tell a step that would take all memory or too long before it begins.
    """
    recipe = _recipe(subject, conditions)
    unfit = _unfit(recipe, conditions, saved, forward_s)
    if unfit is not None:
        return unfit, recipe.batch_size
    peaks = _peaks_of_stages(subject, recipe, conditions.device)
    return max(peaks, key=lambda peak: peak.peak_bytes or 0), recipe.batch_size


def _recipe(subject: Subject, conditions: Conditions) -> Recipe:
    from ablate.train import Recipe
    from ablate.trial import make_recipe

    if subject.settings is not None:
        return make_recipe(subject.settings, conditions.device)
    return Recipe(
        epochs=1,
        batch_size=conditions.train_batch,
        optimizer="sgd",
        lr=1e-3,
        optimizer_args={"momentum": 0.9},
    )


def _unfit(recipe: Recipe, conditions: Conditions, saved: int, forward_s: float) -> MemoryPeak | None:
    from ablate.measure import MemoryPeak
    from ablate.measure.memory import NOT_MEASURED

    batch = recipe.batch_size
    if conditions.device == "cpu" and batch * saved > psutil.virtual_memory().available / 2:
        why = f"{batch} images keep {batch * saved / 2**30:.1f} GiB for the backward pass"
        return MemoryPeak(None, f"{NOT_MEASURED}: {why}, more than half of the free memory")
    expected_s = FORWARDS_OF_A_STEP * STEPS * batch * forward_s
    if conditions.limit_s is not None and conditions.device == "cpu" and expected_s > conditions.limit_s:
        why = f"a training step of {batch} images takes long here; `ablate bench` measures it"
        return MemoryPeak(None, f"{NOT_MEASURED}: {why}")
    return None


def _peaks_of_stages(subject: Subject, recipe: Recipe, device: str) -> list[MemoryPeak]:
    import torch

    from ablate.measure import training_peak
    from ablate.train import numerics
    from ablate.train.fit import in_training_mode, train_step
    from ablate.train.recompute import recomputed
    from ablate.train.state import prepare

    network = subject.build()
    state = prepare(network, recipe, 100, torch.device(device))
    x = torch.rand((recipe.batch_size, *subject.image_shape), device=device)
    y = torch.arange(recipe.batch_size, device=device) % subject.classes
    peaks = []
    around = recomputed(network) if recipe.gradient_checkpointing else nullcontext()
    with numerics(deterministic=recipe.deterministic), around:
        for stage in range(len(state.spans)):
            state.enter(stage)
            in_training_mode(network, state)
            peaks.append(
                training_peak(
                    network,
                    lambda: train_step(network, state, x, y, recipe),
                    state.optimizer,
                    x,
                    y,
                    device=device,
                )
            )
    return peaks
