"""The live board of a run: `read_board` gathers the figures, `render_board` draws them.

A running trial writes progress.json into its folder; the board reads these files, so that it shows any
executor alike.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablate.display.base import Opening, WatchedTrial
from ablate.display.lines import duration
from ablate.store import Progress


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
    left = (trial for trial in opening.trials if trial.trial_id not in finished)
    running = list(islice((trial for trial in left if not _of_another_run(opening, trial)), opening.workers))
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


def _of_another_run(opening: Opening, trial: WatchedTrial) -> bool:
    """Whether a run beside this one, here or on another machine, trains it."""
    holder = opening.store.holder(trial.trial_id)
    return holder is not None and not (holder.machine_is_ours and holder.run_pid == os.getpid())


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
