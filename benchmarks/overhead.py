"""What running a trial costs beyond the training itself, and whether the parent's memory stays flat.

    python benchmarks/overhead.py [--trials 1000] [--workers 2] [--quick]

Three measurements, each of many trials whose training does nothing:

- executor: `LocalExecutor` alone, with a function that gives its item back.
- trial: `run_job` in workers, so all but the training: folder, captured output, record, the answer.
- run: `run_study`, from the first trial to the last; its planning and its report are no part of a trial.

The overhead is wall time over trials, with all workers busy; what passes before the first trial has ended
(above all the workers' import of torch) is shown apart. Memory is the resident set of the parent, read ten
times on the way; growth is the slope of a line through these points, the first of them left out.

Where Ray is installed, the same three through `RayExecutor`, on a cluster of this machine that is started for
them, stand in a table of their own; their start is that of the cluster, too.

A last table has trials a second through each executor, and through joblib, Hydra's multirun and Ray Tune
(`rivals.py`; each left out where it is not installed). Their trial, and that of the first two rows, gives its
item back and leaves nothing; Hydra and Ray leave folders of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rivals import RIVALS, Pace
from rivals import measure as measure_rival
from side_by_side import heading

from ablate.display import NullDisplay, Opening, WatchedTrial
from ablate.environment import available_cores, describe, require_torch
from ablate.execute import Executor, InlineExecutor, LocalExecutor, Outcome
from ablate.record import TrialMetrics, TrialRecord
from ablate.runner import run_study
from ablate.runner.job import Job, run_job
from ablate.spec import Settings, load_study

LOOKS = 10
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Row:
    """rss: (trials behind, bytes)."""

    name: str
    trials: int
    start_s: float  # until the first trial had ended
    wall_s: float
    failed: int
    rss: list[tuple[int, int]]

    @property
    def overhead_ms(self) -> float:
        """Of a trial, the start of the workers left out."""
        return 1000 * (self.wall_s - self.start_s) / (self.trials - 1)

    @property
    def growth_bytes(self) -> float:
        """The parent's growth a trial."""
        behind, size = np.array(self.rss[1:], dtype=float).T
        return float(np.polyfit(behind, size, 1)[0])


def give_back(item: int) -> int:
    return item


def train_nothing() -> None:
    """In each worker: from here on a training is over as soon as it begins."""
    require_torch()
    import ablate.trial

    ablate.trial.run_trial = _nothing


def _nothing(settings: Settings, seed: int, *, folder: Path, environment: Any, **given: Any) -> TrialRecord:
    return TrialRecord(
        id=given["trial_id"],
        variant_id=given["variant_id"],
        seed=seed,
        status="done",
        identity=dict(given["identity"]),
        metrics=TrialMetrics(
            accuracy=0.0,
            accuracy_best=0.0,
            best_epoch=1,
            test_loss=0.0,
            validation_accuracy=0.0,
            validation_loss=0.0,
            train_accuracy=0.0,
            train_loss=0.0,
        ),
        environment=environment,
        started="2025-01-01T00:00:00+00:00",
        wall_s=0.0,
    )


def jobs(root: Path, count: int) -> list[Job]:
    settings = Settings.model_validate({"data": {"source": "digits"}, "model": {"backbone": "cnn"}})
    environment = describe("cpu", threads=1)
    identity = {"settings": settings.model_dump(mode="json"), "data_fingerprint": "0" * 64}
    return [
        Job(
            settings=settings,
            seed=seed,
            trial_id=f"{seed:016x}",
            variant_id="0" * 12,
            identity={**identity, "seed": seed},
            root=root,
            device="cpu",
            environment=environment,
            capture=True,
        )
        for seed in range(count)
    ]


