"""What a trial costs beside its training when it is a job of a Slurm cluster.

    python benchmarks/slurm.py [--trials 100] [--at-once 2] [--quick]

The cluster is this one machine, started by `scripts/slurm_cluster.py` and ended afterwards (Debian's
slurm-wlm and root or sudo are needed), or the one that SLURM_CONF names. Each row is of an array of trials:

- executor: a function that gives its item back, in a job of its own.
- trial: `run_job` whose training does nothing, with the import of torch, folder, output and record.

The overhead is wall time over trials, what passes before the first has ended left out, as in `overhead.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from overhead import ONE_THREAD, Row, give_back, jobs, measure, table, train_nothing
from side_by_side import heading

from ablate.environment import available_cores
from ablate.execute.on_slurm.executor import SlurmExecutor
from ablate.runner.job import run_job

CLUSTER = Path(__file__).resolve().parent.parent / "scripts" / "slurm_cluster.py"


@contextlib.contextmanager
def cluster(folder: Path, cpus: int) -> Iterator[None]:
    if "SLURM_CONF" in os.environ:
        yield
        return
    command = [sys.executable, str(CLUSTER), "start", str(folder), "--cpus", str(cpus)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if said.returncode:
        raise SystemExit(said.returncode)
    os.environ["SLURM_CONF"] = said.stdout.strip().partition("SLURM_CONF=")[2]
    try:
        yield
    finally:
        subprocess.run([sys.executable, str(CLUSTER), "stop", str(folder)], check=True)


def run(count: int, at_once: int, folder: Path) -> list[Row]:
    with SlurmExecutor(folder / "bare", at_once) as executor:
        bare = measure("executor", lambda: executor.run(give_back, range(count)), count)
    with SlurmExecutor(folder / "jobs", at_once, None, ONE_THREAD, initializer=train_nothing) as executor:
        work = jobs(folder / "results", count)
        return [bare, measure("trial", lambda: executor.run(run_job, work), count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=available_cores(), help="and CPUs of the cluster")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    count = 4 if asked.quick else asked.trials
    if count < 4 or asked.at_once < 1:
        parser.error("--trials takes 4 or more, --at-once 1 or more")
    print(heading("cpu", ["submitit"]))
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder, "cluster"), asked.at_once):
        said = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=True).stdout
        print(f"{said.strip()}, {asked.at_once} jobs at once\n")
        print(table(run(count, asked.at_once, Path(folder, "work"))))


if __name__ == "__main__":
    main()
