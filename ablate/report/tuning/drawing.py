"""The drawings of a search: history, slices, parallel coordinates, importances, the Pareto front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ablate.report.drawing import BLUE, GREY, ORANGE, VERMILION, Canvas
from ablate.report.tuning.charts import (
    LABELS,
    Axis,
    axis_of,
    history_rows,
    parallel_rows,
    pareto_rows,
    slice_rows,
    stopped_rows,
)
from ablate.report.tuning.rows import TunedSearch, Tuning
from ablate.report.tuning.words import short_names


def _axes(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Canvas, list[Any]]:
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(width, height), layout="constrained")
    found = canvas.subplots(rows, columns, squeeze=False)
    return canvas, list(found.flat)


def _first(tuning: Tuning) -> tuple[str, str]:
    return next(iter(tuning.objectives.items()))


def draw_history(tuning: Tuning, search: TunedSearch) -> Canvas:
    canvas, panels = _axes(6.0, 2.6 * len(tuning.objectives), rows=len(tuning.objectives))
    for axes, (metric, direction) in zip(panels, tuning.objectives.items(), strict=True):
        rows = history_rows(search, metric, direction)
        numbers = [row[0] for row in rows]
        axes.plot(numbers, [row[1] for row in rows], "o", color=ORANGE, markersize=4, linestyle="none")
        axes.step(numbers, [row[2] for row in rows], where="post", color=BLUE, linewidth=1.4)
        for number, accuracy in stopped_rows(search) if metric == "accuracy" else ():
            axes.plot([number], [accuracy], "x", color=GREY, markersize=4)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="Trial of the search", ylabel=LABELS[metric])
        axes.grid(axis="y")
    return canvas


def draw_slices(tuning: Tuning, search: TunedSearch) -> Canvas:
    metric, _ = _first(tuning)
    keys = short_names(search.dimensions)
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    canvas, panels = _axes(2.6 * columns + 0.6, 2.5 * rows, columns, rows)
    for axes, (key, name) in zip(panels, keys.items(), strict=False):
        _scaled(axes, axis_of(search, key))
        points = slice_rows(search, key, metric)
        x, y = [point.x for point in points], [point.y for point in points]
        axes.plot(x, y, "o", color=ORANGE, markersize=4, alpha=0.8, linestyle="none")
        axes.set(xlabel=name, ylabel=LABELS[metric])
        axes.grid(axis="y")
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return canvas


def _scaled(axes: Any, axis: Axis) -> None:
    if axis.choices is not None:
        axes.set_xticks(range(len(axis.choices)), axis.choices)
        axes.set_xlim(-0.5, len(axis.choices) - 0.5)
    elif axis.log:
        axes.set_xscale("log")


def draw_parallel(tuning: Tuning, search: TunedSearch) -> Canvas:
    metric, direction = _first(tuning)
    keys = short_names(search.dimensions)
    canvas, [axes] = _axes(max(4.5, 1.5 * (len(keys) + 1)), 3.2)
    for row in parallel_rows(search, metric, direction):
        x, heights = zip(*row.points, strict=True)
        axes.plot(x, heights, color=BLUE, alpha=0.12 + 0.88 * row.shade**2, linewidth=1.3)
    axes.set_xticks(range(len(keys) + 1), [*keys.values(), LABELS[metric]])
    for place, key in enumerate(keys):
        low, high = axis_of(search, key).ends
        axes.annotate(low, (place, 0), xytext=(3, -2), textcoords="offset points", fontsize=7, va="top")
        axes.annotate(high, (place, 1), xytext=(3, 2), textcoords="offset points", fontsize=7)
    values = [trial.values[metric] for trial in search.of_state("done")]
    for height, value in ((0, min(values)), (1, max(values))):
        at = (len(keys), height)
        axes.annotate(f"{value:.4g}", at, xytext=(3, 0), textcoords="offset points", fontsize=7)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return canvas


def draw_importances(tuning: Tuning, search: TunedSearch) -> Canvas:
    found = {metric: parts for metric, parts in search.importances.items() if parts}
    keys = short_names(dict.fromkeys(key for parts in found.values() for key in parts))
    canvas, panels = _axes(3.4 * len(found) + 1.4, 0.8 + 0.3 * len(keys), columns=len(found))
    for axes, (metric, parts) in zip(panels, found.items(), strict=True):
        axes.barh(list(keys.values()), [100 * parts.get(key, 0.0) for key in keys], color=BLUE)
        axes.invert_yaxis()
        axes.set(xlabel=f"Importance for {metric}, %")
        axes.grid(axis="x")
    return canvas


def draw_pareto(tuning: Tuning, search: TunedSearch) -> Canvas:
    """The first objective upwards, over each of the others."""
    (up, _), *others = tuning.objectives.items()
    canvas, panels = _axes(4.2 * len(others), 3.2, columns=len(others))
    for axes, (metric, _) in zip(panels, others, strict=True):
        points = pareto_rows(search, metric, up)
        for point in points:
            marker, colour = ("o", VERMILION) if point.best else (".", GREY)
            axes.plot([point.x], [point.y], marker, color=colour, markersize=5)
        front = [point for point in points if point.best]
        if len(tuning.objectives) == 2:
            x, y = [point.x for point in front], [point.y for point in front]
            axes.step(x, y, where="post", color=VERMILION, linewidth=1)
        axes.set(xlabel=LABELS[metric], ylabel=LABELS[up])
        axes.grid()
    return canvas


DRAWINGS: dict[str, Callable[[Tuning, TunedSearch], Canvas]] = {
    "history": draw_history,
    "slices": draw_slices,
    "parallel": draw_parallel,
    "importances": draw_importances,
    "pareto": draw_pareto,
}
