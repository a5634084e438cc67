"""What each figure of a search shows, as rows: the drawings of every page, and the tests, read these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.report.tuning.rows import TunedSearch, TunedTrial, Tuning
from ablate.report.tuning.tables import explains
from ablate.report.tuning.words import shown

if TYPE_CHECKING:
    from ablate.report.rows import Figure

# Titles of axes.
LABELS = {
    "accuracy": "Validation accuracy, %",
    "param_count": "Parameters",
    "macs": "MACs",
    "latency_ms": "Latency, ms",
    "peak_memory_bytes": "Memory, bytes",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """Of a setting. choices: in words, at 0, 1, …; None for a range, on a log scale or not."""

    low: float
    high: float
    log: bool = False
    choices: tuple[str, ...] | None = None

    def share(self, value: float) -> float:
        """Where on the axis, from 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / ((high - low) or 1.0)

    @property
    def ends(self) -> tuple[str, str]:
        if self.choices is not None:
            return self.choices[0], self.choices[-1]
        return f"{self.low:.4g}", f"{self.high:.4g}"


@dataclass(frozen=True, slots=True)
class Point:
    """A setting in a plane. best: the best, or on the Pareto front."""

    number: int
    x: float
    y: float
    best: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A setting across parallel axes. points: (place of the axis, height from 0 to 1), without the axes of
    settings that do not exist for it. shade: from 0, the worst, to 1, the best."""

    number: int
    points: tuple[tuple[int, float], ...]
    shade: float


def history_rows(search: TunedSearch, metric: str, direction: str) -> list[tuple[int, float, float]]:
    """(number, value, best so far) of the trials that ended with a value."""
    found: list[tuple[int, float, float]] = []
    best = -math.inf if direction == "maximize" else math.inf
    pick = max if direction == "maximize" else min
    for trial in search.of_state("done"):
        value = trial.values[metric]
        best = pick(best, value)
        found.append((trial.number, value, best))
    return found


def stopped_rows(search: TunedSearch) -> list[tuple[int, float]]:
    """(number, last validation accuracy) of the settings that were stopped early."""
    return [(trial.number, trial.curve[-1][1]) for trial in search.of_state("pruned") if trial.curve]


def axis_of(search: TunedSearch, key: str) -> Axis:
    dimension = search.dimensions[key]
    if dimension["kind"] == "choice":
        choices = tuple(dimension.get("labels") or map(shown, dimension["choices"]))
        return Axis(0.0, float(len(choices) - 1), choices=choices)
    return Axis(float(dimension["low"]), float(dimension["high"]), bool(dimension["log"]))


def _value_on(search: TunedSearch, key: str, trial: TunedTrial) -> float:
    dimension, choice = search.dimensions[key], trial.choices[key]
    return float(list(dimension["choices"]).index(choice) if dimension["kind"] == "choice" else choice)


def slice_rows(search: TunedSearch, key: str, metric: str) -> list[Point]:
    """The value of an objective over a setting; the best is the first of the ranked."""
    best = search.best[0] if search.best else None
    return [
        Point(trial.number, _value_on(search, key, trial), trial.values[metric], trial.number == best)
        for trial in search.of_state("done")
        if key in trial.choices
    ]


def parallel_rows(search: TunedSearch, metric: str, direction: str) -> list[Line]:
    """The worst first. The last axis is the objective's."""
    done = search.of_state("done")
    values = [trial.values[metric] for trial in done]
    axes = [axis_of(search, key) for key in search.dimensions]
    found = []
    for trial in done:
        height = _share(trial.values[metric], values)
        across = [
            (place, axis.share(_value_on(search, key, trial)))
            for place, (key, axis) in enumerate(zip(search.dimensions, axes, strict=True))
            if key in trial.choices
        ]
        shade = height if direction == "maximize" else 1 - height
        found.append(Line(trial.number, (*across, (len(axes), height)), shade))
    return sorted(found, key=lambda line: line.shade)


def pareto_rows(search: TunedSearch, x: str, y: str) -> list[Point]:
    """Two objectives, the cheapest first; best: on the front of all objectives."""
    front = set(search.best)
    found = [
        Point(trial.number, trial.values[x], trial.values[y], trial.number in front)
        for trial in search.of_state("done")
    ]
    return sorted(found, key=lambda point: (point.x, point.y))


def _share(value: float, values: Sequence[float]) -> float:
    return (value - min(values)) / ((max(values) - min(values)) or 1.0)


def figures(tuning: Tuning) -> tuple[Figure, ...]:
    """What there is to draw: nothing of a search with fewer than two values."""
    from ablate.report.rows import Figure

    found: list[Figure] = []
    for position, search in enumerate(tuning.searches, start=1):
        about = f"Tuning {search.start} on validation images"
        found += [
            Figure(f"tuning-{position}-{kind}", f"{about}: {said}") for kind, said in kinds(tuning, search)
        ]
    return tuple(found)


def kinds(tuning: Tuning, search: TunedSearch) -> list[tuple[str, str]]:
    """The figures of one search, each with what it shows."""
    if len(search.of_state("done")) < 2:
        return []
    found = [("history", "each setting, and the best so far")]
    if search.dimensions:
        found.append(("slices", "the value over each setting"))
    if len(search.dimensions) > 1:
        found.append(("parallel", "settings as lines, the best darkest"))
    if explains(search):
        found.append(("importances", "how much each setting explains"))
    if len(tuning.objectives) > 1:
        found.append(("pareto", "the objectives and their front"))
    return found


def draw(tuning: Tuning, name: str) -> Any:
    """The matplotlib figure of that name."""
    from ablate.report.tuning import drawing

    _, position, kind = name.split("-", 2)
    return drawing.DRAWINGS[kind](tuning, tuning.searches[int(position) - 1])
