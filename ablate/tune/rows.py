"""What a search found, as a file beside its database: reports read this file and never Optuna's storage."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from ablate.report.tuning import shown
from ablate.runner import Plan
from ablate.spec.tune import Tune
from ablate.store import write_text
from ablate.tune.beside import standing
from ablate.tune.storage import Place
from ablate.tune.summary import best_trials

if TYPE_CHECKING:
    from ablate.tune.search import Search

SCHEMA_VERSION = 1
_STATES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "open",
    TrialState.WAITING: "open",
}


def write_rows(plan: Plan, tune: Tune, searches: list[Search], place: Place) -> None:
    """results/<study>/tune/tuning.json. Searches of starts that are not searched now stay out of it."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "study": plan.study.name,
        "baseline": plan.study.baseline,
        "storage": place.shown,
        "seeds": list(tune.seeds_beside(plan.study.seeds)),
        "reported_seeds": list(plan.study.seeds),
        "objectives": dict(tune.objectives),
        "constraints": [constraint.text for constraint in tune.constraints],
        "set": dict(tune.overrides),
        "sampler": tune.sampler,
        "pruner": tune.pruner,
        "pruned": bool(searches) and searches[0].pruner != "none",
        "searches": [search_rows(search) for search in searches],
    }
    write_text(plan.store.study(plan.study.name).tuning, json.dumps(content, indent=1) + "\n")


def search_rows(search: Search) -> dict[str, Any]:
    trials = search.trials()
    return {
        "start": search.name,
        "optuna_study": search.study_name,
        "asked": search.asked,
        "size": None if search.points is None else len(search.points),
        "epochs": search.epochs,
        "dimensions": {key: _kind(search, key) for key in search.space.dimensions},
        "best": [trial.number for trial in best_trials(search)],
        "importances": {metric: _importances(search, place) for place, metric in _metrics(search)},
        "trials": [_trial(search, trial) for trial in trials],
        "others": [
            {"settings": count, "space": space}
            for count, space in standing(search.storage, search.study_name).others
        ],
    }


def _metrics(search: Search) -> list[tuple[int, str]]:
    return list(enumerate(search.tune.objectives))


def _kind(search: Search, key: str) -> dict[str, Any]:
    distribution = search.space.distributions[key]
    if isinstance(distribution, CategoricalDistribution):
        values = [search.space.value(key, choice) for choice in distribution.choices]
        return {"kind": "choice", "choices": list(distribution.choices), "labels": list(map(shown, values))}
    found: dict[str, Any] = {"kind": "range", "low": distribution.low, "high": distribution.high}  # type: ignore[attr-defined]
    return found | {"log": bool(getattr(distribution, "log", False))}


def _importances(search: Search, place: int) -> dict[str, float]:
    """By setting, adding up to 1; empty where the trials tell nothing."""

    def target(trial: FrozenTrial) -> float:
        return float(trial.values[place])

    found: Mapping[str, float] = {}
    with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError, ImportError):
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(search.study, target=target)
    return {key: float(value) for key, value in found.items() if value == value}


def _trial(search: Search, trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    values = dict(zip(search.tune.objectives, trial.values, strict=True)) if _is_done(trial) else {}
    return {
        "number": trial.number,
        "state": _STATES[trial.state],
        "choices": dict(trial.params),
        "settings": attributes.get("settings", {}),
        "values": values,
        "counts": attributes.get("counts", {}),
        "validation_accuracy": attributes.get("validation_accuracy", {}),
        "trials": attributes.get("trials", {}),
        "curve": [[step, value] for step, value in sorted(trial.intermediate_values.items())],
        "stopped": attributes.get("stopped"),
        "why": attributes.get("why"),
    }


def _is_done(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE and trial.values is not None
