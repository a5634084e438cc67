"""The search space: which settings exist together, what a choice makes of them, and Optuna's form of it.

A point is a mapping of dotted settings to choices, as Optuna keeps them: numbers, or words for the values of
a list. A setting that hangs on another (an argument of a mechanism) is part of a point only where that other
one was chosen so that it exists.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ablate.report.tuning.words import short_names, shown
from ablate.spec.checks import at
from ablate.spec.dotted import lay_over
from ablate.spec.layers import faults_of_layer
from ablate.spec.settings import Settings
from ablate.spec.tune import Dimension
from ablate.spec.words import written

Point = dict[str, Any]
# What others hang on, each with the arguments that another choice takes away.
_CHOOSERS = {
    "model.backbone": "model.args",
    "model.attention": "",
    "model.attention.name": "model.attention.args",
    "train.optimizer.name": "train.optimizer.args",
    "train.schedule.name": "",
}
# Beyond it a space is searched as if it had no end: nobody trains so many settings.
MAX_POINTS = 10_000
MAX_SIZES = 256


class Space:
    """The settings searched around `base`, plain and nested; keys that never exist there are left out."""

    def __init__(self, base: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> None:
        self.base = dict(base)
        self._exists: dict[tuple[Any, ...], bool] = {}
        ordered = sorted(dimensions, key=lambda key: (key not in _CHOOSERS, key.count("."), 0))
        self.dimensions = {key: dimensions[key] for key in ordered}
        self.distributions = {key: distribution_of(found) for key, found in self.dimensions.items()}
        if any(self._depends(key) for key in self.dimensions):
            reachable = {key for point in self._branches() for key in point}
        else:
            reachable = {key for key in self.dimensions if self.exists(key, {})}
        self.dimensions = {key: found for key, found in self.dimensions.items() if key in reachable}
        self.distributions = {key: self.distributions[key] for key in self.dimensions}

    # Points

    def walk(self, choose: Callable[[str, BaseDistribution], Any]) -> Point:
        """A point, each of whose settings is asked for as soon as it is known to exist."""
        point: Point = {}
        for key, distribution in self.distributions.items():
            if self.exists(key, point):
                point[key] = choose(key, distribution)
        return point

    def exists(self, key: str, point: Point) -> bool:
        """Whether there is such a setting once the choices made so far hold."""
        chosen = {name: value for name, value in point.items() if name in _CHOOSERS and name != key}
        mark = (key, *sorted((name, str(value)) for name, value in chosen.items()))
        if mark not in self._exists:
            base = self.laid_over(chosen)
            value = self.dimensions[key].ends()[0][1]
            faults = [fault for fault in faults_of_layer(base, {key: value}) if fault.of_key]
            if key in _CHOOSERS:  # the arguments of the one before are cleared with it
                faults = [fault for fault in faults if "args" not in fault.place]
            of_none = key.startswith("train.lr.attention") and at(base, "model", "attention") is None
            self._exists[mark] = not faults and not of_none
        return self._exists[mark]

    def points(self) -> list[Point] | None:
        """All of them, in the order of the file; None where there is no end, or none within reason."""
        if not all(dimension.is_finite for dimension in self.dimensions.values()):
            return None
        found: list[Point] = []
        choices = {key: choices_of(dimension) for key, dimension in self.dimensions.items()}
        for point in self._extended({}, list(self.dimensions), choices):
            found.append(point)
            if len(found) > MAX_POINTS:
                return None
        return found

    def sizes(self) -> list[Point]:
        """Points of an endless space that differ in what a network's counts depend on: the values of lists,
        the ends and the middle of ranges. Counts grow or fall along a range."""

        some = {}
        for key, dimension in self.dimensions.items():
            found = choices_of(dimension) if dimension.values is not None else _low_middle_high(dimension)
            some[key] = found if key.startswith(("model.", "data.")) else found[:1]
        return list(itertools.islice(self._extended({}, list(self.dimensions), some), MAX_SIZES))

    def branches(self) -> Iterator[Point]:
        """A choice of all that others hang on, for each way in which they may exist together."""
        choosers = [key for key in self.dimensions if key in _CHOOSERS]
        choices = {key: _some(self.dimensions[key])[:MAX_POINTS] for key in choosers}
        return self._extended({}, choosers, choices)

    def one_by_one(self) -> Iterator[Point]:
        """Points of one choice: each value of a list, each end of a range, of what makes a network."""
        for key, found in self.dimensions.items():
            if key.startswith(("model.", "data.")) and self.exists(key, {}):
                yield from ({key: choice} for choice in _some(found))

    def _branches(self) -> Iterator[Point]:
        """A point for each way in which settings may exist together."""

        some = {
            key: choices_of(found)[:MAX_POINTS] if found.values is not None else [found.low]
            for key, found in self.dimensions.items()
        }
        keys = list(self.dimensions)
        choosers = [key for key in keys if key in _CHOOSERS]
        rest = [key for key in keys if key not in _CHOOSERS]
        for chosen in self._extended({}, choosers, some):
            point = dict(chosen)
            for key in rest:
                if self.exists(key, point):
                    point[key] = some[key][0]
            yield point

    def _depends(self, key: str) -> bool:
        return key in _CHOOSERS

    def _extended(self, point: Point, keys: list[str], choices: Mapping[str, list[Any]]) -> Iterator[Point]:
        if not keys:
            yield point
        elif not self.exists(keys[0], point):
            yield from self._extended(point, keys[1:], choices)
        else:
            for choice in choices[keys[0]]:
                yield from self._extended({**point, keys[0]: choice}, keys[1:], choices)

    # What a point means

    def in_words(self) -> str:
        """``"reduction of 4, 8; lr from 0.01 to 1"``"""
        names = short_names(self.dimensions)
        return "; ".join(f"{names[key]} {_in_words(found)}" for key, found in self.dimensions.items())

    def changes(self, point: Point) -> dict[str, Any]:
        """The dotted settings of a point, as a study file has them."""
        return {key: self.value(key, choice) for key, choice in point.items()}

    def value(self, key: str, choice: Any) -> Any:
        dimension = self.dimensions[key]
        if dimension.values is None:
            return choice
        return next(value for value in dimension.values if word_for(value) == choice)

    def laid_over(self, point: Point) -> dict[str, Any]:
        """The plain nested settings of a point. What belonged to a mechanism that gave way goes with it."""
        data = self.base
        for key in (key for key in _CHOOSERS if key in point):
            value, args = self.value(key, point[key]), _CHOOSERS[key]
            changed = {key: value}
            if args and at(data, *args.split(".")) is not None and at(data, *key.split(".")) != value:
                changed[args] = {}
            data = lay_over(data, changed)[0]
        rest = {key: value for key, value in self.changes(point).items() if key not in _CHOOSERS}
        return lay_over(data, rest)[0]

    def settings(self, point: Point) -> Settings:
        """Raises pydantic's ValidationError for choices that do not go together."""
        return Settings.model_validate(self.laid_over(point))