class Watch(NullDisplay):
    """Measures a run from what its display is told."""

    def __init__(self, count: int) -> None:
        self.count, self.behind, self.failed, self.start_s = count, 0, 0, 0.0
        self.rss: list[tuple[int, int]] = []

    def start(self, opening: Opening) -> None:
        self.began = time.perf_counter()

    def finished(self, trial: WatchedTrial, record: TrialRecord) -> None:
        self.behind += 1
        self.wall_s = time.perf_counter() - self.began
        self.failed += record.status != "done"
        if self.behind == 1:
            self.start_s = self.wall_s
        if self.behind % max(1, self.count // LOOKS) == 0:
            self.rss.append((self.behind, psutil.Process().memory_info().rss))

    def row(self, name: str) -> Row:
        return Row(name, self.behind, self.start_s, self.wall_s, self.failed, self.rss)


def measure_run(count: int, pool: Executor, folder: Path) -> Row:
    path, watch = folder / "overhead.yaml", Watch(count)
    path.write_text(
        "name: overhead\nbaseline: baseline\n"
        f"seeds: {list(range(-(-count // 2)))}\n"
        "defaults: {data: {source: digits}, model: {backbone: cnn, args: {width: 0.125}}}\n"
        "variants: {baseline: {}, wider: {model.args.width: 0.25}}\n",
        encoding="utf-8",
    )
    run_study(load_study(path), output=folder / "results", device="cpu", executor=pool, display=watch)
    return watch.row("run")


def measure(name: str, outcomes: Callable[[], Iterator[Outcome[Any, Any]]], count: int) -> Row:
    parent, rss = psutil.Process(), []
    began, start_s, failed = time.perf_counter(), 0.0, 0
    for behind, outcome in enumerate(outcomes(), start=1):
        if behind == 1:
            start_s = time.perf_counter() - began
        failed += outcome.failure is not None or getattr(outcome.value, "status", "done") != "done"
        if behind % max(1, count // LOOKS) == 0:
            rss.append((behind, parent.memory_info().rss))
    return Row(name, count, start_s, time.perf_counter() - began, failed, rss)


def run(count: int, make: Callable[..., Executor]) -> list[Row]:
    """make: (environment, initializer) -> an executor with all its workers."""
    with contextlib.closing(make()) as executor:
        bare = measure("executor", lambda: executor.run(give_back, range(count)), count)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(make(environment=ONE_THREAD, initializer=train_nothing)) as executor,
    ):
        work = jobs(Path(folder), count)
        trial = measure("trial", lambda: executor.run(run_job, work), count)
    with tempfile.TemporaryDirectory() as folder:
        pool = make(environment=ONE_THREAD, initializer=train_nothing)
        return [bare, trial, measure_run(count, pool, Path(folder))]


def run_on_ray(count: int, workers: int) -> list[Row]:
    from ablate.execute.on_ray.executor import RayExecutor

    return run(count, partial(RayExecutor, None, workers))


def measure_inline(count: int) -> Row:
    with InlineExecutor() as executor:
        return measure("inline", lambda: executor.run(give_back, range(count)), count)


def paces(rows: list[Row], count: int, workers: int) -> tuple[list[Pace], list[str]]:
    """Ours and theirs, and a sentence for each that is not installed. count: of trials for the others."""
    names = {
        "inline": "ablate, inline",
        "executor": f"ablate, local, {workers} workers",
        "trial": f"ablate, local, {workers} workers, with its record",
        "run": f"ablate run, {workers} workers",
    }
    found = [
        Pace(names[row.name], row.trials, row.start_s, (row.trials - 1) / max(row.wall_s - row.start_s, 1e-9))
        for row in rows
    ]
    missing = []
    for rival in RIVALS:
        if not rival.installed:
            missing.append(f"{rival.name} is not installed and was left out: pip install {rival.install}")
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            found.append(measure_rival(rival, count, workers, Path(folder)))
    return found, missing


def pace_table(found: list[Pace]) -> str:
    local = next(pace.per_s for pace in found if ", local, " in pace.name)
    lines = ["| Through | Trials | Start, s | Trials/s | Of ablate, local |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {pace.name} | {pace.trials} | {pace.start_s:.2f} | {pace.per_s:,.1f} | {pace.per_s / local:.3g} |"
        for pace in found
    ]
    return "\n".join(lines)


def table(rows: list[Row], what: str = "What") -> str:
    lines = [
        f"| {what} | Trials | Failed | Start, s | Wall, s | Overhead, ms | Parent, MiB "
        "| Growth, KiB a trial |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        first, last = row.rss[0][1] / 2**20, row.rss[-1][1] / 2**20
        lines.append(
            f"| {row.name} | {row.trials} | {row.failed} | {row.start_s:.2f} | {row.wall_s:.2f} "
            f"| {row.overhead_ms:.2f} | {first:.1f} → {last:.1f} | {row.growth_bytes / 1024:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    asked.trials = 20 if asked.quick else asked.trials
    if asked.trials < 20 or asked.workers < 1:
        parser.error("--trials takes 20 or more, --workers 1 or more")
    workers = 2 if asked.quick else asked.workers
    print(heading("cpu", [rival.distribution for rival in RIVALS]))
    rows = run(asked.trials, partial(LocalExecutor, workers))
    print(table(rows))
    if find_spec("ray") is not None:
        print("\n" + table(run_on_ray(asked.trials, workers), "Through Ray"))
    found, missing = paces([measure_inline(asked.trials), *rows], 4 if asked.quick else asked.trials, workers)
    print("\n" + "\n\n".join([pace_table(found), *missing]))


if __name__ == "__main__":
    main()
