"""Stopping settings that fall behind, from the validation accuracy at each epoch's end.

The seeds of a setting are trained one after another, and the steps of its curve run through all of them: seed
k (from 0) at epoch e is step k × E + e, with E the most epochs that a seed may take. So a step compares the
same seed at the same epoch, and a setting that is stopped in its first seed spares all the others. The worker
decides, at the end of the epoch: nothing is trained while a decision is on its way.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import optuna

from ablate.tune.storage import STORAGE_ERRORS, Place


@dataclass(frozen=True)
class Stopping:
    """What a worker needs to tell Optuna of an epoch and to ask it whether to go on. Picklable.

    trial_id: Optuna's own, of the storage. epochs: E, the most of one seed. seeds: of each setting.
    """

    place: Place
    study: str
    trial_id: int
    pruner: str
    epochs: int
    seeds: int

    def opened(self) -> optuna.trial.Trial:
        storage = _opened(self.place)
        pruner = make_pruner(self.pruner, self.epochs, self.seeds)
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=pruner)
        return optuna.trial.Trial(study, self.trial_id)


@cache
def _opened(place: Place) -> optuna.storages.BaseStorage:
    """Once a worker: it takes longer than many an epoch."""
    return place.open()


def make_pruner(name: str, epochs: int, seeds: int) -> optuna.pruners.BasePruner:
    """epochs: the most of one seed."""
    if name == "median":
        # A first epoch says little, and four curves are the fewest with a median worth the name.
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=min(1, epochs - 1))
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=max(2, epochs * seeds), reduction_factor=3
        )
    return optuna.pruners.NopPruner()


def report_curve(trial: optuna.trial.Trial, start: int, accuracies: Sequence[float]) -> None:
    """Tell Optuna of the epochs that it does not know yet. start: the steps of the seeds before."""
    known = trial.study._storage.get_trial(trial._trial_id).intermediate_values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch, accuracy in enumerate(accuracies, start=1):
            if start + epoch not in known:
                trial.report(accuracy, start + epoch)


def watcher(trial: optuna.trial.Trial, start: int) -> Callable[[Sequence[Any]], bool]:
    """For `run_watched`: reports what is new, and says whether to stop."""
    return partial(_falls_behind, trial, start)


def _falls_behind(trial: optuna.trial.Trial, start: int, history: Sequence[Any]) -> bool:
    """A storage that is away for a while stops no training."""
    with contextlib.suppress(*STORAGE_ERRORS):
        return _told_and_asked(trial, start, history)
    return False


def _told_and_asked(trial: optuna.trial.Trial, start: int, history: Sequence[Any]) -> bool:
    report_curve(trial, start, [float(row.validation_accuracy) for row in history])
    return bool(trial.should_prune())
