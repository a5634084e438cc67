"""Several seeds of one variant trained together on one GPU, against one alone, and other ways to share it.

    python benchmarks/seeds.py [--seeds 8] [--device cuda] [--images N] [--rounds 5] [--accuracy] [--quick]

An epoch of system S1, with augmentation and validation, of all seeds:

- alone: one seed by `fit`, as a trial trains it. One after another takes as many times as long.
- stacked: `fit_stacked`, one pass for all seeds.
- streams: `fit` in a thread and a CUDA stream of each seed. (All threads draw dropout from one generator, so
  this is measured for its speed alone.)
- processes: `fit` in a process of each seed, all on the same device.

On a CPU seeds are not trained together, as nothing lies idle there; `--device cpu` shows what it would cost.
--accuracy: in place of that, the final test accuracy of twenty seeds on digits, alone and stacked, and
whether the mean difference lies within 0.3 points.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Paced, Spread, heading, ratio, s1, scratch, table, take_turns

from ablate.environment import require_torch, resolve_device
from ablate.spec import Settings

torch = require_torch()

from ablate import trial  # noqa: E402 - after the check that torch is whole
from ablate.data import load_images  # noqa: E402
from ablate.seeds import derive_seed  # noqa: E402
from ablate.train import Batches, Recipe, evaluate, fit  # noqa: E402
from ablate.train.stacked import fit_stacked  # noqa: E402

GOAL = 2.0  # of one seed's epoch, for eight seeds together
MARGIN = 0.3  # points of final test accuracy
OFF = (
    "Off by design: on a CPU one seed leaves nothing idle that another could use, and a study's workers take "
    "seeds side by side. --device cpu measures it all the same."
)


class Trained:
    """What `run_trial` trains of one seed: network and batches, and the generator of its dropout."""

    def __init__(self, settings: Settings, seed: int, device: str, cache: Path | None) -> None:
        self.recipe: Recipe = trial.make_recipe(settings, device)
        wanted = settings.data
        images = load_images(wanted.source, root=wanted.root, cache=cache)
        self.data = trial.TrialData.prepare(settings, seed, self.recipe, device, images)
        self.train: Batches = self.data.train_batches(settings, seed)
        self.validation: Batches = self.data.plain_batches(self.data.split.validation)
        self.network = trial.build_for(settings, images.shape, len(images.classes), seed)
        self.dropout_seed, self.device = derive_seed(seed, "dropout"), device

    def fit(self, log: Any = None) -> None:
        fit(
            self.network,
            self.train,
            self.validation,
            self.recipe,
            device=self.device,
            dropout_seed=self.dropout_seed,
            log=log,
        )

    def test_accuracy(self) -> float:
        return evaluate(
            self.network, self.data.test_batches(), device=self.device, precision=self.recipe.precision
        ).accuracy


def fit_together(seeds: Sequence[Trained], on_epoch: Callable[[int], object] | None = None) -> None:
    fit_stacked(
        [one.network for one in seeds],
        [one.train for one in seeds],
        [one.validation for one in seeds],
        seeds[0].recipe,
        device=seeds[0].device,
        dropout_seeds=[one.dropout_seed for one in seeds],
        on_epoch=on_epoch,
    )


# Speed


class _Halts:
    """A log that halts after each epoch."""

    def __init__(self, halt: Callable[[], None]) -> None:
        self._halt = halt

    def epoch(self, *of_epoch: Any) -> None:
        self._halt()


def paced(one: Trained) -> Paced:
    return Paced(lambda halt: one.fit(_Halts(halt)))


class Streams:
    """A thread and a stream of each seed; a call lets all of them go on for an epoch."""

    def __init__(self, seeds: Sequence[Trained], device: str) -> None:
        self._all = [Paced(lambda halt, one=one: self._train(one, halt)) for one in seeds]
        self._on_gpu = device != "cpu"

    def _train(self, one: Trained, halt: Callable[[], None]) -> None:
        stream = torch.cuda.stream(torch.cuda.Stream()) if self._on_gpu else nullcontext()
        with stream:
            one.fit(_Halts(halt))

    def __call__(self) -> None:
        for each in self._all:
            each.go()
        for each in self._all:
            each.wait()

    def close(self) -> None:
        for each in self._all:
            each.close()


class Processes:
    """A process of each seed; a call lets all of them go on for an epoch."""

    def __init__(self, settings: Settings, count: int, device: str, cache: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes, self._all = [], []
        for seed in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_train_on_call, args=(theirs, settings, seed, device, cache))
            process.start()
            self._pipes.append(ours)
            self._all.append(process)

    def __call__(self) -> None:
        for pipe in self._pipes:
            pipe.send(True)
        for pipe in self._pipes:
            pipe.recv()

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(False)
        for process in self._all:
            process.join()


def _train_on_call(pipe: Any, settings: Settings, seed: int, device: str, cache: Path) -> None:
    torch.set_num_threads(1)
    one = paced(Trained(settings, seed, device, cache))
    while pipe.recv():
        one()
        pipe.send(None)
    one.close()


def run(device: str, count: int, images: int, rounds: int) -> str:
    settings = s1(images)
    with scratch() as name, ExitStack() as open_ones:
        cache = Path(name) / "cache"

        def seeds(number: int) -> list[Trained]:
            return [Trained(settings, seed, device, cache) for seed in range(number)]

        together = seeds(count)
        arms: dict[str, Any] = {
            "one alone": paced(seeds(1)[0]),
            f"{count} stacked": Paced(lambda halt: fit_together(together, lambda _: halt())),
            f"{count} streams": Streams(seeds(count), device),
            f"{count} processes": Processes(settings, count, device, cache),
        }
        for arm in arms.values():
            open_ones.callback(arm.close)
        turns = take_turns(arms, rounds)
    rows = [
        [
            name,
            f"{Spread.of(seconds):.3f}",
            f"{(1 if name == 'one alone' else count) * images / Spread.of(seconds).median:,.0f}",
            f"{ratio(turns.wall_s, name, 'one alone'):.2f}",
        ]
        for name, seconds in turns.wall_s.items()
    ]
    said = f"S1, {images} training images, {together[0].recipe.precision}; one after another: {count:.2f}."
    goal = (
        f" Goal: {count} seeds in at most {GOAL:g} times the time of one." if device != "cpu" else f" {OFF}"
    )
    return f"{said}{goal}\n\n{table(['Epoch of', 'Seconds', 'Images/s', 'Of one alone'], rows)}"


# Accuracy


def accuracy(device: str, count: int, epochs: int) -> str:
    """Twenty seeds on digits, each alone and all stacked; the same draws, so the differences are paired."""
    from scipy import stats

    settings = Settings.model_validate(
        {
            "data": {"source": "digits", "augment": {"crop": 1, "rotate": 10}},
            "model": {"backbone": "cnn", "args": {"width": 0.25}},
            "train": {
                "batch_size": 64,
                "epochs": epochs,
                "optimizer": {"name": "adam", "lr": 2e-3},
                "schedule": {"name": "cosine"},
            },
        }
    )
    with scratch() as name:
        alone, stacked = (
            [Trained(settings, seed, device, Path(name) / "cache") for seed in range(count)] for _ in range(2)
        )
        for one in alone:
            one.fit()
        for start in range(0, count, 10):
            fit_together(stacked[start : start + 10])
        found = np.array(
            [[one.test_accuracy(), other.test_accuracy()] for one, other in zip(alone, stacked, strict=True)]
        )
    apart = found[:, 1] - found[:, 0]
    error = apart.std(ddof=1) / np.sqrt(count)
    low, high = apart.mean() + np.array([-1, 1]) * stats.t.ppf(0.95, count - 1) * error
    verdict = "equivalent" if low > -MARGIN and high < MARGIN else "not shown to be equivalent"
    rows = [
        [name, f"{column.mean():.3f}", f"{column.std(ddof=1):.3f}"]
        for name, column in zip(("alone", "stacked"), found.T, strict=True)
    ]
    rows.append(["stacked - alone, paired", f"{apart.mean():+.3f}", f"{apart.std(ddof=1):.3f}"])
    return (
        f"Test accuracy on digits, {count} seeds, {epochs} epochs, in percent.\n\n"
        f"{table(['Trained', 'Mean', 'Seed sd'], rows)}\n\n"
        f"90 % interval of the mean difference: [{low:+.3f}, {high:+.3f}] points: {verdict} "
        f"within ±{MARGIN:g}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seeds", type=int, help="8; 20 with --accuracy")
    parser.add_argument("--images", type=int, help="to train with; by default 640 on a CPU, else 45,000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accuracy", action="store_true", help="alone against stacked, on digits")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    torch.set_num_threads(1)
    print(heading(device, ["torchvision"]))
    if asked.accuracy:
        print(accuracy(device, asked.seeds or (3 if asked.quick else 20), 1 if asked.quick else 15))
    elif asked.device == "auto" and device == "cpu":
        print(OFF)
    else:
        count = asked.seeds or (2 if asked.quick else 8)
        images = asked.images or (128 if asked.quick else 640 if device == "cpu" else 45_000)
        print(run(device, count, images, 1 if asked.quick else asked.rounds))


if __name__ == "__main__":
    main()
