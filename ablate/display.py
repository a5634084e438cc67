"""What a person sees of a run: a live board in a terminal, else a line a trial, almost nothing when quiet.

A running trial writes progress.json into its folder; the board reads these files, so that it shows any
executor alike. `read_board` gathers the figures, `render_board` draws them.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablate.record import TrialRecord
from ablate.store import Progress, Store


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

    def start(self, opening: Opening) -> None: ...

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self, message: str, report: str) -> None:
        """message: the run in a few lines. report: the path of the report, empty where none was written."""
        ...


class NullDisplay:
    """Shows nothing: for programs that call `run_study` themselves."""

    def start(self, opening: Opening) -> None:
        pass

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def end(self, message: str, report: str) -> None:
        pass


class QuietDisplay(NullDisplay):
    """Failures on standard error, the report's path on standard output."""

    def __init__(self, out: Console | None = None, err: Console | None = None) -> None:
        self._out = out or _console(sys.stdout)
        self._err = err or _console(sys.stderr)

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        if record.failure is not None:
            self._err.print(Text(f"failed: {trial}: {failure_line(record)}"))

    def end(self, message: str, report: str) -> None:
        if report:
            self._out.print(Text(report))
        else:
            self._err.print(Text(message))


class PlainDisplay:
    """One line a finished trial: for log files, pipes and continuous integration."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or _console(sys.stdout)
        self._counter = _Counter()

    def start(self, opening: Opening) -> None:
        self._counter = _Counter(opening)
        self._print(opening_line(opening))

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        self._counter.add(trial, record)
        self._print(f"{self._counter.head()} {trial}: {outcome_line(record)}")

    def note(self, text: str) -> None:
        self._print(text)

    def end(self, message: str, report: str) -> None:
        for line in self._counter.failures:
            self._print(f"failed: {line}")
        self._print(message)

    def _print(self, text: str) -> None:
        self._out.print(Text(text), soft_wrap=True)


class LiveDisplay:
    """A board that redraws itself four times a second; failures stay above it and stand again at the end."""

    REFRESH_PER_S = 4

    def __init__(
        self,
        out: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._out = out or _console(sys.stdout)
        self._clock, self._wall_clock = clock, wall_clock
        self._counter = _Counter()
        self._live: Live | None = None

    def start(self, opening: Opening) -> None:
        self._counter = _Counter(opening)
        self._began, self._began_wall = self._clock(), self._wall_clock()
        self._out.print(Text(opening_line(opening)))
        if not opening.trials:
            return
        self._live = Live(
            console=self._out,
            get_renderable=self.render,
            refresh_per_second=self.REFRESH_PER_S,
            transient=True,
        )
        self._live.start()

    def render(self) -> Group:
        counter = self._counter
        if counter.opening is None:
            return Group()
        board = read_board(
            counter.opening,
            finished=counter.finished,
            failed=len(counter.failures),
            elapsed_s=self._clock() - self._began,
            since=self._began_wall,
        )
        return render_board(board, width=self._out.width)

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        self._counter.add(trial, record)
        if record.failure is not None:
            self._out.print(Text(f"failed: {trial}: {failure_line(record)}", style="red"))
        if self._counter.complete:
            self._stop()

    def note(self, text: str) -> None:
        self._out.print(Text(text), soft_wrap=True)

    def end(self, message: str, report: str) -> None:
        self._stop()
        for line in self._counter.failures:
            self._out.print(Text(f"failed: {line}", style="red"))
        self._out.print(Text(message), soft_wrap=True)

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def make_display(*, quiet: bool = False, out: Console | None = None) -> Display:
    """The display that suits where standard output goes."""
    if quiet:
        return QuietDisplay(out)
    out = out or _console(sys.stdout)
    return LiveDisplay(out) if out.is_terminal and not out.is_dumb_terminal else PlainDisplay(out)


# The board


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """What one worker does. progress: None before the trial's first report."""

    trial: WatchedTrial
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """The whole run at one moment. eta_s: seconds to its end; None while nothing allows a guess."""

    rows: tuple[WorkerRow, ...]
    done: int
    total: int
    failed: int
    elapsed_s: float
    eta_s: float | None


