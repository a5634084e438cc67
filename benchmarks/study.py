"""A whole study through `ablate run` against the same trials, one after another, by the plain script.

    python benchmarks/study.py [STUDY] [--full] [--device cpu] [--rounds 1] [--quick]

Both start from nothing, in processes of their own: the time is that of the command, with imports, planning,
validation, test and, on our side, checkpoints, records, costs and the report. By default a short form of
studies/msa.yaml (four variants, two seeds, one epoch); --full is all of it, and another STUDY is always run
whole. The script (`plain.py`) is given our networks, optimisers and schedules, and trains in one process, so
that it imports torch once; its loader's workers are at 0 and at all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from side_by_side import Spread, Turns, heading, ratio, scratch, table, take_turns

from ablate.environment import available_cores, require_torch, resolve_device

torch = require_torch()

HERE = Path(__file__).resolve().parent
MSA = HERE.parent / "studies" / "msa.yaml"


@dataclass(frozen=True)
class Part:
    """What of a study is run. Nothing named: all of it."""

    names: Sequence[str] = ()
    seeds: Sequence[int] = ()
    settings: Sequence[str] = ()

    @property
    def options(self) -> list[str]:
        seeds = ["--seeds", ",".join(map(str, self.seeds))] if self.seeds else []
        return [*seeds, *(part for name in self.names for part in ("--only", name))]

    def holds(self, name: str, seed: int) -> bool:
        return (not self.names or name in self.names) and (not self.seeds or seed in self.seeds)


SHORT = Part(("baseline", "multi-scale", "spatial", "msa"), (0, 1), ("train.epochs=1",))
QUICK = Part(("baseline", "msa"), (0,), ("train.epochs=1", "data.fraction=0.05"))


@dataclass
class Study:
    """The study's part that is run, and how often each side has run it."""

    path: Path
    part: Part
    device: str
    folder: Path
    count: int = field(default=0, init=False)

    def ours(self) -> None:
        self._ablate("run", "--quiet", "--output", str(self._next()), "--device", self.device)

    def plain(self, workers: int) -> None:
        """All trials one after another, in one process."""
        out = self._next().with_suffix(".csv")
        trials = self.folder / "trials.json"
        script = [sys.executable, str(HERE / "plain.py"), str(trials), str(out)]
        _call([*script, "--device", self.device, "--workers", str(workers)])

    def plan(self) -> int:
        """Write the trials down for the script: how many they are."""
        fresh = ["--output", str(self._next())]
        output = self._ablate("plan", "--no-estimate", "--format", "json", "--device", self.device, *fresh)
        plan = json.loads(output)
        trials = [
            {"settings": variant["settings"], "seed": seed}
            for variant in plan["variants"]
            for seed in variant["seeds"]
            if self.part.holds(variant["name"], seed)
        ]
        if len(trials) != plan["pending"]:
            sys.exit(f"{self.path}: the script can train {len(trials)} trials of {plan['pending']}")
        (self.folder / "trials.json").write_text(json.dumps(trials), encoding="utf-8")
        return len(trials)

    def _ablate(self, command: str, *options: str) -> str:
        head = [sys.executable, "-m", "ablate", command, str(self.path), *self.part.settings]
        return _call([*head, *options, *self.part.options])

    def _next(self) -> Path:
        self.count += 1
        return self.folder / f"results-{self.count}"


def _call(command: Sequence[str]) -> str:
    """Its standard output. Ends this program with what it said if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def run(asked: argparse.Namespace, device: str) -> str:
    part = QUICK if asked.quick else Part() if asked.full or asked.study != MSA else SHORT
    with scratch() as name:
        study = Study(asked.study, part, device, Path(name))
        trials, cores = study.plan(), available_cores()
        arms: dict[str, Any] = {
            "ablate run": study.ours,
            "plain script, 0 workers": lambda: study.plain(0),
            f"plain script, {cores} workers": lambda: study.plain(cores),
        }
        turns = take_turns(arms, asked.rounds, warm_up=False)
    return f"{_words(asked.study, trials, part)}\n\n{_table(turns, trials)}"


def _words(study: Path, trials: int, part: Part) -> str:
    said = " ".join([*part.settings, *part.options])
    return f"{study.name}, {trials} trials{f' ({said})' if said else ''}."


def _table(turns: Turns, trials: int) -> str:
    wall = turns.wall_s
    rows = [
        [
            name,
            f"{Spread.of(wall[name]):.1f}",
            f"{Spread.of(wall[name]).median / trials:.2f}",
            f"{ratio(wall, name, 'ablate run'):.2f}",
        ]
        for name in wall
    ]
    return table(["The study", "Seconds", "Seconds a trial", "Of ablate run"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, nargs="?", default=MSA)
    parser.add_argument("--full", action="store_true", help="all variants, seeds and epochs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=1, help="each side runs twice a round")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    print(heading(device, ["torchvision"]))
    print(run(asked, device))


if __name__ == "__main__":
    main()
