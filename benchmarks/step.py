"""Our training against the bare limit: the same network stepped on tensors that already lie on the device.

    python benchmarks/step.py [--device cpu] [--images N] [--rounds 7] [--quick]

ours: an epoch of `run_trial` on system S1, with augmentation, validation, curves, log, progress file and
checkpoints. bare: as many steps on ready batches, nothing drawn, augmented, counted or written, and one pass
over the validation images. Both take turns epoch by epoch in one process, with one thread. The second table
takes the distance apart: each part runs alone, as often as an epoch runs it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from side_by_side import Spread, Turns, heading, our_trial, ratio, s1, scratch, table, take_turns

from ablate.environment import require_torch, resolve_device
from ablate.spec import Settings

torch = require_torch()

from torch import Tensor, nn  # noqa: E402 - after the check that torch is whole
from torch.nn import functional  # noqa: E402

from ablate import trial  # noqa: E402
from ablate.data import load_images  # noqa: E402
from ablate.train import Checkpoints, CurveFiles, EpochRow, StepRow, evaluate, numerics  # noqa: E402
from ablate.train.fit import count_steps  # noqa: E402
from ablate.train.precision import autocast  # noqa: E402
from ablate.train.state import FitState, prepare  # noqa: E402

Arm = Callable[[], object]
GOAL = {"cpu": 1.06, "cuda": 1.10}
UNAUGMENTED = {"crop": 0, "flip": False, "jitter": 0.0, "rotate": 0.0}


@dataclass
class Bench:
    """The pieces of a trial of S1, as `run_trial` puts them together."""

    settings: Settings
    device: str
    cache: Path

    def __post_init__(self) -> None:
        self.recipe = trial.make_recipe(self.settings, self.device)
        wanted = self.settings.data
        images = load_images(wanted.source, root=wanted.root, cache=self.cache)
        self.data = trial.TrialData.prepare(self.settings, 0, self.recipe, self.device, images)
        self.train = self.data.train_batches(self.settings, 0)
        self.validation = self.data.plain_batches(self.data.split.validation)
        self.steps = count_steps(self.train, self.recipe)
        network = trial.build_for(self.settings, images.shape, len(images.classes), 0)
        self.state: FitState = prepare(network, self.recipe, self.steps, torch.device(self.device))

    @property
    def network(self) -> nn.Module:
        return self.state.network

    def bare(self) -> Arm:
        """An epoch of steps and one pass over the validation images, all of them on the device already."""
        batches = list(itertools.islice(self.train.epoch(0), self.steps))
        images, precision = list(self.validation.epoch(0)), self.recipe.precision
        network, optimizer, device = self.network, self.state.optimizer, torch.device(self.device)

        def epoch() -> None:
            network.train()
            for x, y in batches:
                optimizer.zero_grad()
                with autocast(precision, device):
                    logits = network(x)
                functional.cross_entropy(logits.float(), y).backward()
                optimizer.step()
            bare_evaluation(network, images, precision)

        return epoch

    def parts(self, folder: Path) -> dict[str, Arm]:
        """What an epoch of ours has beside the bare steps, piece by piece."""
        plain = self.data._batches(
            self.data.images.train,
            self.data.images.train_labels,
            self.data.split.train,
            order_generator_seed=1,
        )
        epochs = itertools.count()
        ready = list(self.validation.epoch(0))
        how = {"device": self.device, "precision": self.recipe.precision}
        curves = CurveFiles(*(folder / name for name in ("epochs.csv", "steps.csv", "log.txt")))
        row = EpochRow(1, 1e-3, 2.3, 10.0, 2.3, 10.0, 1.0, 1000.0)
        rows = [StepRow(step, 1, 2.3, 10.0) for step in range(self.steps)]
        self.state.history = [row]
        checkpoints = Checkpoints(folder, {})
        return {
            "batches, plain": lambda: self._read(plain, next(epochs)),
            "batches, augmented": lambda: self._read(self.train, next(epochs)),
            "evaluation, bare": lambda: bare_evaluation(self.network, ready, self.recipe.precision),
            "evaluation, ours": lambda: evaluate(self.network, self.validation, **how),
            "curves and log": lambda: curves.epoch(row, rows, self.state),
            "checkpoint": lambda: checkpoints.save({"fit": self.state.state_dict()}, epoch=next(epochs)),
        }

    def _read(self, batches: object, epoch: int) -> None:
        *_, last = (x for x, _ in itertools.islice(batches.epoch(epoch), self.steps))
        last.sum().item()  # waits for the device


@torch.inference_mode()
def bare_evaluation(network: nn.Module, images: list[tuple[Tensor, Tensor]], precision: str) -> int:
    network.eval()
    hits = torch.zeros((), dtype=torch.int64, device=images[0][0].device)
    for x, y in images:
        with autocast(precision, x.device):
            hits += (network(x).argmax(1) == y).sum()
    return int(hits)


def run(device: str, count: int, rounds: int) -> str:
    with scratch() as name:
        folder = Path(name)
        augmented = s1(count)
        plain = s1(count, data={"augment": UNAUGMENTED})
        bench = Bench(augmented, device, folder / "cache")
        ours = our_trial(augmented, folder / "ours", device, folder / "cache")
        ours_plain = our_trial(plain, folder / "plain", device, folder / "cache")
        arms = {"ours": ours, "ours, no augmentation": ours_plain, "bare": bench.bare()}
        with numerics(deterministic=False):
            epochs = take_turns(arms, rounds)
            ours.close()
            ours_plain.close()
            parts = take_turns(bench.parts(folder), rounds)
        return "\n\n".join([_ratios(epochs, bench), _parts(parts, epochs, bench)])


def _ratios(epochs: Turns, bench: Bench) -> str:
    """On a CPU also by processor time, which other programs disturb less."""
    wall, on_cpu = epochs.wall_s, bench.device == "cpu"
    rows = [
        [
            name,
            f"{Spread.of(wall[name]):.3f}",
            f"{bench.train.count / Spread.of(wall[name]).median:,.0f}",
            f"{ratio(wall, name, 'bare'):.3f}",
            *([f"{ratio(epochs.processor_s, name, 'bare'):.3f}"] if on_cpu else []),
        ]
        for name in wall
    ]
    found = (
        f"S1, {bench.train.count} training images in {bench.steps} steps of 128, "
        f"{bench.validation.count} to validate, {bench.recipe.precision}; "
        f"goal: at most {GOAL[torch.device(bench.device).type]:.2f} of bare."
    )
    head = ["Epoch", "Seconds", "Images/s", "Of bare", *(["Of bare, processor time"] if on_cpu else [])]
    return f"{found}\n\n{table(head, rows)}"


def _parts(parts: Turns, epochs: Turns, bench: Bench) -> str:
    """Each part's milliseconds an epoch, and its share of a bare one; on a CPU of its processor time."""

    def of(turns: Turns) -> dict[str, float]:
        seconds = turns.processor_s if bench.device == "cpu" else turns.wall_s
        return {name: Spread.of(found).median for name, found in seconds.items()}

    part, epoch = of(parts), of(epochs)
    shown = {
        "batches: gather, normalise": part["batches, plain"],
        "augmentation": part["batches, augmented"] - part["batches, plain"],
        "evaluation beyond the bare one": part["evaluation, ours"] - part["evaluation, bare"],
        "curves and log": part["curves and log"],
    }
    beyond = epoch["ours"] - epoch["bare"]
    shown["the loop itself, checkpoints, noise"] = beyond - sum(shown.values())
    rows = [
        [name, f"{1000 * took:.1f}", f"{1000 * took / bench.steps:.3f}", f"{100 * took / epoch['bare']:.2f}"]
        for name, took in {**shown, "together": beyond}.items()
    ]
    head = ["Beyond the bare epoch", "ms an epoch", "ms a step", "% of bare"]
    took_ms = 1000 * Spread.of(parts.wall_s["checkpoint"]).median
    saved = f"One checkpoint takes {took_ms:.0f} ms by the clock; at most 2 % of the time goes into them."
    return f"{table(head, rows)}\n\n{saved}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, help="to train with; by default 1,280 on a CPU, else 45,000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    torch.set_num_threads(1)
    count = asked.images or (128 if asked.quick else 1280 if device == "cpu" else 45_000)
    print(heading(device))
    print(run(device, count, 1 if asked.quick else asked.rounds))


if __name__ == "__main__":
    main()
