"""What a display is told of a run, and the display that shows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ablate.record import TrialRecord
from ablate.store import Store


@dataclass(frozen=True, slots=True)
class WatchedTrial:
    """One trial of this run, as a person names it."""

    variant: str
    seed: int
    trial_id: str

    def __str__(self) -> str:
        return f"{self.variant} seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a run sets out to do. trials: those to be trained, in the order in which they start."""

    study: str
    total: int  # trials asked for, those that are done already among them
    done: int  # of these, finished before this run
    trials: tuple[WatchedTrial, ...]
    workers: int
    store: Store


class Display(Protocol):
    """Told of everything that happens in a run, in this order; decides what to show of it."""

    def step(self, what: str, detail: str = "") -> None:
        """Before the start: what goes on now, until the next step; empty: nothing. detail: changes often."""
        ...

    def start(self, opening: Opening) -> None: ...

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None: ...

    def note(self, text: str) -> None: ...

    def failed(self, text: str) -> None:
        """What is no trial of the results tree failed, such as a setting of a search."""
        ...

    def end(self, message: str, report: str) -> None:
        """message: the run in a few lines. report: the path of the report, empty where none was written."""
        ...


class NullDisplay:
    """Shows nothing: for programs that call `run_study` themselves."""

    def step(self, what: str, detail: str = "") -> None:
        pass

    def start(self, opening: Opening) -> None:
        pass

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def failed(self, text: str) -> None:
        pass

    def end(self, message: str, report: str) -> None:
        pass