def read_board(
    opening: Opening, *, finished: frozenset[str] | set[str], failed: int, elapsed_s: float, since: float
) -> Board:
    """Gather what the running trials say of themselves.

    finished: ids of trials of this run that ended. since: seconds since 1970 when it began; older progress
    was left by a run that was killed. Executors start trials in order: the first unfinished ones run.
    """
    running = [trial for trial in opening.trials if trial.trial_id not in finished][: opening.workers]
    said = {trial: opening.store.read_progress(trial.trial_id) for trial in running}
    rows = tuple(
        WorkerRow(trial, progress if progress and progress.updated >= math.floor(since) else None)
        for trial, progress in said.items()
    )
    behind = len(finished) + sum(row.progress.fraction for row in rows if row.progress)
    return Board(
        rows=rows,
        done=opening.done + len(finished) - failed,
        total=opening.total,
        failed=failed,
        elapsed_s=elapsed_s,
        eta_s=remaining_s(elapsed_s, behind, len(opening.trials)),
    )


def remaining_s(elapsed_s: float, behind: float, total: float) -> float | None:
    """Seconds until `total` trials are done when `behind` of them (fractions count) took `elapsed_s`."""
    return elapsed_s * (total - behind) / behind if behind > 0 else None


def render_board(board: Board, *, width: int = 80) -> Group:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, ratio=1)
    for _ in range(4):
        table.add_column(justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(str(row.trial), *_cells(row.progress))
    bar = Table.grid(padding=(0, 2))
    rest = "" if board.eta_s is None else f"about {duration(board.eta_s)} left"
    failed = f"{board.failed} failed" if board.failed else ""
    bar.add_row(
        ProgressBar(total=board.total, completed=board.done, width=max(10, min(40, width // 3))),
        f"{board.done}/{board.total} trials",
        Text(failed, style="red"),
        duration(board.elapsed_s),
        rest,
    )
    return Group(table, bar)


def _cells(progress: Progress | None) -> Sequence[str]:
    if progress is None:
        return "starting", "", "", ""
    return (
        f"epoch {progress.epoch}/{progress.epochs}",
        "" if progress.loss is None else f"loss {progress.loss:.3f}",
        "" if progress.accuracy is None else f"{progress.accuracy:.1f} %",
        "" if progress.images_per_s is None else f"{progress.images_per_s:,.0f} images/s",
    )


# Lines


class _Counter:
    """How far this run is, for every kind of display."""

    def __init__(self, opening: Opening | None = None) -> None:
        self.opening = opening
        self.finished: set[str] = set()
        self.failures: list[str] = []

    def add(self, trial: WatchedTrial, record: TrialRecord) -> None:
        self.finished.add(trial.trial_id)
        if record.failure is not None:
            self.failures.append(f"{trial}: {failure_line(record)}")

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
        return f"{opening.study}: nothing to train, {opening.done} of {opening.total} trials are done"
    kept = f", {opening.done} are done" if opening.done else ""
    workers = f"{opening.workers} worker{'s' if opening.workers != 1 else ''}"
    return f"{opening.study}: {count} of {opening.total} trials to train{kept}; {workers}"


def outcome_line(record: TrialRecord) -> str:
    if record.failure is not None:
        return f"FAILED: {failure_line(record)}"
    accuracy = f"{record.metrics.accuracy:.2f} %" if record.metrics is not None else "done"
    return f"{accuracy} in {record.wall_s:.1f} s"


def failure_line(record: TrialRecord) -> str:
    """Kind and first line of the message; the record holds the rest."""
    if record.failure is None:
        return ""
    first, *_ = record.failure.message.splitlines() or [""]
    return f"{record.failure.kind}: {first}"


def duration(seconds: float) -> str:
    """ "9 s", "3:05 min", "2:03 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _console(stream: Any) -> Console:
    return Console(file=stream, highlight=False)
