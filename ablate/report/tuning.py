"""What `ablate tune` found, as rows, sentences, tables and figures: read from its own file, without Optuna.

All figures are of validation images and tuning seeds: a choice, and no verdict. What was chosen is judged by
a study on other seeds (`ablate tune --promote`); of such a study this says how its variants were chosen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ablate.errors import StoreError
from ablate.store import Store
from ablate.store.reading import read_bytes

if TYPE_CHECKING:
    from ablate.report.rows import Figure, Report

SCHEMA_VERSION = 1
SHOWN = 10  # settings in a table


@dataclass(frozen=True)
class TunedTrial:
    """One setting. state: done | pruned | failed | open. choices: as Optuna has them; settings: as the file.

    values: by objective, accuracy in percent of the validation images. by_seed, trials: accuracy and id of
    the trial, by seed. curve: (step, validation accuracy). stopped: (seed, epoch).
    """

    number: int
    state: str
    choices: Mapping[str, Any]
    settings: Mapping[str, Any]
    values: Mapping[str, float]
    counts: Mapping[str, float]
    by_seed: Mapping[int, float]
    trials: Mapping[int, str]
    curve: tuple[tuple[int, float], ...]
    stopped: tuple[int, int] | None
    why: str | None


@dataclass(frozen=True)
class TunedSearch:
    """Around one start. asked: trials in all. size: of a finite space. epochs: the most of one seed.

    best: numbers of trials, the best first; with several objectives the Pareto set. importances: objective ->
    setting -> its part.
    """

    start: str
    optuna_study: str
    asked: int
    size: int | None
    epochs: int
    dimensions: Mapping[str, Mapping[str, Any]]
    best: tuple[int, ...]
    importances: Mapping[str, Mapping[str, float]]
    trials: tuple[TunedTrial, ...]

    def trial(self, number: int) -> TunedTrial:
        return next(trial for trial in self.trials if trial.number == number)

    def of_state(self, state: str) -> tuple[TunedTrial, ...]:
        return tuple(trial for trial in self.trials if trial.state == state)

    @property
    def ranked(self) -> tuple[TunedTrial, ...]:
        return tuple(self.trial(number) for number in self.best)


@dataclass(frozen=True)
class Tuning:
    """objectives: metric -> maximize | minimize. overrides: settings that held while tuning alone."""

    baseline: str
    storage: str
    seeds: tuple[int, ...]
    reported_seeds: tuple[int, ...]
    objectives: Mapping[str, str]
    constraints: tuple[str, ...]
    overrides: Mapping[str, Any]
    sampler: str
    pruner: str
    pruned: bool
    searches: tuple[TunedSearch, ...]

    @property
    def baseline_is_tuned(self) -> bool:
        return any(search.start == self.baseline for search in self.searches)


@dataclass(frozen=True)
class Promoted:
    """Where the variants of a promoted study come from. budgets: variant -> settings tried to find it."""

    study: str
    baseline: str  # tuned | untuned | nothing to tune
    seeds: tuple[int, ...]
    budgets: Mapping[str, int] = field(default_factory=dict)


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
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read: {error}\n    promote the study again") from error


# Sentences


def opening_sentences(report: Report) -> list[str]:
    """For the opening of a report."""
    said = promoted_sentence(report.promoted, report.baseline)
    found = [] if said is None else [said]
    if report.tuning is not None:
        found += [
            f"Tuning, on validation images: {answer(s, report.tuning.objectives)}"
            for s in report.tuning.searches
        ]
    return found


def promoted_sentence(promoted: Promoted | None, baseline: str) -> str | None:
    """How the variants of a promoted study were chosen, and whether the baseline had the same chance."""
    if promoted is None:
        return None
    seeds = ", ".join(map(str, promoted.seeds))
    tried = {name: count for name, count in promoted.budgets.items() if name != baseline}
    chosen = "; ".join(f"{name}: of {_settings(count)}" for name, count in tried.items())
    head = f"Chosen by tuning {promoted.study} on validation images and other seeds ({seeds}): {chosen}."
    if promoted.baseline == "tuned":
        return f"{head} The baseline was tuned as well: {_settings(promoted.budgets.get(baseline, 0))}."
    if promoted.baseline == "nothing to tune":
        return f"{head} Nothing of what was searched exists for the baseline: it is as it was."
    return (
        f"{head} The baseline was NOT tuned: a difference in favour of a tuned variant may be owed to the "
        "tuning alone."
    )


def _settings(count: int) -> str:
    return f"{count} setting{'s' if count != 1 else ''} tried"


def notes(tuning: Tuning) -> list[str]:
    """Plain sentences on how the search was made, and what it does not say."""
    seeds, objectives = ", ".join(map(str, tuning.seeds)), ", ".join(tuning.objectives)
    found = [
        f"Each setting was trained with seeds {seeds}, none of which this study reports, and valued by "
        f"{objectives}: accuracy is the mean over these seeds on validation images after the last epoch. The "
        "test images took no part in it. A search chooses; it yields no verdict."
    ]
    if tuning.overrides:
        held = ", ".join(f"{key}: {_shown(value)}" for key, value in tuning.overrides.items())
        found.append(f"While tuning, and then alone: {held}.")
    if tuning.constraints:
        found.append(f"Only settings with {' and '.join(tuning.constraints)} were trained.")
    if tuning.pruner != "none":
        found.append(_pruning(tuning))
    budgets = "; ".join(f"{search.start}: {_budget(search)}" for search in tuning.searches)
    found.append(f"Budget: {budgets}. Sampler: {tuning.sampler}.")
    if not tuning.baseline_is_tuned:
        found.append(
            f"The baseline {tuning.baseline} was not tuned: what was tuned has an advantage over it "
            f"(`also: [{tuning.baseline}]` gives it the same budget)."
        )
    for search in tuning.searches:
        for trial in search.of_state("failed"):
            found.append(f"{search.start}, trial {trial.number} ({setting(trial)}) failed: {trial.why}.")
    return found


def _pruning(tuning: Tuning) -> str:
    if not tuning.pruned:
        return f"Nothing was stopped early by {tuning.pruner}: Optuna prunes for one objective only."
    stopped = sum(len(search.of_state("pruned")) for search in tuning.searches)
    trained, whole = epochs(tuning)
    return (
        f"{stopped} settings were stopped early ({tuning.pruner}): {trained} of the {whole} epochs that all "
        "settings would have taken."
    )


def epochs(tuning: Tuning) -> tuple[int, int]:
    """Epochs that the settings have curves of, and those that all of them would have had in full."""
    seeds = len(tuning.seeds)
    ended = [
        (search, trial) for search in tuning.searches for trial in search.trials if trial.state != "open"
    ]
    return (
        sum(len(trial.curve) for _, trial in ended),
        sum(
            search.epochs * seeds if trial.state == "pruned" else len(trial.curve) for search, trial in ended
        ),
    )


def _budget(search: TunedSearch) -> str:
    ended = len(search.trials) - len(search.of_state("open"))
    whole = f", all of the space's {search.size}" if search.size == ended else ""
    return f"{ended} of {search.asked} settings{whole}"


def answer(search: TunedSearch, objectives: Mapping[str, str]) -> str:
    """One sentence on what was found."""
    done = search.of_state("done")
    if not done:
        return f"{search.start}: no setting has been trained to its end yet."
    if len(objectives) > 1:
        return f"{search.start}: {len(search.best)} of {len(done)} settings are on the Pareto front."
    best = search.ranked[0]
    runner_up = search.ranked[1] if len(search.ranked) > 1 else None
    metric = next(iter(objectives))
    second = f"; next {setting(runner_up)}, {_value(metric, runner_up.values)}" if runner_up else ""
    return f"{search.start}: best of {len(done)} is {setting(best)}, {_value(metric, best.values)}{second}."


def setting(trial: TunedTrial) -> str:
    """``"reduction=8 at=block2"``"""
    parts = (f"{short(key)}={_shown(value)}" for key, value in trial.settings.items())
    return " ".join(parts) or "as it is"


def short(key: str) -> str:
    """The last part of a dotted setting; of a learning rate by glob, the glob with what it is."""
    return f"lr {key.removeprefix('train.lr.')}" if key.startswith("train.lr.") else key.rsplit(".", 1)[-1]


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(metric: str, values: Mapping[str, float]) -> str:
    if metric not in values:
        return "–"
    return f"{values[metric]:.2f} %" if metric == "accuracy" else f"{values[metric]:,.4g}"


# Tables


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
            *(_value(metric, trial.values) for metric in tuning.objectives),
            *(f"{trial.by_seed[seed]:.2f}" if seed in trial.by_seed else "–" for seed in tuning.seeds),
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
        "latency_ms": "Latency, ms",
        "peak_memory_bytes": "Memory, bytes",
    }[metric]


def explains(search: TunedSearch) -> bool:
    """Whether there is a share to tell: of one setting alone it is all."""
    return any(len(parts) > 1 for parts in search.importances.values())


def importance_table(search: TunedSearch) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    metrics = [metric for metric, parts in search.importances.items() if parts]
    keys = list(dict.fromkeys(key for metric in metrics for key in search.importances[metric]))
    rows = [
        (key, *(f"{100 * search.importances[metric].get(key, 0.0):.0f} %" for metric in metrics))
        for key in keys
    ]
    return ("Setting of the search", *(f"Importance for {metric}" for metric in metrics)), rows


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


def markdown(report: Report, text: Any, table: Any, bullets: Any, figure: Any) -> list[str]:
    """The parts of the section, rendered by the functions of the page: see `report.markdown`."""
    tuning = report.tuning
    if tuning is None:
        return []
    parts = [bullets(answer(search, tuning.objectives) for search in tuning.searches)]
    for search in tuning.searches:
        if search.best:
            parts.append(text(f"{search.start}: the best settings, by {', '.join(tuning.objectives)}"))
            parts.append(table(*settings_table(tuning, search)))
        if explains(search):
            parts.append(table(*importance_table(search)))
    parts += [figure(drawn.name) for drawn in figures(tuning)]
    return [*parts, bullets(notes(tuning))]


# Figures


def history_rows(search: TunedSearch, metric: str, direction: str) -> list[tuple[int, float, float]]:
    """(number, value, best so far) of the trials that ended with a value."""
    found: list[tuple[int, float, float]] = []
    best = -math.inf if direction == "maximize" else math.inf
    pick = max if direction == "maximize" else min
    for trial in search.of_state("done"):
        value = trial.values[metric]
        best = pick(best, value)
        found.append((trial.number, value, best))
    return found


def places(search: TunedSearch, key: str) -> dict[int, float]:
    """Where each trial stands on the axis of a setting, from 0 to 1, by its number."""
    dimension = search.dimensions[key]
    found = {}
    for trial in search.trials:
        if key not in trial.choices:
            continue
        choice = trial.choices[key]
        if dimension["kind"] == "choice":
            choices = list(dimension["choices"])
            found[trial.number] = choices.index(choice) / max(1, len(choices) - 1)
        else:
            low, high, at = float(dimension["low"]), float(dimension["high"]), float(choice)
            if dimension["log"]:
                low, high, at = math.log(low), math.log(high), math.log(at)
            found[trial.number] = (at - low) / ((high - low) or 1.0)
    return found


def figures(tuning: Tuning) -> tuple[Figure, ...]:
    """What there is to draw: nothing of a search with fewer than two values."""
    from ablate.report.rows import Figure

    found: list[Figure] = []
    for position, search in enumerate(tuning.searches, start=1):
        if len(search.of_state("done")) < 2:
            continue
        about = f"Tuning {search.start} on validation images"
        found.append(Figure(f"tuning-{position}-history", f"{about}: each setting, and the best so far"))
        if search.dimensions:
            found.append(Figure(f"tuning-{position}-slices", f"{about}: the value over each setting"))
        if len(search.dimensions) > 1:
            found.append(
                Figure(f"tuning-{position}-parallel", f"{about}: settings as lines, the best darkest")
            )
        if explains(search):
            found.append(Figure(f"tuning-{position}-importances", f"{about}: how much each setting explains"))
        if len(tuning.objectives) > 1:
            found.append(Figure(f"tuning-{position}-pareto", f"{about}: the objectives and their front"))
    return tuple(found)


def draw(tuning: Tuning, name: str) -> Any:
    """The matplotlib figure of that name."""
    from ablate.report import tuning_drawing

    _, position, kind = name.split("-", 2)
    return tuning_drawing.DRAWINGS[kind](tuning, tuning.searches[int(position) - 1])


def tuned_ids(tunings: Sequence[Tuning]) -> frozenset[str]:
    """Of every trial that these searches rest on."""
    return frozenset(
        trial_id
        for tuning in tunings
        for search in tuning.searches
        for trial in search.trials
        for trial_id in trial.trials.values()
    )
