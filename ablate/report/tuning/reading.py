"""The rows of a search from its own file, `tuning.json`, without Optuna; what a promoted study comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ablate.errors import StoreError
from ablate.report.tuning.rows import Promoted, TunedSearch, TunedTrial, Tuning
from ablate.store import Store
from ablate.store.reading import read_bytes

SCHEMA_VERSION = 1


def read_tuning(store: Store, study: str) -> Tuning | None:
    """None where the study was never tuned. Raises StoreError for a file that cannot be read."""
    path = store.study(study).tuning
    content = read_bytes(store.confined(path))
    if content is None:
        return None
    try:
        said = json.loads(content)
        if said["schema_version"] != SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema {said['schema_version']}, this version reads {SCHEMA_VERSION}"
            )
        return Tuning(
            baseline=said["baseline"],
            storage=said["storage"],
            seeds=tuple(said["seeds"]),
            reported_seeds=tuple(said["reported_seeds"]),
            objectives=said["objectives"],
            constraints=tuple(said["constraints"]),
            overrides=said["set"],
            sampler=said["sampler"],
            pruner=said["pruner"],
            pruned=bool(said["pruned"]),
            searches=tuple(map(_search, said["searches"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read: {error}\n    `ablate tune` writes it again") from error


def _search(said: Mapping[str, Any]) -> TunedSearch:
    return TunedSearch(
        start=said["start"],
        optuna_study=said["optuna_study"],
        asked=said["asked"],
        size=said["size"],
        epochs=said["epochs"],
        dimensions=said["dimensions"],
        best=tuple(said["best"]),
        importances=said["importances"],
        trials=tuple(map(_trial, said["trials"])),
        others=tuple((int(other["settings"]), str(other["space"])) for other in said.get("others", ())),
    )


def _trial(said: Mapping[str, Any]) -> TunedTrial:
    stopped = said["stopped"]
    return TunedTrial(
        number=said["number"],
        state=said["state"],
        choices=said["choices"],
        settings=said["settings"],
        values=said["values"],
        counts=said["counts"],
        by_seed={int(seed): value for seed, value in said["validation_accuracy"].items()},
        trials={int(seed): trial_id for seed, trial_id in said["trials"].items()},
        curve=tuple((int(step), float(value)) for step, value in said["curve"]),
        stopped=None if stopped is None else (int(stopped["seed"]), int(stopped["epoch"])),
        why=said["why"],
    )


def read_promoted(store: Store, study: str) -> Promoted | None:
    path = store.study(study).promoted
    content = read_bytes(store.confined(path))
    if content is None:
        return None
    try:
        said = json.loads(content)
        return Promoted(
            study=said["study"],
            baseline=str(said["baseline"]),
            seeds=tuple(said["seeds"]),
            budgets=dict(said["budgets"]),
            settings={name: dict(settings) for name, settings in said.get("settings", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read: {error}\n    promote the study again") from error
