"""The plain script that people write, against which ours is held: PIL images one by one through torchvision's
transforms, a DataLoader, a loop that asks for the loss after every step.

Network, optimiser and learning rates are those of the trial; everything else is as tutorials have it. One
thread for the network, as ours has: with more, training on the two cores that a study usually gets is slower.

    python benchmarks/plain.py TRIALS.json OUT.csv [--workers 0]

trains trials one after another. TRIALS.json: a list of {"settings": …, "seed": …}.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.environment import require_torchvision
from ablate.spec import Settings

require_torchvision()

import torch  # noqa: E402 - after the check that both are whole
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import transforms  # noqa: E402

from ablate import trial  # noqa: E402
from ablate.data import load_images, split, statistics  # noqa: E402
from ablate.spec.settings import Augment  # noqa: E402
from ablate.train import make_optimizer, make_schedule  # noqa: E402
from ablate.train.groups import parameter_groups  # noqa: E402


class PILImages(Dataset):
    """Rows of uint8 [N, H, W, C] as torchvision's CIFAR10 gives its images."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.images[index]
        image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return self.transform(image), int(self.labels[index])


def transform_of(
    augment: Augment, size: int, mean: Sequence[float], std: Sequence[float], last: Sequence[Any] = ()
) -> transforms.Compose:
    """The trial's augmentation image by image. last: in place of ToTensor and Normalize."""
    steps: list[Any] = []
    if augment.crop:
        steps.append(transforms.RandomCrop(size, padding=augment.crop))
    if augment.flip:
        steps.append(transforms.RandomHorizontalFlip())
    if augment.jitter:
        strength = augment.jitter
        steps.append(transforms.ColorJitter(strength, strength, strength, min(strength / 4, 0.5)))
    if augment.rotate:
        steps.append(transforms.RandomRotation(augment.rotate))
    return transforms.Compose([*steps, *(last or (transforms.ToTensor(), transforms.Normalize(mean, std)))])


@dataclass
class Task:
    """The images of a trial in the script's own terms, split as the trial splits them."""

    settings: Settings
    seed: int
    device: str
    cache: Path | None = None

    def __post_init__(self) -> None:
        wanted = self.settings.data
        self.images = load_images(wanted.source, root=wanted.root, cache=self.cache)
        rows = split(
            self.images.train_labels,
            fraction=wanted.fraction,
            validation=wanted.validation,
            seed=wanted.split_seed,
        )
        mean, std = statistics(self.images.train, rows.train)
        size, plain = self.images.shape[-1], transform_of(Augment(), self.images.shape[-1], mean, std)
        self.mean, self.std = mean, std
        self.train = self.dataset("train", rows.train, transform_of(wanted.augment, size, mean, std))
        self.validation = self.dataset("train", rows.validation, plain)
        self.test = self.dataset("test", np.arange(len(self.images.test)), plain)

    def dataset(self, part: str, rows: np.ndarray, transform: transforms.Compose) -> PILImages:
        images, labels = getattr(self.images, part), getattr(self.images, f"{part}_labels")
        return PILImages(np.asarray(images[rows]), labels[rows], transform)

    def loader(self, dataset: PILImages, workers: int, shuffle: bool = False) -> DataLoader:
        """Its workers stay from epoch to epoch, which scripts often forget to ask for."""
        return DataLoader(
            dataset,
            self.settings.train.batch_size,
            shuffle=shuffle,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device != "cpu",
        )

    def network(self) -> nn.Module:
        found = trial.build_for(self.settings, self.images.shape, len(self.images.classes), self.seed)
        layout = torch.channels_last if self.settings.train.channels_last else torch.contiguous_format
        return found.to(self.device, memory_format=layout)


class Script:
    """Network, loaders and optimiser; `epoch` trains for one and validates.

    train: batches to train on, in place of a DataLoader's. asks: for the loss, after every step.
    """

    def __init__(self, task: Task, workers: int, train: Any = None, asks: bool = True) -> None:
        self.task, self.device, self.asks = task, task.device, asks
        self.train = task.loader(task.train, workers, shuffle=True) if train is None else train
        self.validation = task.loader(task.validation, workers)
        self.test = task.loader(task.test, workers)
        self.network = task.network()
        recipe = trial.make_recipe(task.settings, task.device)
        self.optimizer = make_optimizer(parameter_groups(self.network, recipe), recipe)
        self.schedule = make_schedule(self.optimizer, recipe, len(self.train))
        self.criterion = nn.CrossEntropyLoss()
        self.step = 0
        self.losses: list[float] = []

    def epoch(self) -> float:
        """Percent of the validation images that it gets right afterwards."""
        self.network.train()
        for images, labels in self.train:
            images, labels = images.to(self.device), labels.to(self.device)
            self.schedule.before_step(self.step)
            self.optimizer.zero_grad()
            loss = self.criterion(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            self.step += 1
            if self.asks:
                self.losses.append(loss.item())
        accuracy, loss = self.evaluate(self.validation)
        self.schedule.after_epoch(loss)
        return accuracy

    @torch.no_grad()
    def evaluate(self, loader: DataLoader) -> tuple[float, float]:
        self.network.eval()
        hits = count = 0
        total = 0.0
        for images, labels in loader:
            images, labels = images.to(self.device), labels.to(self.device)
            logits = self.network(images)
            total += self.criterion(logits, labels).item() * len(labels)
            hits += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
        return 100 * hits / count, total / count


def train_all(trials: Sequence[dict[str, Any]], out: Path, device: str, workers: int) -> None:
    with out.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        for one in trials:
            settings = Settings.model_validate(one["settings"])
            torch.manual_seed(one["seed"])
            script = Script(Task(settings, one["seed"], device), workers)
            for _ in range(settings.train.epochs):
                validation = script.epoch()
            rows.writerow([one["seed"], validation, script.evaluate(script.test)[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    train_all(json.loads(asked.trials.read_text(encoding="utf-8")), asked.out, asked.device, asked.workers)


if __name__ == "__main__":
    main()
