"""The tables of a search, as text for every page, and in full precision for report.json."""

from __future__ import annotations

from typing import Any

from ablate.report import numbers
from ablate.report.tuning.rows import TunedSearch, Tuning
from ablate.report.tuning.words import setting, short_names, shown, told

SHOWN = 10  # settings in a table


def settings_table(tuning: Tuning, search: TunedSearch) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The best settings, or the Pareto set, with the accuracy of each seed."""
    header = (
        "Setting",
        *map(_heading, tuning.objectives),
        *(f"seed {seed}" for seed in tuning.seeds),
        "Trial",
    )
    rows = [
        (
            setting(trial),
            *(told(metric, trial.values) for metric in tuning.objectives),
            *(
                f"{trial.by_seed[seed]:.2f}" if seed in trial.by_seed else numbers.NONE
                for seed in tuning.seeds
            ),
            str(trial.number),
        )
        for trial in search.ranked[:SHOWN]
    ]
    return header, rows


def _heading(metric: str) -> str:
    return {
        "accuracy": "Validation accuracy",
        "param_count": "Parameters",
        "macs": "MACs",
        "latency_ms": "Latency",
        "peak_memory_bytes": "Memory",
    }[metric]


def explains(search: TunedSearch) -> bool:
    """Whether there is a share to tell: of one setting alone it is all."""
    return any(len(parts) > 1 for parts in search.importances.values())


def importance_table(search: TunedSearch) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    metrics = [metric for metric, parts in search.importances.items() if parts]
    keys = list(dict.fromkeys(key for metric in metrics for key in search.importances[metric]))
    names = short_names(keys)
    rows = [
        (names[key], *(f"{100 * search.importances[metric].get(key, 0.0):.0f} %" for metric in metrics))
        for key in keys
    ]
    return ("Setting", *(f"Importance for {metric}" for metric in metrics)), rows


def records(tuning: Tuning, search: TunedSearch) -> list[dict[str, Any]]:
    """One record a setting, in full precision: for the CSV."""
    return [
        {
            "trial": trial.number,
            "state": trial.state,
            **{key: _plain(trial.settings.get(key)) for key in search.dimensions},
            **{metric: trial.values.get(metric) for metric in tuning.objectives},
            **{f"validation_accuracy_seed_{seed}": trial.by_seed.get(seed) for seed in tuning.seeds},
            **{f"trial_id_seed_{seed}": trial.trials.get(seed) for seed in tuning.seeds},
        }
        for trial in search.trials
    ]


def _plain(value: Any) -> Any:
    return shown(value) if isinstance(value, list | tuple | dict) else value


def document(tuning: Tuning | None) -> dict[str, Any] | None:
    """For report.json, in full precision."""
    if tuning is None:
        return None
    return {
        "storage": tuning.storage,
        "seeds": list(tuning.seeds),
        "objectives": dict(tuning.objectives),
        "constraints": list(tuning.constraints),
        "set": dict(tuning.overrides),
        "sampler": tuning.sampler,
        "pruner": tuning.pruner,
        "baseline_is_tuned": tuning.baseline_is_tuned,
        "searches": [
            {
                "start": search.start,
                "optuna_study": search.optuna_study,
                "asked": search.asked,
                "best": list(search.best),
                "importances": {metric: dict(parts) for metric, parts in search.importances.items()},
                "trials": [
                    {
                        "number": trial.number,
                        "state": trial.state,
                        "settings": dict(trial.settings),
                        "values": dict(trial.values),
                        "validation_accuracy": {str(seed): value for seed, value in trial.by_seed.items()},
                        "trials": {str(seed): trial_id for seed, trial_id in trial.trials.items()},
                        "stopped": list(trial.stopped) if trial.stopped else None,
                        "why": trial.why,
                    }
                    for trial in search.trials
                ],
            }
            for search in tuning.searches
        ],
    }
