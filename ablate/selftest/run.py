"""Cells are simulated in pieces, on as many processes as asked for; the figures hang on the seed alone."""

from __future__ import annotations

import multiprocessing
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ablate.selftest.cells import CONTROLS, FULL_REPLICATES, Cell, all_cells
from ablate.selftest.tally import Line, Tallies

# Replicates of one piece: the random numbers of a piece hang on its place, not on who simulates it.
_PIECE = 250
QUICK_REPLICATES = 200

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Selftest:
    """Figures beside their limits."""

    lines: tuple[Line, ...]
    replicates: int
    seed: int

    @property
    def passed(self) -> bool:
        return all(line.passed for line in self.lines)


def run_selftest(
    *,
    replicates: int = FULL_REPLICATES,
    seed: int = 0,
    jobs: int = 1,
    control: str | None = None,
    progress: Progress | None = None,
) -> Selftest:
    """Simulate, and hold every figure against its limit.

    control: a key of `CONTROLS`, to be tried alone and as if it were to be trusted, so that it fails.
    progress: told the pieces done and their number.
    """
    cells = all_cells() if control is None else [CONTROLS[control]()]
    pieces = [
        (position, place, size)
        for position, cell in enumerate(cells)
        for place, size in enumerate(_sizes(max(1, round(replicates * cell.share))))
    ]
    found: list[Tallies] = [{} for _ in cells]
    for done, (position, tallies) in enumerate(_simulated(cells, pieces, seed, jobs), 1):
        for name, tally in tallies.items():
            found[position].setdefault(name, type(tally)()).merge(tally)
        if progress is not None:
            progress(done, len(pieces))
    lines = [line for cell, counted in zip(cells, found, strict=True) for line in cell.lines(counted)]
    if control is not None:
        lines = [_trusted(line) for line in lines]
    return Selftest(tuple(lines), replicates, seed)


def _sizes(replicates: int) -> list[int]:
    whole, left = divmod(replicates, _PIECE)
    return [_PIECE] * whole + [left] * (left > 0)


def _simulated(
    cells: Sequence[Cell], pieces: Sequence[tuple[int, int, int]], seed: int, jobs: int
) -> Iterator[tuple[int, Tallies]]:
    if jobs == 1:
        for piece in pieces:
            yield _simulate(cells[piece[0]], *piece, seed)
        return
    # Spawned, not forked: a fork copies locks that threads of the caller may hold.
    context: Any = multiprocessing.get_context("spawn")
    # An interrupt reaches every process of the terminal; the first one alone answers it.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(jobs, context, initializer=signal.signal, initargs=deaf) as pool:
        tasks = [pool.submit(_simulate, cells[piece[0]], *piece, seed) for piece in pieces]
        try:
            for task in tasks:
                yield task.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _simulate(cell: Cell, position: int, place: int, size: int, seed: int) -> tuple[int, Tallies]:
    rng = np.random.default_rng([seed, zlib.crc32(cell.key.encode()), place])
    return position, cell.simulate(rng, size)


def _trusted(line: Line) -> Line:
    return replace(line, control=False)
