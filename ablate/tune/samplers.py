"""Which setting comes next: Optuna's samplers, kept from trying twice what one trial settles."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from ablate.tune.space import Point, Space

ATTEMPTS = 200
Mark = tuple[tuple[str, Any], ...]


def mark_of(point: Mapping[str, Any]) -> Mark:
    return tuple(sorted((key, repr(value)) for key, value in point.items()))


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=16)
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


class Careful(optuna.samplers.BaseSampler):
    """Asks another sampler until it names a point that is allowed and, in a finite space, new.

    points: all of the space, or None; in_order: they are taken as they come. fits: whether the constraints
    let a point be trained. Random draws depend on the trial's number alone, so that a search which was broken
    off goes on as it would have.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        points: Sequence[Point] | None,
        fits: Callable[[Point], bool],
        *,
        in_order: bool,
        salt: str,
    ) -> None:
        self._name, self._space, self._points, self._fits = name, space, points, fits
        self._in_order, self._salt = in_order, salt
        self._inner = make_sampler(name, 0)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self._space.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if "fixed_params" in trial.system_attrs:  # enqueued: there is nothing to choose
            return {}
        digest = hashlib.sha256(f"{self._salt}/{trial.number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        self._inner = make_sampler(self._name, seed)
        left = None if self._points is None else self._left(study, trial, self._points)
        if left and (self._in_order or len(left) == 1):
            return left[0]
        new = None if left is None else {mark_of(point) for point in left}
        point: Point = {}
        for _ in range(ATTEMPTS):
            point = self._drawn(study, trial)
            if (new is None and self._fits(point)) or (new is not None and mark_of(point) in new):
                return point
        return random.Random(seed).choice(left) if left else point

    def _left(self, study: optuna.Study, trial: FrozenTrial, points: Sequence[Point]) -> list[Point]:
        taken = {
            mark_of(other.params)
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and other.state != TrialState.WAITING
        }
        return [
            point for point in points if mark_of(point) not in taken and trial.params.items() <= point.items()
        ]

    def _drawn(self, study: optuna.Study, trial: FrozenTrial) -> Point:
        relative = self._inner.infer_relative_search_space(study, trial)
        together = self._inner.sample_relative(study, trial, relative)

        def choose(key: str, distribution: BaseDistribution) -> Any:
            if key in trial.params:  # of a search that died while it chose
                return trial.params[key]
            if key in together:
                return together[key]
            return self._inner.sample_independent(study, trial, key, distribution)

        return self._space.walk(choose)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, name, distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """The draws depend on the trial's number."""
