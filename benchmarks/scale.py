"""What 100, 10,000 and 1,000,000 trials cost in time, disk and money on 1, 8 and 512 GPUs, for docs/scale.md.

    python benchmarks/scale.py [--minutes 10] [--price 2.5] [--mtbf 50000] [--trees 100,1000,10000] [--quick]

First what can be measured on this machine: what a run spends on a trial, what a trial leaves on the disk
(one of studies/msa.yaml, trained here), and what planning a study and reporting on one take, by their number
of trials. Then a simulated cluster (`simulated_cluster.py`) that trains with these figures, with nodes that
fail. The length of a trial, the price of a GPU hour and the time between failures are assumptions; each has
an option.

Planning and reporting a million trials is not run, but extrapolated along a line through the two largest
sizes that were; the table marks it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from made_up_tree import STUDY, write_tree
from overhead import ONE_THREAD, measure_run, train_nothing
from side_by_side import heading, scratch, table
from simulated_cluster import Cluster, Course, Load, simulate

from ablate.environment import available_cores
from ablate.execute import LocalExecutor

MSA = Path(__file__).resolve().parent.parent / "studies" / "msa.yaml"
TRIALS = (100, 10_000, 1_000_000)
GPUS = (1, 8, 512)
SEEDS = 50  # of the made-up trees
BLOCK = 512  # bytes, as st_blocks counts

# VmHWM, as ru_maxrss also counts what the parent held when it started the process.
_MEASURED = """
import re, resource, sys, time
from pathlib import Path
began = time.perf_counter()
{code}
used, status = resource.getrusage(resource.RUSAGE_SELF), Path("/proc/self/status")
held = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
peak_kb = int(held[1]) if held else used.ru_maxrss
print(used.ru_utime + used.ru_stime, time.perf_counter() - began, peak_kb * 1024)
"""
_PLAN = """
from ablate.runner import plan_study
from ablate.spec import load_study
plan_study(load_study(sys.argv[1]), output=sys.argv[2], device="cpu")
"""
_REPORT = """
from ablate.report import write_report
from ablate.store import Store
write_report(Store(sys.argv[2]), sys.argv[1])
"""


@dataclass(frozen=True)
class Size:
    """What a command took for so many trials: seconds on the processor and by the clock, most memory."""

    trials: int
    processor_s: float
    wall_s: float
    peak_bytes: float


@dataclass(frozen=True)
class Curve:
    """sizes: ascending."""

    sizes: Sequence[Size]

    def at(self, trials: int, field: str) -> float:
        """Between two that were measured, and beyond them, along the line through the nearest two."""
        if len(self.sizes) == 1:
            return getattr(self.sizes[0], field) * trials / self.sizes[0].trials
        place = next(
            (n for n, size in enumerate(self.sizes[1:-1], 1) if trials <= size.trials), len(self.sizes) - 1
        )
        low, high = self.sizes[place - 1], self.sizes[place]
        slope = (getattr(high, field) - getattr(low, field)) / (high.trials - low.trials)
        return max(0.0, getattr(low, field) + slope * (trials - low.trials))

    def measured(self, trials: int) -> bool:
        return trials <= self.sizes[-1].trials


# Measured here


def measure_size(code: str, trials: int, first: Path | str, second: Path, folder: Path) -> Size:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ABLATE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", _MEASURED.format(code=code), str(first), str(second)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    processor_s, wall_s, peak = map(float, done.stdout.split()[-3:])
    return Size(trials, processor_s, wall_s, peak)


def measure_plans(trials: Sequence[int], folder: Path) -> Curve:
    sizes = []
    for count in trials:
        path, seeds = folder / f"plan-{count}.yaml", _seeds(count)
        others = "".join(
            f"  change {n}: {{train.optimizer.lr: {n / 1000}}}\n" for n in range(1, count // seeds)
        )
        path.write_text(
            f"name: planned\nbaseline: baseline\nseeds: {seeds}\n"
            "defaults: {data: {source: digits}, model: {backbone: cnn, args: {width: 0.125}}}\n"
            f"variants:\n  baseline: {{}}\n{others}",
            encoding="utf-8",
        )
        sizes.append(measure_size(_PLAN, count, path, folder / "nothing", folder))
    return Curve(sizes)


def measure_reports(trials: Sequence[int], folder: Path) -> Curve:
    sizes = []
    for count in trials:
        root = folder / f"tree-{count}"
        seeds = _seeds(count)
        write_tree(root, max(4, count // seeds), seeds)
        sizes.append(measure_size(_REPORT, max(4, count // seeds) * seeds, STUDY, root, folder))
    return Curve(sizes)


def _seeds(trials: int) -> int:
    """As few variants as a made-up tree takes, and no more seeds than a real study would have."""
    return min(SEEDS, max(2, trials // 4))


def measure_trial(folder: Path, epochs: int | None) -> list[tuple[str, int, int]]:
    """(file, its bytes, its bytes on the disk) of one trial of studies/msa.yaml."""
    command = [
        sys.executable,
        "-m",
        "ablate",
        "run",
        str(MSA),
        "--only",
        "msa",
        "--seeds",
        "0",
        "--device",
        "cpu",
    ]
    command += ["-o", str(folder), "-q", "train.keep=last", *([f"train.epochs={epochs}"] if epochs else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    (trial,) = (folder / "trials").iterdir()
    found = [(path.name, path.stat()) for path in sorted(trial.iterdir())]
    return [(name, of.st_size, of.st_blocks * BLOCK) for name, of in found]


# Said


def span(seconds: float) -> str:
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def sizes_table(name: str, curve: Curve) -> str:
    rows = [
        [f"{each.trials:,}", f"{each.wall_s:.2f}", f"{each.processor_s:.2f}", size(each.peak_bytes)]
        for each in curve.sizes
    ]
    return table([f"{name}, trials", "Seconds", "On the processor", "Memory at its peak"], rows)


def files_table(files: Sequence[tuple[str, int, int]]) -> str:
    rows = [[name, f"{count:,}", f"{on_disk:,}"] for name, count, on_disk in files]
    rows.append(["together", f"{sum(f[1] for f in files):,}", f"{sum(f[2] for f in files):,}"])
    return table(["What a trial leaves", "Bytes", "On the disk"], rows)


def scenario_row(
    course: Course, trials: int, asked: argparse.Namespace, plans: Curve, reports: Curve, disk: float
) -> list[str]:
    def of(curve: Curve) -> str:
        mark = "" if curve.measured(trials) else "~"
        return mark + span(curve.at(trials, "processor_s"))

    return [
        f"{trials:,}",
        str(course.gpus),
        span(course.wall_s),
        f"{100 * course.in_use:.1f} %",
        str(course.trials_lost),
        f"{100 * course.lost_s / course.busy_s:.2f} %",
        f"{100 * course.driver_s / course.wall_s:.1f} %",
        of(plans),
        of(reports),
        size(disk * trials),
        f"{asked.price * course.gpus * course.wall_s / 3600:,.0f}",
    ]


HEAD = [
    "Trials",
    "GPUs",
    "Training",
    "GPUs in use",
    "Lost with a node",
    "Of the work",
    "Run's own",
    "Plan",
    "Report",
    "Disk",
    "Money",
]


def limits(driver_s: float, asked: argparse.Namespace, reports: Curve, on_disk: float) -> str:
    longest, most = 60 * asked.minutes, reports.sizes[-1]
    rows = [[f"{seconds:g} s", f"{seconds / driver_s:,.0f}"] for seconds in (1, 10, 60, longest)]
    each_ms, each_kb = 1000 * driver_s, most.peak_bytes / most.trials / 1000
    million = size(reports.at(1_000_000, "peak_bytes"))
    return "\n\n".join(
        [
            f"One run hands out a trial every {each_ms:.1f} ms, so it keeps at most so many GPUs busy:",
            table(["A trial of", "GPUs"], rows),
            f"A report holds {each_kb:.0f} kB in memory for each trial at {most.trials:,} trials; a million "
            f"would take about {million}. A million trials are {size(1e6 * on_disk)} on the disk.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="length of a trial on one GPU")
    parser.add_argument("--price", type=float, default=2.5, help="of a GPU hour, in any currency")
    parser.add_argument("--mtbf", type=float, default=50_000.0, help="hours between failures of one GPU")
    parser.add_argument("--trees", default="100,1000,10000", help="numbers of trials to plan and report")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    try:
        trees = sorted({int(part) for part in asked.trees.split(",")})
    except ValueError:
        parser.error(f"--trees takes numbers with commas between, not {asked.trees!r}")
    if min(asked.minutes, asked.mtbf) <= 0 or asked.price < 0 or trees[0] < 20:
        parser.error("--minutes and --mtbf take more than 0, --trees 20 or more each")
    if asked.quick:
        trees = [20, 40]
    print(heading("cpu"))
    with scratch() as name:
        folder = Path(name)
        (folder / "run").mkdir()
        pool = LocalExecutor(available_cores(), ONE_THREAD, initializer=train_nothing)
        run = measure_run(40 if asked.quick else 1000, pool, folder / "run")
        driver_s = run.overhead_ms / 1000
        files = measure_trial(folder / "trained", 1 if asked.quick else None)
        plans, reports = measure_plans(trees, folder), measure_reports(trees, folder)
    left = sum(on_disk for name, _, on_disk in files if name != "weights.safetensors")
    print(
        f"A run spends {run.overhead_ms:.1f} ms on a trial beside its training (as benchmarks/overhead.py)\n"
    )
    print(files_table(files), sizes_table("Plan", plans), sizes_table("Report", reports), sep="\n\n")
    print(
        f"\nSimulated: trials of {asked.minutes:g} minutes on one GPU each; a GPU fails once in "
        f"{asked.mtbf:,.0f} hours and takes its node of 8 with it for half an hour; checkpoints every 5 "
        f"minutes; {asked.price:g} a GPU hour; weights not kept. ~: extrapolated.\n"
    )
    rows = []
    for trials in TRIALS if not asked.quick else TRIALS[:2]:
        for gpus in GPUS:
            load = Load(trials, 60 * asked.minutes, driver_s=driver_s)
            course = simulate(load, Cluster(gpus, min(8, gpus), asked.mtbf))
            rows.append(scenario_row(course, trials, asked, plans, reports, left))
    print(table(HEAD, rows))
    print("\n" + limits(driver_s, asked, reports, left))


if __name__ == "__main__":
    main()
