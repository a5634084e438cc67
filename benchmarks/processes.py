"""What it costs to train one trial by several processes: plain training against one, and two, processes that
torch's launcher started.

    python benchmarks/processes.py [--images N] [--rounds 3] [--quick]

System S1 on the CPU, one thread a process. plain: `fit` as every trial has it. launched, 1 process: the same
through the launcher, DistributedDataParallel and shared batch norm, with nobody to share with. launched, 2
processes: halves of every batch. Images a second are those of the median epoch; processor time is that of the
first process while it trains, which what else the machine does hardly moves; start-up is all but the fit,
above all loading torch in each process. The arms take turns there and back (A B B A).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from side_by_side import Spread, heading, ratio, s1, scratch, table, take_turns

from ablate.environment import require_torch
from ablate.spec import Settings

torch = require_torch()

from ablate import trial  # noqa: E402 - after the check that torch is whole
from ablate.data import load_images  # noqa: E402
from ablate.train import fit  # noqa: E402
from ablate.train.distributed import Ranks  # noqa: E402
from ablate.trial.launch import in_ranks  # noqa: E402
from ablate.trial.sharing import share_of  # noqa: E402


@dataclass(frozen=True)
class Work:
    settings: Settings
    cache: Path


@dataclass(frozen=True)
class Told:
    """Of one training. images_per_s: of the median epoch. start_s: of all but the fit."""

    images_per_s: float
    fit_s: float
    processor_s: float
    waited_share: float
    start_s: float = 0.0


def train(work: Work, ranks: Ranks | None = None, device: str = "cpu") -> Told:
    torch.set_num_threads(1)
    settings = work.settings
    recipe = trial.make_recipe(settings, device)
    images = load_images(settings.data.source, root=settings.data.root, cache=work.cache)
    data = trial.TrialData.prepare(settings, 0, recipe, device, images)
    share = None if ranks is None else share_of(recipe, ranks.rank, ranks.size)
    network = trial.build_for(settings, images.shape, len(images.classes), 0)
    began, began_on = time.perf_counter(), time.process_time()
    result = fit(
        network,
        data.train_batches(settings, 0, share),
        data.plain_batches(data.split.validation),
        recipe,
        device=device,
        dropout_seed=0,
        ranks=ranks,
    )
    took_s, processor_s = time.perf_counter() - began, time.process_time() - began_on
    return Told(result.images_per_s, took_s, processor_s, result.waited_share or 0.0)


def arm(work: Work, processes: int | None, told: list[Told]) -> Callable[[], Any]:
    """One training, told of to `told`."""

    def run() -> None:
        began = time.perf_counter()
        found = train(work) if processes is None else in_ranks(train, work, processes, "cpu")
        told.append(replace(found, start_s=time.perf_counter() - began - found.fit_s))

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="smallest sizes, to see that it runs")
    asked = parser.parse_args()
    images, rounds, epochs = (300, 1, 1) if asked.quick else (asked.images, asked.rounds, 3)
    print(heading())
    kinds = {"plain": None, "launched, 1 process": 1, "launched, 2 processes": 2}
    told: dict[str, list[Told]] = {name: [] for name in kinds}
    with scratch() as folder:
        work = Work(s1(images, epochs), Path(folder) / "cache")
        train(work)  # decodes the images
        arms = {name: arm(work, processes, told[name]) for name, processes in kinds.items()}
        take_turns(arms, rounds, warm_up=False)
    seconds = {name: [1 / one.images_per_s for one in found] for name, found in told.items()}
    processor = {name: [one.processor_s for one in found] for name, found in told.items()}
    rows = [
        [
            name,
            f"{Spread.of([one.images_per_s for one in found]):,.0f}",
            f"{ratio(seconds, name, 'plain'):.2f}",
            f"{ratio(processor, name, 'plain'):.2f}",
            f"{Spread.of([100 * one.waited_share for one in found]):.0f} %",
            f"{Spread.of([one.start_s for one in found]):.1f} s",
        ]
        for name, found in told.items()
    ]
    print()
    print(
        table(
            ["One trial", "Images/s", "Time, of plain", "Processor time, of plain", "Waiting", "Start-up"],
            rows,
        )
    )


if __name__ == "__main__":
    main()
