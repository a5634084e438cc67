"""How long what is left to train will take.

A training step is measured of two variants for each recipe, backbone and kind of images: of those with the
fewest and with the most MACs. What lies between them is taken to lie between them in time as well. A variant
with a module of the user's own is always measured, as its first backward pass may be where it fails. What was
measured today on this machine is not measured again.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from ablate.environment import available_cores, machine_name, require_torch
from ablate.errors import AblateError
from ablate.runner.patience import NOBODY, Teller, patience
from ablate.runner.plan import Plan
from ablate.runner.recall import Recall, network_key
from ablate.variants import Variant, canonical

# A validation or test image goes forward only, a training image forward and twice as much backward.
_FORWARD_SHARE = 1 / 3
# How often a step is taken, and what is in its images, but not how long it takes.
_WITHOUT_EFFECT = {
    "data": ("source", "fraction", "validation", "split", "split_seed", "classes"),
    "model": ("args", "attention", "weights"),
    "train": ("epochs", "steps", "schedule", "lr", "label_smoothing"),
}


def estimate(plan: Plan, workers: int, tell: Teller = NOBODY) -> float:
    """Seconds until all wanted trials are done with so many workers. AblateError where a step fails."""
    recall = Recall.usual()
    seconds: dict[str, float] = {}
    for group in _groups(plan):
        by_macs = sorted(group, key=lambda variant: plan.inspections[variant.name].macs)
        ends = (by_macs[0], by_macs[-1])
        measured = {
            variant.id: _step_s(plan, variant, recall, tell)
            for variant in group
            if variant in ends or _is_own(plan, variant)
        }
        for variant in group:
            step_s = (
                measured[variant.id] if variant.id in measured else _between(plan, variant, ends, measured)
            )
            seconds[variant.id] = step_s * _steps(plan, variant)
    total = sum(seconds[trial.variant.id] for trial in plan.wanted)
    longest = max(seconds.values(), default=0.0)
    return max(total / workers, longest)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _groups(plan: Plan) -> list[list[Variant]]:
    """The variants with something to train, each once; those together whose steps differ by the network."""
    found: dict[str, list[Variant]] = defaultdict(list)
    for variant in {trial.variant.id: trial.variant for trial in plan.wanted}.values():
        plain = canonical(variant.settings)
        for section, names in _WITHOUT_EFFECT.items():
            for name in names:
                plain[section].pop(name, None)
        optimizer = plain["train"]["optimizer"]
        plain["train"]["optimizer"] = optimizer["name"]
        found[json.dumps([plain, plan.images[variant.name].shape], sort_keys=True)].append(variant)
    return list(found.values())


def _step_s(plan: Plan, variant: Variant, recall: Recall, tell: Teller) -> float:
    images = plan.images[variant.name]
    key = network_key(
        "step",
        variant.settings,
        images.shape,
        len(images.classes),
        data=variant.settings.data.model_dump(mode="json"),
        machine=[machine_name(plan.device), plan.device, available_cores()],
        day=datetime.now(UTC).date().isoformat(),
    )
    known = recall.get(key)
    if isinstance(known, float) and known > 0:
        return known
    require_torch()
    from ablate.trial import measured_step

    try:
        with patience("measuring a training step", tell, variant.name):
            step_s = measured_step(variant.settings, images, plan.device)
    except Exception as error:  # the user's module runs here, and may fail in any way
        said = f"{type(error).__name__}: {error}"
        raise AblateError(f"a training step of {variant.name!r} fails with {said}") from error
    recall.put(key, step_s)
    return step_s


def _is_own(plan: Plan, variant: Variant) -> bool:
    """Whether nothing is known of its network but what it says itself each time."""
    images = plan.images[variant.name]
    return network_key("step", variant.settings, images.shape, len(images.classes)) is None


def _between(plan: Plan, variant: Variant, ends: Sequence[Variant], measured: dict[str, float]) -> float:
    """By its MACs, which lie between those of the ends."""
    least, macs, most = (plan.inspections[each.name].macs for each in (ends[0], variant, ends[1]))
    share = (macs - least) / (most - least) if most > least else 0.0
    low, high = (measured[end.id] for end in ends)
    return low + share * (high - low)


def _steps(plan: Plan, variant: Variant) -> float:
    """Training steps of one trial, with reading the validation and test images counted in steps."""
    settings, images = variant.settings, plan.images[variant.name]
    used = len(images.train) * settings.data.fraction
    batch = settings.train.batch_size
    train = math.ceil(used * (1 - settings.data.validation) / batch)
    epochs = sum(stage.epochs for stage in settings.train.stages) or settings.train.epochs
    if settings.train.steps is not None and not settings.train.stages:
        epochs = settings.train.steps / train
    validation = used * settings.data.validation / batch
    return epochs * (train + _FORWARD_SHARE * validation) + 2 * _FORWARD_SHARE * len(images.test) / batch
