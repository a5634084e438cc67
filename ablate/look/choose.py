"""Which trials, which test images: the same images for every trial, chosen without looking at any result
unless wrong predictions are asked for first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from ablate.errors import did_you_mean
from ablate.look.errors import LookError
from ablate.record import StudyPlan, TrialRecord
from ablate.store import Store, read_settings

DEFAULT_SEEDS = 2  # so that the eye sees what a seed alone changes
_ORDER_SEED = 0
_NAMED = 6


@dataclass(frozen=True)
class Chosen:
    """A finished trial with weights. kept: last | best, the epoch that they are of."""

    variant: str
    seed: int
    record: TrialRecord
    kept: str

    @property
    def name(self) -> str:
        return f"{self.variant}, seed {self.seed}"


def choose_trials(
    store: Store,
    plan: StudyPlan,
    *,
    variants: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> tuple[list[Chosen], dict[str, list[str]]]:
    """Finished trials with weights, in the plan's order, and {why: those that are left out}.

    variants: globs over names and aliases, all of them where empty. seeds: None for the first
    `DEFAULT_SEEDS` of the study. Raises LookError for a glob or a seed that is not in the plan, and when no
    trial is left, saying how to get weights.
    """
    names = [variant.name for variant in plan.variants]
    for glob in variants:
        every = [name for variant in plan.variants for name in (variant.name, *variant.aliases)]
        if not any(fnmatchcase(name, glob) for name in every):
            hint = did_you_mean(glob, every) or f"there is: {', '.join(names)}"
            raise LookError(f"no variant of {plan.study} matches {glob!r}\n    {hint}")
    unknown = [seed for seed in seeds or () if seed not in plan.seeds]
    if unknown:
        known = ", ".join(map(str, plan.seeds))
        raise LookError(f"the study {plan.study} has no seed {unknown[0]}\n    its seeds: {known}")
    found: list[Chosen] = []
    missing: dict[str, list[str]] = {}
    for variant in plan.variants:
        called = (variant.name, *variant.aliases)
        if variants and not any(fnmatchcase(name, glob) for name in called for glob in variants):
            continue
        for seed in plan.seeds[:DEFAULT_SEEDS] if seeds is None else seeds:
            trial_id = variant.trials.get(seed)
            if trial_id is None:
                continue
            chosen = _with_weights(store, variant.name, seed, trial_id)
            if isinstance(chosen, Chosen):
                found.append(chosen)
            else:
                missing.setdefault(chosen, []).append(f"{variant.name}, seed {seed}")
    if not found:
        said = "".join(f"\n  {line}" for line in sentences(missing))
        raise LookError(f"no trial of {plan.study} can be looked at:{said}")
    return found, missing


def sentences(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """One for each reason, with the first few trials that it holds for."""
    found = []
    for why, names in left_out.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        found.append(f"{'; '.join(names[:_NAMED])}{more}: {why}")
    return found


def _with_weights(store: Store, variant: str, seed: int, trial_id: str) -> Chosen | str:
    """The trial, or why it cannot be shown."""
    record = store.read_trial(trial_id)
    if record is None:
        return "not finished; `ablate run STUDY train.keep=last` trains what is missing and keeps weights"
    if record.status != "done":
        return "failed; `ablate logs VARIANT/SEED` shows why"
    if not store.trial(trial_id).weights.is_file():
        kept = read_settings(store, trial_id).train.keep
        why = "trained with train.keep: none, which leaves no weights" if kept == "none" else "weights gone"
        return f"{why}; train again with `ablate run STUDY train.keep=last --force VARIANT`"
    store.check_files(trial_id)
    return Chosen(variant, seed, record, read_settings(store, trial_id).train.keep)


def stratified_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """All rows, one of each class in turn, a fixed draw within each class: any first n are as even as n can
    be, and a smaller n shows some of what a larger one does."""
    generator = np.random.Generator(np.random.PCG64(_ORDER_SEED))
    place = np.empty(len(labels), np.int64)
    present = generator.permutation(np.unique(labels))
    rank = np.empty(int(labels.max()) + 1, np.int64)
    rank[present] = np.arange(len(present))
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        place[rows] = np.arange(len(rows))
    return np.lexsort((rank[labels], place))


def choose_images(
    labels: NDArray[np.int64], count: int, *, wrong: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """`count` rows of the test images, evenly over the classes, in the order of their classes.

    labels: int64 [N]; rows with a label below 0 are not chosen. wrong: int64 [N], by how many trials each is
    predicted wrongly; then those come first that the most of them get wrong.
    """
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise LookError("there is no test image to look at")
    order = rows[stratified_order(labels[rows])]
    if wrong is not None:
        return order[np.argsort(-wrong[order], kind="stable")][:count]
    first = order[:count]
    return first[np.argsort(labels[first], kind="stable")]


def class_numbers(wanted: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Classes by name, glob or number. Raises LookError for one that is not there."""
    found: list[int] = []
    for word in wanted:
        hits = [number for number, name in enumerate(classes) if fnmatchcase(name, word)]
        if not hits and word.isascii() and word.isdigit() and int(word) < len(classes):
            hits = [int(word)]
        if not hits:
            hint = did_you_mean(word, classes) or f"there is: {', '.join(classes[:40])}"
            raise LookError(f"--classes: no class {word!r}\n    {hint}")
        found += [number for number in hits if number not in found]
    return found


def count_wrong(
    store: Store, chosen: Sequence[Chosen], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Mapping[str, NDArray[np.int64]]]:
    """By how many of the trials each test image is predicted wrongly, and {trial id: predicted classes}.

    rows: the row of each test image in the whole test set, which the saved predictions go by.
    """
    wrong = np.zeros(len(rows), np.int64)
    predicted: dict[str, NDArray[np.int64]] = {}
    for trial in chosen:
        arrays = store.read_predictions(trial.record.id)
        if arrays is None or not np.array_equal(arrays["index"], rows):
            continue
        said = arrays["predicted_best" if trial.kept == "best" else "predicted"]
        predicted[trial.record.id] = said
        wrong += said != arrays["label"]
    return wrong, predicted
