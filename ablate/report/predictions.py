"""What a report needs of predictions: which images were right, and whether two trials predicted the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablate.record import TrialRecord
from ablate.stats import Estimate, on_new_images
from ablate.store import Store


@dataclass(frozen=True, slots=True)
class Predictions:
    """correct: bool [N]. images, answers: digests of which images were shown, and of all that was said of
    them.

    largest_class: its share of the test images, 0..1.
    """

    correct: NDArray[np.bool_]
    images: str
    answers: str
    largest_class: float


def read_predictions(store: Store, trial_id: str, record: TrialRecord | None = None) -> Predictions | None:
    """record: of the trial, where it is at hand."""
    arrays = store.read_predictions(trial_id, record)
    if arrays is None or not len(arrays["label"]):
        return None
    label, predicted = arrays["label"], arrays["predicted"]
    return Predictions(
        correct=predicted == label,
        images=_digest(arrays["index"], label),
        # With the probabilities: on an easy data set two different networks may well answer alike.
        answers=_digest(predicted, arrays["probability"]),
        largest_class=_largest_share(label.tobytes(), label.dtype.str),
    )


@lru_cache(maxsize=16)  # the trials of a study share their test images
def _largest_share(labels: bytes, dtype: str) -> float:
    _, counts = np.unique(np.frombuffer(labels, dtype), return_counts=True)
    return float(counts.max()) / int(counts.sum())


def identical(of: dict[int, Predictions], against: dict[int, Predictions], seeds: Sequence[int]) -> bool:
    """Whether both sides said the same of every image with every one of the (shared) seeds."""
    return bool(seeds) and all(
        seed in of
        and seed in against
        and of[seed].images == against[seed].images
        and of[seed].answers == against[seed].answers
        for seed in seeds
    )


def difference_on_new_images(
    of: dict[int, Predictions], against: dict[int, Predictions], counts: tuple[int, int]
) -> Estimate | None:
    """None unless every run on both sides kept its predictions, all on the same images."""
    everyone = [*of.values(), *against.values()]
    if (len(of), len(against)) != counts or not (of and against) or len({one.images for one in everyone}) > 1:
        return None
    sides = [np.stack([side[seed].correct for seed in sorted(side)]) for side in (of, against)]
    return on_new_images(sides[0], sides[1])


def _digest(*arrays: NDArray[np.generic]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
