"""How long the commands take that train nothing, from the shell's point of view.

    python benchmarks/startup.py [--rounds 3] [--variants 200] [--seeds 50] [--only WORD] [--quick]

Each is a process of its own, in turns with a bare `python -c pass` and with one that imports torch: no
command can be faster than the first, none that needs torch than the second. `report` reads a finished study
of variants × seeds trials (`made_up_tree.py`), each with record, predictions and curve; the renderings that
print one form and write nothing stand beside it. `plan` is measured as the first of a study, when nothing is
known of its networks, and as any after it. Seconds are by the clock; those on the processor leave out what
other programs took meanwhile.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from made_up_tree import STUDY, write_tree
from side_by_side import Spread, heading, ratio, scratch, table

MSA = Path(__file__).resolve().parent.parent / "studies" / "msa.yaml"
BARE, TORCH = "python -c pass", "python -c 'import torch'"
HELP, VALIDATE, PLAN, REPORT = "--help", "validate msa.yaml", "plan msa.yaml", "report"
# Before a command: what earlier ones found out of networks is forgotten.
FIRST = "the first "
GOALS_S = {HELP: 0.3, VALIDATE: 0.5, FIRST + PLAN: 3.0, PLAN: 3.0, REPORT: 10.0}
FORMATS = ("json", "html", "latex")


@dataclass
class Measured:
    """Of each command in each round: seconds by the clock, and on the processor with all its children."""

    wall_s: dict[str, list[float]] = field(default_factory=dict)
    processor_s: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, command: Sequence[str], folder: Path) -> None:
        before, began = _children_s(), time.perf_counter()
        _call(command, folder)
        self.wall_s.setdefault(name, []).append(time.perf_counter() - began)
        self.processor_s.setdefault(name, []).append(_children_s() - before)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _call(command: Sequence[str], folder: Path) -> None:
    """Ends this program with what the command said if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ABLATE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def commands(results: Path) -> dict[str, list[str]]:
    python = [sys.executable]
    ablate = [*python, "-m", "ablate"]
    plan = [*ablate, "plan", str(MSA), "--device", "cpu"]
    report = [*ablate, "report", STUDY, "-o", str(results)]
    return {
        BARE: [*python, "-c", "pass"],
        TORCH: [*python, "-c", "import torch"],
        HELP: [*ablate, "--help"],
        VALIDATE: [*ablate, "validate", str(MSA)],
        f"{FIRST}{PLAN} --no-estimate": [*plan, "--no-estimate"],
        FIRST + PLAN: plan,
        PLAN: plan,
        REPORT: report,
        **{f"report --format {name}": [*report, "--format", name] for name in FORMATS},
    }


def run(variants: int, seeds: int, rounds: int, only: str = "") -> str:
    """only: a word of the commands to measure, beside the two of Python itself."""
    count, said = variants * seeds, f"{rounds} rounds."
    with scratch() as name:
        folder = Path(name)
        every = commands(folder / "results")
        asked = {name: command for name, command in every.items() if only in name or name in (BARE, TORCH)}
        if any(name.startswith(REPORT) for name in asked):
            write_tree(folder / "results", variants, seeds)
            said = f"The tree of `report`: {variants} variants × {seeds} seeds = {count:,} trials; {said}"
        found = Measured()
        _call(every[PLAN], folder)  # compiles what is new to Python, and fills the cache of images
        for _ in range(rounds):
            for name, command in asked.items():
                if name.startswith(FIRST):
                    shutil.rmtree(folder / "cache" / "networks")
                found.add(name, command, folder)
    return f"{said}\n\n{_table(found)}\n\n{_goals(found.wall_s)}"


def _table(found: Measured) -> str:
    head = ["Command", "Seconds", "On the processor", "Goal, s", "Of a bare python", "Of importing torch"]
    rows = [
        [
            name,
            f"{Spread.of(seconds):.2f}",
            f"{Spread.of(found.processor_s[name]):.2f}",
            f"{GOALS_S[name]:g}" if name in GOALS_S else "",
            f"{ratio(found.wall_s, name, BARE).median:.1f}",
            f"{ratio(found.wall_s, name, TORCH).median:.2f}",
        ]
        for name, seconds in found.wall_s.items()
    ]
    return table(head, rows)


def _goals(wall_s: Mapping[str, Sequence[float]]) -> str:
    over_s = {name: Spread.of(wall_s[name]).median - goal for name, goal in GOALS_S.items() if name in wall_s}
    missed = [f"{name} by {seconds:.2f} s" for name, seconds in over_s.items() if seconds > 0]
    return f"Goals missed: {', '.join(missed)}." if missed else "Every goal is met."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--only", metavar="WORD", default="", help="commands with this word, such as plan")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    if asked.variants < 4 or asked.seeds < 2 or asked.rounds < 1:
        parser.error("--variants takes 4 or more, --seeds 2 or more, --rounds 1 or more")
    variants, seeds, rounds = (4, 2, 1) if asked.quick else (asked.variants, asked.seeds, asked.rounds)
    print(heading("cpu", ["matplotlib", "pandas"]))
    print(run(variants, seeds, rounds, asked.only))


if __name__ == "__main__":
    main()
