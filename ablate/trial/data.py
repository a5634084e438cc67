"""The images of a trial: split, described by the training part alone, and handed out in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ablate.data import Augmenter, Batches, Images, Split, split, statistics
from ablate.seeds import derive_seed
from ablate.spec.settings import Settings
from ablate.train import Recipe


@dataclass(frozen=True)
class TrialData:
    """Images, their split, and the statistics of the training part."""

    images: Images
    split: Split
    mean: np.ndarray
    std: np.ndarray
    recipe: Recipe
    device: str
    mixed: bool

    @classmethod
    def prepare(cls, settings: Settings, seed: int, recipe: Recipe, device: str, images: Images) -> TrialData:
        wanted = settings.data
        split_seed = wanted.split_seed if wanted.split == "fixed" else derive_seed(seed, "split")
        rows = split(
            images.train_labels, fraction=wanted.fraction, validation=wanted.validation, seed=split_seed
        )
        mean, std = statistics(images.train, rows.train)
        attention = settings.model.attention
        mixed = attention is not None and attention.gate == "shuffled"
        return cls(images, rows, mean, std, recipe, device, mixed)

    def train_batches(
        self, settings: Settings, seed: int, share: Callable[[int], np.ndarray] | None = None
    ) -> Batches:
        """Shuffled and augmented, each from its own stream of the trial's seed. share: see `Batches`."""
        return self._batches(
            self.images.train,
            self.images.train_labels,
            self.split.train,
            augment=Augmenter(**settings.data.augment.model_dump()),
            order_generator_seed=derive_seed(seed, "order"),
            augment_seed=derive_seed(seed, "augment"),
            share=share,
        )

    def plain_batches(self, rows: np.ndarray) -> Batches:
        """Rows of the training images as they are, in the order of `reading_order`."""
        order = self.reading_order(len(rows))
        return self._batches(self.images.train, self.images.train_labels, rows[order])

    def test_batches(self) -> Batches:
        order = self.reading_order(len(self.images.test))
        return self._batches(self.images.test, self.images.test_labels, order)

    def test_inputs(self, rows: np.ndarray) -> torch.Tensor:
        """These test images, float32 (B, C, H, W), as the network takes them."""
        batches = self._batches(self.images.test, self.images.test_labels, rows)
        return torch.cat([x for x, _ in batches.epoch(0)])

    def reading_order(self, count: int) -> np.ndarray:
        """Rows as they are read for evaluation: one after another, but for a shuffled gate in a fixed mix.

        It takes the gate of the image before, and where images lie class by class, as folders do, that would
        nearly always be one of the same class.
        """
        return np.random.default_rng(0).permutation(count) if self.mixed else np.arange(count)

    def _batches(self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, **how: Any) -> Batches:
        return Batches(
            images,
            labels,
            rows,
            batch_size=self.recipe.batch_size,
            mean=self.mean,
            std=self.std,
            device=self.device,
            channels_last=self.recipe.channels_last,
            **how,
        )
