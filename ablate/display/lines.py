"""The lines of a display: how far the run is, and what became of a trial."""

from __future__ import annotations

from pathlib import Path

from ablate.display.base import Opening, WatchedTrial
from ablate.failures import Failed, group_lines, grouped, headline
from ablate.record import TrialRecord


class Counter:
    """How far this run is and what failed in it, for every kind of display."""

    def __init__(self, opening: Opening | None = None) -> None:
        self.opening = opening
        self.finished: set[str] = set()
        self.failures: list[Failed] = []

    def add(self, trial: WatchedTrial, record: TrialRecord) -> None:
        self.finished.add(trial.trial_id)
        if record.failure is not None and self.opening is not None:
            self.failures.append(Failed(str(trial), record, log_of(self.opening, trial)))

    @property
    def complete(self) -> bool:
        return self.opening is not None and len(self.finished) >= len(self.opening.trials)

    def head(self) -> str:
        """ "[ 12/75]": trials that ended, of all that were asked for."""
        if self.opening is None:
            return ""
        width = len(str(self.opening.total))
        return f"[{self.opening.done + len(self.finished):{width + 1}}/{self.opening.total}]"


def opening_line(opening: Opening) -> str:
    count = len(opening.trials)
    if not count:
        done = f", {opening.done} of {opening.total} trials are done" if opening.total else ""
        return f"{opening.study}: nothing to train{done}"
    kept = f", {opening.done} are done" if opening.done else ""
    workers = f"{opening.workers} worker{'s' if opening.workers != 1 else ''}"
    return f"{opening.study}: {count} of {opening.total} trials to train{kept}; {workers}"


def outcome_lines(opening: Opening | None, trial: WatchedTrial, record: TrialRecord) -> list[str]:
    """A trial that ended: one line, and a second for one that failed, with where to look."""
    if record.failure is None:
        accuracy = f"{record.metrics.accuracy:.2f} %" if record.metrics is not None else "done"
        return [f"{trial}: {accuracy} in {record.wall_s:.1f} s"]
    where = record.failure.where
    looks = [f"at {where}"] if where and where not in record.failure.message else []
    if opening is not None:
        looks.append(f"log: {log_of(opening, trial)}")
    return [f"{trial}: FAILED: {headline(record.failure)}", *([f"    {'; '.join(looks)}"] if looks else [])]


def failure_lines(failures: list[Failed]) -> list[str]:
    """All that failed, once more and shortly: those that failed alike together, with the way out."""
    return group_lines(grouped(failures))


def log_of(opening: Opening, trial: WatchedTrial) -> Path:
    """A trial that was forced and failed lies beside the one that was done before."""
    again = opening.store.trial_again(trial.trial_id).log
    return again if again.exists() else opening.store.trial(trial.trial_id).log


def duration(seconds: float) -> str:
    """ "9 s", "3:05 min", "2:03 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
