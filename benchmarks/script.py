"""Our training against the plain script, Lightning's Trainer and timm's loader: same network, same images.

    python benchmarks/script.py [--device cpu] [--images N] [--rounds 3] [--quick]

System S1: crop, flip, jitter and rotation, Adam, batch 128. Each trains epoch by epoch and validates; all
take turns in one process, with one thread for the network. The plain script (`plain.py`) has its loader's
workers at 0 and at all cores; Lightning and timm have all cores, to load images beside the training. Both
come with the extra `bench`; what is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plain import Script, Task, transform_of
from side_by_side import Paced, Spread, heading, our_trial, ratio, s1, scratch, table, take_turns

from ablate.environment import available_cores, require_torch, resolve_device

torch = require_torch()

GOAL = {"cpu": 1.0, "cuda": 20.0}
WAYS = {"lightning": "pip install 'ablate-bench[bench]'", "timm": "pip install 'ablate-bench[timm]'"}


def lightning(task: Task, workers: int, folder: Path) -> Paced:
    """Lightning's Trainer as its guide has it: training_step, validation_step, accuracy logged."""
    import lightning as pl
    from torch.nn import functional

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.network()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = functional.cross_entropy(self.network(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            logits = self.network(batch[0])
            self.log("val_loss", functional.cross_entropy(logits, batch[1]))
            self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=task.settings.train.optimizer.lr)

    def work(halt: Callable[[], None]) -> None:
        class Halt(pl.Callback):
            def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
                halt()  # after the validation of this epoch

        trainer = pl.Trainer(
            max_epochs=-1,
            accelerator="cpu" if task.device == "cpu" else "gpu",
            devices=1,
            default_root_dir=folder,
            callbacks=[Halt()],
            logger=pl.pytorch.loggers.CSVLogger(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            Module(),
            task.loader(task.train, workers, shuffle=True),
            task.loader(task.validation, workers),
        )

    return Paced(work)


def timm_loader(task: Task, workers: int) -> Any:
    """timm's loader with the trial's transforms in place of timm's own; on a GPU with its prefetcher."""
    from timm.data import create_loader
    from timm.data.transforms import ToNumpy

    channels, height, width = task.images.shape
    prefetches = task.device != "cpu"
    loader = create_loader(
        task.train,
        input_size=(channels, height, width),
        batch_size=task.settings.train.batch_size,
        is_training=True,
        mean=tuple(task.mean),
        std=tuple(task.std),
        num_workers=workers,
        use_prefetcher=prefetches,
        persistent_workers=workers > 0,
        device=torch.device(task.device),
    )
    last = (ToNumpy(),) if prefetches else ()
    task.train.transform = transform_of(task.settings.data.augment, height, task.mean, task.std, last)
    return loader


def arms(device: str, count: int, folder: Path) -> tuple[dict[str, Callable[[], object]], list[str]]:
    """The competitors that are there, and a sentence for each that is not."""
    settings, cores = s1(count), available_cores()

    def task() -> Task:
        return Task(settings, 0, device, folder / "cache")

    def installed(name: str) -> bool:
        return importlib.util.find_spec(name) is not None

    found: dict[str, Callable[[], object]] = {
        "ours": our_trial(settings, folder / "ours", device, folder / "cache"),
        "plain script, 0 workers": Script(task(), 0).epoch,
        f"plain script, {cores} workers": Script(task(), cores).epoch,
    }
    if installed("lightning"):
        found[f"Lightning, {cores} workers"] = lightning(task(), cores, folder / "lightning")
    if installed("timm"):
        images = task()
        loader = timm_loader(images, cores)
        found[f"timm's loader, {cores} workers"] = Script(images, cores, loader, asks=False).epoch
    missing = [
        f"{name} is not installed and was left out: {way}"
        for name, way in WAYS.items()
        if not installed(name)
    ]
    return found, missing


def run(device: str, count: int, rounds: int) -> str:
    with scratch() as name:
        competitors, missing = arms(device, count, Path(name))
        turns = take_turns(competitors, rounds)
        for arm in competitors.values():
            if isinstance(arm, Paced):
                arm.close()
    wall = turns.wall_s
    rows = [
        [
            name,
            f"{Spread.of(wall[name]):.2f}",
            f"{count / Spread.of(wall[name]).median:,.0f}",
            f"{ratio(wall, name, 'ours'):.2f}",
        ]
        for name in wall
    ]
    goal = GOAL[torch.device(device).type]
    said = f"S1, about {count} training images an epoch; goal: ours at least {goal:g} times as fast as each."
    shown = table(["Epoch", "Seconds", "Images/s", "Of ours"], rows)
    return "\n\n".join([said, shown, *missing])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, help="to train with; by default 1,280 on a CPU, else 45,000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="lightning")
    count = asked.images or (128 if asked.quick else 1280 if device == "cpu" else 45_000)
    print(heading(device, ["torchvision", *WAYS]))
    print(run(device, count, 1 if asked.quick else asked.rounds))


if __name__ == "__main__":
    main()
