"""How a search stands, in lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from ablate.errors import StoreError
from ablate.report.tuning import in_one_line, in_words, told
from ablate.runner.interrupts import INTERRUPTED
from ablate.tune.search import FINISHED, Search


@dataclass(frozen=True)
class TuneSummary:
    """How a search ended. asked, finished: settings, over all starts. report: None when none was written."""

    exit_code: int
    asked: int
    finished: int
    report: Path | None
    message: str


_GOES_ON = "what is finished is kept; the same command goes on from here"


def stopped(error: StoreError) -> TuneSummary:
    """By the storage or by the tree: neither can be asked any more."""
    return TuneSummary(1, 0, 0, None, f"stopped: {error}\n{_GOES_ON}")


def summarise(searches: Sequence[Search], exit_code: int | None) -> TuneSummary:
    lines = []
    asked = finished = failed = 0
    for search in searches:
        trials = [trial for trial in search.trials() if trial.state in FINISHED]
        bad = sum(trial.state == TrialState.FAIL for trial in trials)
        asked, finished, failed = asked + search.asked, finished + len(trials), failed + bad
        pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
        more = [f"{pruned} stopped early"] * bool(pruned) + [f"{bad} failed"] * bool(bad)
        lines.append(
            f"{search.name}: {len(trials)} of {search.asked} trials are done"
            + (f" ({', '.join(more)})" if more else "")
        )
        front = (
            f"front, by {next(iter(search.tune.objectives))}" if len(search.tune.objectives) > 1 else "best"
        )
        lines += [f"  {front}: {line_of(search, trial)}" for trial in best_trials(search)[:5]]
    if exit_code is None:
        exit_code = 0 if finished >= asked and not failed else 1
    if exit_code == INTERRUPTED:
        lines.insert(0, f"interrupted: {_GOES_ON}")
    elif finished < asked:
        lines.append("run the same command again for the rest")
    elif failed:
        lines.append("what failed is begun once more with --retry-failed")
    return TuneSummary(exit_code, asked, finished, None, "\n".join(lines))


def best_trials(search: Search) -> list[FrozenTrial]:
    """The best in the first objective first; with several objectives those of the Pareto set alone."""
    done = [trial for trial in search.trials() if trial.state == TrialState.COMPLETE]
    if len(search.tune.objectives) > 1:
        done = list(search.study.best_trials)
    sign = -1 if next(iter(search.tune.objectives.values())) == "maximize" else 1
    return sorted(done, key=lambda trial: (sign * (trial.values or [0.0])[0], trial.number))


def line_of(search: Search, trial: FrozenTrial) -> str:
    """A trial that ended, in one line."""
    what = in_words(trial.user_attrs.get("settings", {})) or "as it is"
    if trial.state == TrialState.COMPLETE:
        values = dict(zip(search.tune.objectives, trial.values or (), strict=True))
        words = [
            f"{'validation' if metric == 'accuracy' else metric} {told(metric, values)}" for metric in values
        ]
        return f"{what}: {', '.join(words)}"
    if trial.state == TrialState.PRUNED:
        stopped = trial.user_attrs.get("stopped", {})
        return f"{what}: stopped after epoch {stopped.get('epoch')} of seed {stopped.get('seed')}"
    return f"{what}: FAILED: {in_one_line(trial.user_attrs.get('why', 'without a word'))}"
