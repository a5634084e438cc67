"""Two trainings of one trial, file by file: where they first differ in any bit, and whether by more than
another machine explains.

Nothing here depends on time: seconds and images a second are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.errors import StoreError
from ablate.record import TrialRecord
from ablate.store import PREDICTION_ARRAYS, Store, sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEASURED = frozenset({"seconds", "images_per_s"})
COUNTS = ("classes", "train_count", "validation_count", "test_count", "param_count")
# Of the first step's loss, which is a mean over a batch: fp32 sums in another order differ by some 1e-6 of
# it, in a network of hundreds of layers by 1e-4; products rounded to 8 or 11 bits by less than 1e-2.
FIRST_LOSS_TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 1e-2}
STANDARD_ERRORS = 3.0


def differences(tree: Store, again: Store, kept: TrialRecord, new: TrialRecord) -> Iterator[str]:
    """Sentences on every file in which a bit differs, from the first steps to the weights.

    tree: with the trial as it was kept. again: with the files of the new training. A file that is no more
    there is passed over.
    """
    trial_id = kept.id
    yield from _curve_differences("steps.csv", tree.read_steps, again.read_steps, trial_id)
    yield from _curve_differences("epochs.csv", tree.read_epochs, again.read_epochs, trial_id)
    yield from _record_differences(kept, new)
    yield from _prediction_differences(tree, again, trial_id)
    paths, others = tree.trial(trial_id).weights, again.trial(trial_id).weights
    if paths.is_file() and others.is_file() and sha256_of(paths) != sha256_of(others):
        yield from _weight_differences(paths, others)


def _curve_differences(name: str, read_kept: Any, read_new: Any, trial_id: str) -> Iterator[str]:
    try:
        kept, new = read_kept(trial_id), read_new(trial_id)
    except StoreError as error:
        yield str(error).partition("\n")[0]
        return
    if not kept:
        return
    for before, now in zip(kept, new, strict=False):
        # A curve of an earlier version may lack a column.
        for key in [key for key in before if key not in MEASURED and key in now]:
            if before[key] != now[key]:
                at = ", ".join(f"{key} {now[key]:.0f}" for key in ("epoch", "step") if key in now)
                said = f"{key.replace('_', ' ')} was {before[key]}, is {now[key]}"
                yield f"{name}: {at}: {said}{_apart(before[key], now[key])}"
                return
    if len(kept) != len(new):
        yield f"{name}: it has {len(kept)} rows, the new training {len(new)}"


def _record_differences(kept: TrialRecord, new: TrialRecord) -> Iterator[str]:
    yield from count_differences(kept, new)
    before = kept.metrics.model_dump() if kept.metrics else {}
    now = new.metrics.model_dump() if new.metrics else {}
    for key in now:
        if before.get(key) != now[key]:
            said = f"{key.replace('_', ' ')} was {before.get(key)}, is {now[key]}"
            yield f"record.json: {said}{_apart(before.get(key), now[key])}"


def count_differences(kept: TrialRecord, new: TrialRecord) -> Iterator[str]:
    """In what no arithmetic can change."""
    for key in COUNTS:
        if getattr(kept, key) != getattr(new, key):
            yield f"record.json: {key.replace('_', ' ')} was {getattr(kept, key)}, is {getattr(new, key)}"


def _apart(before: float | None, now: float | None) -> str:
    if before is None or now is None:
        return ""
    relative = f", {abs(now - before) / abs(before):.1e} of it" if before else ""
    return f" (apart by {abs(now - before):.3g}{relative})"


def _prediction_differences(tree: Store, again: Store, trial_id: str) -> Iterator[str]:
    try:
        kept, new = tree.read_predictions(trial_id), again.read_predictions(trial_id)
    except StoreError as error:
        yield str(error).partition("\n")[0]
        return
    if kept is None or new is None:
        return
    for name in PREDICTION_ARRAYS:
        yield from array_differences(f"predictions.npz: {name.replace('_', ' ')}", kept[name], new[name])


def array_differences(name: str, kept: NDArray[Any], new: NDArray[Any]) -> Iterator[str]:
    if kept.shape != new.shape or kept.dtype != new.dtype:
        yield f"{name}: was {kept.dtype} {kept.shape}, is {new.dtype} {new.shape}"
        return
    (rows,) = (kept != new).nonzero()
    if len(rows):
        first = int(rows[0])
        values = f"was {kept[first]}, is {new[first]}"
        yield f"{name}: {len(rows)} of {len(kept)} images differ, the first in row {first}: {values}"


def _weight_differences(kept: Path, new: Path) -> Iterator[str]:
    import safetensors
    import torch
    from safetensors.torch import load_file

    try:
        before, now = load_file(kept), load_file(new)
    except safetensors.SafetensorError as error:
        yield f"weights.safetensors: it cannot be read: {error}"
        return
    if before.keys() != now.keys():
        names = ", ".join(sorted(before.keys() ^ now.keys())[:3])
        yield f"weights.safetensors: tensors that only one of the two trainings has: {names}"
        return
    apart = [name for name in sorted(now) if not torch.equal(_bits(before[name]), _bits(now[name]))]
    if not apart:
        yield "weights.safetensors: the tensors are equal, the rest of the file is not"
        return
    first = apart[0]
    if before[first].shape != now[first].shape:
        shapes = f"was of {tuple(before[first].shape)}, is of {tuple(now[first].shape)}"
        yield f"weights.safetensors: {first} {shapes}"
        return
    most = float((before[first].double() - now[first].double()).abs().max())
    yield (
        f"weights.safetensors: {len(apart)} of {len(now)} tensors differ, by name the first is {first}: "
        f"by at most {most:.3g}"
    )


def _bits(tensor: Any) -> Any:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)


# Within a tolerance


def chance_of_accuracy(hits: Sequence[int], count: int) -> float:
    """Percentage points within which two accuracies over `count` test images may lie apart by chance.

    STANDARD_ERRORS of the difference of two independent proportions, pooled, with one hit and one miss added
    to each (Agresti and Caffo, 2000), so that it is not zero where all is right. Both read the same images,
    so the chance that lies in these counts twice; that leaves room for two trainings that are not one.
    """
    pooled = (sum(hits) + 2) / (2 * count + 4)
    return 100 * STANDARD_ERRORS * math.sqrt(pooled * (1 - pooled) * 2 / (count + 2))


def disagreements(
    tree: Store, again: Store, kept: TrialRecord, new: TrialRecord, *, precision: str, same_start: bool
) -> tuple[list[str], list[str]]:
    """(what lies within the tolerance, what does not), in sentences.

    same_start: whether the first step draws the same random numbers: dropout draws on the device.
    """
    within: list[str] = []
    beyond = list(count_differences(kept, new))
    before, now = tree.read_steps(kept.id), again.read_steps(kept.id)
    if before and len(before) != len(now):
        beyond.append(f"steps.csv: it has {len(before)} rows, the new training {len(now)}")
    if before and same_start:
        _judge_loss(before[0]["loss"], now[0]["loss"], FIRST_LOSS_TOLERANCE[precision], within, beyond)
    _judge_accuracies(kept, new, within, beyond)
    arrays, others = tree.read_predictions(kept.id), again.read_predictions(kept.id)
    if arrays is not None and others is not None:
        for name in ("label", "index"):
            beyond += array_differences(f"predictions.npz: {name}", arrays[name], others[name])
        within += _agreement(arrays, others)
    return within, beyond


def _judge_loss(
    before: float | None, now: float | None, tolerance: float, within: list[str], beyond: list[str]
) -> None:
    if before is None or now is None:
        beyond.append(f"steps.csv: the first step's loss was {before}, is {now}")
        return
    off = abs(now - before) / max(abs(before), 1e-12)
    said = f"the first step's loss was {before:.6g}, is {now:.6g}: {off:.1e} of it"
    (within if off <= tolerance else beyond).append(f"{said}, {tolerance:g} allowed")


def _judge_accuracies(kept: TrialRecord, new: TrialRecord, within: list[str], beyond: list[str]) -> None:
    count = new.test_count or 0
    if kept.metrics is None or new.metrics is None or not count:
        return
    for name in ("accuracy", "accuracy_best"):
        pair = [getattr(kept.metrics, name), getattr(new.metrics, name)]
        chance = chance_of_accuracy([round(value * count / 100) for value in pair], count)
        apart = abs(pair[1] - pair[0])
        at = "the last epoch" if name == "accuracy" else "the best epoch"
        said = f"test accuracy at {at} was {pair[0]:.2f} %, is {pair[1]:.2f} %: {apart:.2f} points"
        (within if apart <= chance else beyond).append(f"{said}, {chance:.2f} allowed")


def _agreement(
    kept: Mapping[str, np.ndarray[Any, Any]], new: Mapping[str, np.ndarray[Any, Any]]
) -> list[str]:
    if kept["predicted"].shape != new["predicted"].shape:
        return []
    same = 100 * float((kept["predicted"] == new["predicted"]).mean())
    return [f"{same:.2f} % of the test images get the same class"]
