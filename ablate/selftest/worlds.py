"""Synthetic scores and predictions whose truth is known: what the judgement is tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

# Points lost by a run that goes wrong: seven standard deviations of the others.
_LOSS = 2.0
_BASE = 85.0
# Scores are counts of right answers among 10,000 test images.
_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class World:
    """How scores scatter between seeds. std: in points.

    unstable: the first variant's standard deviation, in multiples of the others'. bad: the share of runs that
    go wrong and lose two points, in every arm alike. correlation: between the arms of a seed.
    """

    name: str
    std: float = 0.3
    unstable: float = 1.0
    bad: float = 0.0
    correlation: float = 0.0

    @property
    def mean(self) -> float:
        """The baseline's expected score."""
        return _BASE - self.bad * _LOSS

    def scores(self, rng: np.random.Generator, replicates: int, n: int, shifts: Sequence[float]) -> Floats:
        """[replicates, 1 + variants, n] accuracies in percent, the baseline first.

        shifts: the true differences, in points.
        """
        shape = (replicates, 1 + len(shifts), n)
        shared = rng.standard_normal((replicates, 1, n)) * np.sqrt(self.correlation)
        noise = shared + rng.standard_normal(shape) * np.sqrt(1 - self.correlation)
        noise[:, 1] *= self.unstable
        went_wrong = rng.random(shape) < self.bad
        true = np.array([0.0, *shifts])[:, None]
        scores: Floats = np.round(_BASE + true + self.std * noise - _LOSS * went_wrong, _DECIMALS)
        return scores


PLAIN = World("normal scores")
UNSTABLE = World("one unstable variant (sd × 3)", unstable=3.0)
BAD_SEEDS = World("10 % bad seeds (−2 points)", bad=0.1)
CORRELATED = World("correlation .3 within a seed", correlation=0.3)
WORLDS = (PLAIN, UNSTABLE, BAD_SEEDS, CORRELATED)

# A probit world. A run gets an image right when the sum of these exceeds nothing: the ability of its method,
# how easy the image is, how the method takes to the image, the luck of the run, and noise of their own.
_ABILITY = 1.0
_LIFT = 0.1
_EASE, _LIKING, _LUCK, _NOISE = 1.0, 0.8, 0.05, 0.6


@dataclass(frozen=True, slots=True)
class Pictures:
    """Two methods on the same images. of, against: bool [runs, images], whether each run was right.

    true_here: the difference, in points, that infinitely many runs would show on these images; true_anywhere:
    on infinitely many images.
    """

    of: NDArray[np.bool_]
    against: NDArray[np.bool_]
    true_here: float
    true_anywhere: float


def pictures(rng: np.random.Generator, images: int, runs: tuple[int, int]) -> Pictures:
    easy = _EASE * rng.standard_normal(images)
    sides, here, anywhere = [], [], []
    for ability, count in zip((_ABILITY + _LIFT, _ABILITY), runs, strict=True):
        bent = ability + easy + _LIKING * rng.standard_normal(images)
        luck = _LUCK * rng.standard_normal((count, 1))
        sides.append(bent + luck + _NOISE * rng.standard_normal((count, images)) > 0)
        here.append(100 * float(special.ndtr(bent / np.hypot(_LUCK, _NOISE)).mean()))
        total = np.sqrt(_EASE**2 + _LIKING**2 + _LUCK**2 + _NOISE**2)
        anywhere.append(100 * float(special.ndtr(ability / total)))
    return Pictures(sides[0], sides[1], here[0] - here[1], anywhere[0] - anywhere[1])
