"""Others that run many trials, given trials that do nothing: joblib, Hydra's multirun, Ray Tune.

Each leaves a line with the time when a trial of its own has ended; what passed before the first is the start.
`python benchmarks/rivals.py hydra TIMES KEY=VALUE…` is the program that Hydra runs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Rival:
    """module: whose absence leaves it out. most: trials given to it at most, as it takes its time."""

    name: str
    module: str
    install: str
    most: int
    run: Callable[[int, int, Path], list[float]]

    @property
    def distribution(self) -> str:
        return self.install.strip('"').partition("[")[0]

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class Pace:
    """start_s: until the first trial had ended. per_s: trials a second from then on."""

    name: str
    trials: int
    start_s: float
    per_s: float

    @classmethod
    def of(cls, name: str, began: float, ends: list[float]) -> Pace:
        first, last = min(ends), max(ends)
        return cls(name, len(ends), first - began, (len(ends) - 1) / max(last - first, 1e-9))


def measure(rival: Rival, count: int, workers: int, folder: Path) -> Pace:
    began = time.time()  # of all processes, unlike the monotonic clock on some systems
    ends = rival.run(min(count, rival.most), workers, folder)
    return Pace.of(rival.name, began, ends)


def note_end(path: Path) -> None:
    """One short line, which the system appends whole however many write at once."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{time.time()}\n")


def ends_in(path: Path, count: int) -> list[float]:
    ends = [float(line) for line in path.read_text(encoding="utf-8").split()]
    if len(ends) != count:
        raise RuntimeError(f"{len(ends)} of {count} trials left the time of their end in {path}")
    return ends


def with_joblib(count: int, workers: int, folder: Path) -> list[float]:
    import joblib

    del folder
    work = (joblib.delayed(_give_back)(item) for item in range(count))
    return [time.time() for _ in joblib.Parallel(workers, return_as="generator_unordered")(work)]


def _give_back(item: int) -> int:
    return item


def with_hydra(count: int, workers: int, folder: Path) -> list[float]:
    """Its own launcher, which runs one after another in one process."""
    del workers
    times = folder / "hydra.txt"
    sweep = [f"+seed=range({count})", f"hydra.sweep.dir={folder / 'multirun'}", "hydra.verbose=false"]
    command = [sys.executable, str(Path(__file__).resolve()), "hydra", str(times), "--multirun", *sweep]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return ends_in(times, count)


def _hydra_program(times: Path, arguments: list[str]) -> None:
    import hydra

    sys.argv = [sys.argv[0], *arguments]

    @hydra.main(version_base=None, config_path=None)
    def trial(settings: Any) -> float:
        note_end(times)
        return 0.0 * settings.seed

    trial()


def with_ray(count: int, workers: int, folder: Path) -> list[float]:
    times = folder / "ray.txt"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    with _ray(workers) as ray:
        from ray import tune

        def trial(settings: dict[str, Any]) -> dict[str, float]:
            with times.open("a", encoding="utf-8") as file:  # a worker knows nothing of this module
                file.write(f"{time.time()}\n")
            return {"accuracy": 0.0 * settings["seed"]}

        tune.Tuner(
            trial,
            param_space={"seed": tune.grid_search(list(range(count)))},
            run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
        ).fit()
        del ray
    return ends_in(times, count)


@contextlib.contextmanager
def _ray(workers: int) -> Iterator[Any]:
    import ray

    ray.init(
        address="local",  # a cluster of its own, whatever runs beside
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        logging_level="error",
    )
    try:
        yield ray
    finally:
        ray.shutdown()


RIVALS = (
    Rival("joblib", "joblib", "joblib", 10_000, with_joblib),
    Rival("Hydra's multirun", "hydra", "hydra-core", 100, with_hydra),
    Rival("Ray Tune", "ray", '"ray[tune]"', 24, with_ray),
)


if __name__ == "__main__":
    _hydra_program(Path(sys.argv[2]), sys.argv[3:])
