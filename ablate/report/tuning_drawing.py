"""The drawings of a search: history, slices, parallel coordinates, importances, the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ablate.report.drawing import BLUE, GREY, ORANGE, VERMILION, Canvas
from ablate.report.tuning import TunedSearch, TunedTrial, Tuning, history_rows, places, short

_LABELS = {
    "accuracy": "Validation accuracy, %",
    "param_count": "Parameters",
    "macs": "MACs",
    "latency_ms": "Latency, ms",
    "peak_memory_bytes": "Memory, bytes",
}


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
        for trial in search.of_state("pruned"):
            if metric == "accuracy" and trial.curve:
                axes.plot([trial.number], [trial.curve[-1][1]], "x", color=GREY, markersize=4)
        axes.set(xlabel="Trial of the search", ylabel=_LABELS[metric])
        axes.grid(axis="y")
    return canvas


def draw_slices(tuning: Tuning, search: TunedSearch) -> Canvas:
    metric, _ = _first(tuning)
    keys = list(search.dimensions)
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    canvas, panels = _axes(2.6 * columns + 0.6, 2.5 * rows, columns, rows)
    for axes, key in zip(panels, keys, strict=False):
        dimension = search.dimensions[key]
        done = [trial for trial in search.of_state("done") if key in trial.choices]
        if dimension["kind"] == "choice":
            choices = list(dimension["choices"])
            x: list[float] = [float(choices.index(trial.choices[key])) for trial in done]
            axes.set_xticks(range(len(choices)), [str(choice) for choice in choices])
            axes.set_xlim(-0.5, len(choices) - 0.5)
        else:
            x = [float(trial.choices[key]) for trial in done]
            if dimension["log"]:
                axes.set_xscale("log")
        axes.plot(
            x,
            [trial.values[metric] for trial in done],
            "o",
            color=ORANGE,
            markersize=4,
            alpha=0.8,
            linestyle="none",
        )
        axes.set(xlabel=short(key), ylabel=_LABELS[metric])
        axes.grid(axis="y")
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return canvas


def draw_parallel(tuning: Tuning, search: TunedSearch) -> Canvas:
    metric, direction = _first(tuning)
    keys = list(search.dimensions)
    on_axis = {key: places(search, key) for key in keys}
    done = [trial for trial in search.of_state("done") if all(trial.number in on_axis[key] for key in keys)]
    canvas, [axes] = _axes(max(4.5, 1.5 * (len(keys) + 1)), 3.2)
    shades = _shades(done, metric, direction)
    for trial in sorted(done, key=lambda trial: shades[trial.number]):
        shade = shades[trial.number]
        heights = [on_axis[key][trial.number] for key in keys] + [_height(done, trial, metric)]
        axes.plot(range(len(heights)), heights, color=BLUE, alpha=0.12 + 0.88 * shade**2, linewidth=1.3)
    axes.set_xticks(range(len(keys) + 1), [*map(short, keys), _LABELS[metric]])
    for place, key in enumerate(keys):
        low, high = _ends(search.dimensions[key])
        axes.annotate(low, (place, 0), xytext=(3, -2), textcoords="offset points", fontsize=7, va="top")
        axes.annotate(high, (place, 1), xytext=(3, 2), textcoords="offset points", fontsize=7)
    values = [trial.values[metric] for trial in done] or [0.0]
    for height, value in ((0, min(values)), (1, max(values))):
        axes.annotate(
            f"{value:.4g}", (len(keys), height), xytext=(3, 0), textcoords="offset points", fontsize=7
        )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return canvas


def draw_importances(tuning: Tuning, search: TunedSearch) -> Canvas:
    found = {metric: parts for metric, parts in search.importances.items() if parts}
    keys = list(dict.fromkeys(key for parts in found.values() for key in parts))
    canvas, panels = _axes(3.4 * len(found) + 1.4, 0.8 + 0.3 * len(keys), columns=len(found))
    for axes, (metric, parts) in zip(panels, found.items(), strict=True):
        axes.barh([short(key) for key in keys], [100 * parts.get(key, 0.0) for key in keys], color=BLUE)
        axes.invert_yaxis()
        axes.set(xlabel=f"Importance for {metric}, %")
        axes.grid(axis="x")
    return canvas


def draw_pareto(tuning: Tuning, search: TunedSearch) -> Canvas:
    """The first objective upwards, over each of the others."""
    (up, _), *others = tuning.objectives.items()
    canvas, panels = _axes(4.2 * len(others), 3.2, columns=len(others))
    front = set(search.best)
    for axes, (metric, _) in zip(panels, others, strict=True):
        for trial in search.of_state("done"):
            on = trial.number in front
            axes.plot(
                [trial.values[metric]],
                [trial.values[up]],
                "o" if on else ".",
                color=VERMILION if on else GREY,
                markersize=5,
            )
        line = sorted((trial.values[metric], trial.values[up]) for trial in search.ranked)
        if len(tuning.objectives) == 2:
            axes.step([x for x, _ in line], [y for _, y in line], where="post", color=VERMILION, linewidth=1)
        axes.set(xlabel=_LABELS[metric], ylabel=_LABELS[up])
        axes.grid()
    return canvas


def _shades(done: list[TunedTrial], metric: str, direction: str) -> dict[int, float]:
    """From 0, the worst, to 1, the best."""
    heights = {trial.number: _height(done, trial, metric) for trial in done}
    return heights if direction == "maximize" else {number: 1 - shade for number, shade in heights.items()}


def _height(done: list[TunedTrial], trial: TunedTrial, metric: str) -> float:
    values = [each.values[metric] for each in done]
    span = (max(values) - min(values)) or 1.0
    return (trial.values[metric] - min(values)) / span


def _ends(dimension: Mapping[str, Any]) -> tuple[str, str]:
    if dimension["kind"] == "choice":
        choices = list(dimension["choices"])
        return str(choices[0]), str(choices[-1])
    return f"{dimension['low']:.4g}", f"{dimension['high']:.4g}"


DRAWINGS: dict[str, Callable[[Tuning, TunedSearch], Canvas]] = {
    "history": draw_history,
    "slices": draw_slices,
    "parallel": draw_parallel,
    "importances": draw_importances,
    "pareto": draw_pareto,
}
