"""What `ablate tune` found, as rows.

All figures are of validation images and tuning seeds: a choice, and no verdict. What was chosen is judged by
a study on other seeds (`ablate tune --promote`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Of the objectives, those that no two searches agree on to the last digit.
MEASURED = ("latency_ms", "peak_memory_bytes")


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

    best: numbers of trials, the best first; with several objectives the Pareto set, the best in the first of
    them first. importances: objective -> setting -> its part. others: (settings, space) of each search around
    this start that an edited file left behind.
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
    others: tuple[tuple[int, str], ...] = ()

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

    @property
    def measures(self) -> bool:
        """Whether an objective is measured, and so another one in each search."""
        return any(metric in MEASURED for metric in self.objectives)

    @property
    def epochs(self) -> tuple[int, int]:
        """Those that the settings have curves of, and those that all of them would have had in full."""
        seeds = len(self.seeds)
        ended = [
            (search, trial) for search in self.searches for trial in search.trials if trial.state != "open"
        ]
        return (
            sum(len(trial.curve) for _, trial in ended),
            sum(
                search.epochs * seeds if trial.state == "pruned" else len(trial.curve)
                for search, trial in ended
            ),
        )


@dataclass(frozen=True)
class Promoted:
    """Where the variants of a promoted study come from. budgets: variant -> settings tried to find it.

    settings: variant -> dotted, of what was searched.
    """

    study: str
    baseline: str  # tuned | untuned | nothing to tune
    seeds: tuple[int, ...]
    budgets: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