def _in_words(dimension: Dimension) -> str:
    if dimension.values is not None:
        return f"of {', '.join(map(shown, dimension.values))}"
    step = "" if dimension.step is None else f" by {shown(dimension.step)}"
    return f"from {shown(dimension.low)} to {shown(dimension.high)}{step}"


def distribution_of(dimension: Dimension) -> BaseDistribution:
    if dimension.values is not None:
        return CategoricalDistribution(choices_of(dimension))
    low, high, step, log = dimension.low, dimension.high, dimension.step, dimension.log
    if dimension.is_whole:
        high -= (high - low) % (step or 1)
        return IntDistribution(low, high, log=log, step=step or 1)
    if step is not None:
        high = low + step * int((high - low) / step + 1e-9)
    return FloatDistribution(float(low), float(high), log=log, step=step)


def choices_of(dimension: Dimension) -> list[Any]:
    """Every choice of a finite dimension."""
    if dimension.values is not None:
        return list(dict.fromkeys(map(word_for, dimension.values)))
    if dimension.is_whole:
        return list(range(dimension.low, dimension.high + 1, dimension.step or 1))
    if dimension.step is None:
        raise ValueError("a range without a step has no end of choices")
    count = int((dimension.high - dimension.low) / dimension.step + 1e-9) + 1
    return [float(dimension.low + place * dimension.step) for place in range(count)]


def _some(dimension: Dimension) -> list[Any]:
    return choices_of(dimension) if dimension.values is not None else [dimension.low, dimension.high]


def _low_middle_high(dimension: Dimension) -> list[Any]:
    if dimension.is_finite:
        choices = choices_of(dimension)
        return list(dict.fromkeys((choices[0], choices[len(choices) // 2], choices[-1])))
    low, high = float(dimension.low), float(dimension.high)
    return [low, (low * high) ** 0.5 if dimension.log else (low + high) / 2, high]


def word_for(value: Any) -> Any:
    """What Optuna keeps in its place: numbers and words alone come back from every storage as they were."""
    return value if value is None or isinstance(value, bool | int | float | str) else written(value)
