"""A live board in a terminal, else a line a trial, almost nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import IO, Any, cast

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ablate.display.base import Display, NullDisplay, Opening, WatchedTrial
from ablate.display.board import read_board, render_board
from ablate.display.lines import Counter, failure_lines, opening_line, outcome_lines
from ablate.display.steps import Steps
from ablate.display.streams import SteadyStream
from ablate.record import TrialRecord


class QuietDisplay(NullDisplay):
    """Failures on standard error, the report's path on standard output."""

    def __init__(self, out: Console | None = None, err: Console | None = None) -> None:
        self._out = out or _console(sys.stdout)
        self._err = err or _console(sys.stderr)
        self._counter = Counter()

    def start(self, opening: Opening) -> None:
        self._counter = Counter(opening)

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        self._counter.add(trial, record)
        if record.failure is not None:
            for line in outcome_lines(self._counter.opening, trial, record):
                self._err.print(Text(line), soft_wrap=True)

    def failed(self, text: str) -> None:
        self._err.print(Text(text), soft_wrap=True)

    def end(self, message: str, report: str) -> None:
        for line in failure_lines(self._counter.failures):
            self._err.print(Text(line), soft_wrap=True)
        if report:
            self._out.print(Text(report), soft_wrap=True)
        else:
            self._err.print(Text(message), soft_wrap=True)


class PlainDisplay:
    """One line a finished trial: for log files, pipes and continuous integration."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or _console(sys.stdout)
        self._steps = Steps(self._out)
        self._counter = Counter()

    def step(self, what: str, detail: str = "") -> None:
        self._steps.show(what, detail)

    def start(self, opening: Opening) -> None:
        self._counter = Counter(opening)
        self._print(opening_line(opening))

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        self._counter.add(trial, record)
        first, *rest = outcome_lines(self._counter.opening, trial, record)
        for line in (f"{self._counter.head()} {first}", *rest):
            self._print(line)

    def note(self, text: str) -> None:
        self._print(text)

    def failed(self, text: str) -> None:
        self._print(text)

    def end(self, message: str, report: str) -> None:
        for line in failure_lines(self._counter.failures):
            self._print(line)
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
        self._steps = Steps(self._out)
        self._clock, self._wall_clock = clock, wall_clock
        self._counter = Counter()
        self._live: Live | None = None

    def step(self, what: str, detail: str = "") -> None:
        self._steps.show(what, detail)

    def start(self, opening: Opening) -> None:
        self._counter = Counter(opening)
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
            self._print_failure(outcome_lines(self._counter.opening, trial, record))
        if self._counter.complete:
            self._stop()

    def note(self, text: str) -> None:
        self._out.print(Text(text), soft_wrap=True)

    def failed(self, text: str) -> None:
        self._print_failure([text])

    def end(self, message: str, report: str) -> None:
        self._stop()
        self._print_failure(failure_lines(self._counter.failures))
        self._out.print(Text(message), soft_wrap=True)

    def _print_failure(self, lines: list[str]) -> None:
        for line in lines:
            self._out.print(Text(line, style="" if line.startswith(" ") else "red"), soft_wrap=True)

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


def _console(stream: Any) -> Console:
    return Console(file=cast(IO[str], SteadyStream(stream)) if stream else None, highlight=False)
