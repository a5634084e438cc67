"""The figures of a search, drawn in the page from the rows that the other pages' figures are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ablate.report.html.axes import (
    Scale,
    drawing,
    frame,
    line,
    padded,
    path,
    place,
    si,
    text,
    tick_labels,
    ticks,
)
from ablate.report.tuning import TunedSearch, Tuning, told
from ablate.report.tuning.charts import (
    LABELS,
    Axis,
    axis_of,
    history_rows,
    kinds,
    parallel_rows,
    pareto_rows,
    slice_rows,
    stopped_rows,
)
from ablate.report.tuning.words import setting, short_names
from ablate.web import Html, element, join

WIDTH, HEIGHT = 480.0, 260.0
_LEFT, _BOTTOM, _TOP = 52, HEIGHT - 46, 26
_LETTER = 6.2  # width of a letter under an axis, in the drawing's units


NOTE = (
    "Each dot is a setting, the filled one the best: of those until then in the history, on the Pareto front "
    "where objectives meet. Crosses: stopped early, at their last epoch. Lines across several axes: "
    "settings, the darker the better. Point at one to read it."
)


def charts(tuning: Tuning, search: TunedSearch) -> list[Html]:
    return [chart for kind, _ in kinds(tuning, search) for chart in _CHARTS[kind](tuning, search)]


def _history(tuning: Tuning, search: TunedSearch) -> list[Html]:
    found = []
    for metric, direction in tuning.objectives.items():
        rows = history_rows(search, metric, direction)
        stopped = stopped_rows(search) if metric == "accuracy" else []
        divisor, title = _scaled(metric, [value for _, value, _ in rows])
        last = max(trial.number for trial in search.trials)
        x = Scale(-0.5, max(last, 1) + 0.5, _LEFT, WIDTH - 12)
        y = padded([value / divisor for _, value, _ in rows] + [at for _, at in stopped], _BOTTOM, _TOP)
        whole = [value for value in ticks(x, 8) if value == int(value) and value >= 0]
        stairs: list[tuple[float, float]] = []
        for number, _, best in rows:
            stairs += [(x(number), stairs[-1][1])] if stairs else []
            stairs.append((x(number), y(best / divisor)))
        found.append(
            drawing(
                WIDTH,
                HEIGHT,
                frame(x, y, "Trial of the search", title, x_ticks=[(v, f"{v:g}") for v in whole]),
                element("polyline", points=path(stairs), class_="front"),
                *(_cross(x(number), y(at), _said(search, number, ())) for number, at in stopped),
                *(
                    _dot(
                        x(number), y(value / divisor), value == best, _said(search, number, tuning.objectives)
                    )
                    for number, value, best in rows
                ),
                label=f"{LABELS[metric]} by trial of the search",
                described="The line: the best so far. Crosses: settings that were stopped early.",
            )
        )
    return found


def _slices(tuning: Tuning, search: TunedSearch) -> list[Html]:
    metric = next(iter(tuning.objectives))
    found = []
    for key, name in short_names(search.dimensions).items():
        points = slice_rows(search, key, metric)
        if not points:
            continue
        divisor, title = _scaled(metric, [point.y for point in points])
        x, labels = _across(axis_of(search, key))
        y = padded([point.y / divisor for point in points], _BOTTOM, _TOP)
        dots = [
            _dot(x(p.x), y(p.y / divisor), p.best, _said(search, p.number, tuning.objectives))
            for p in sorted(points, key=lambda p: p.best)
        ]
        found.append(
            drawing(
                WIDTH,
                HEIGHT,
                frame(x, y, name, title, x_ticks=labels),
                *dots,
                label=f"{LABELS[metric]} over {name}",
            )
        )
    return found


def _across(axis: Axis) -> tuple[Scale, list[tuple[float, str]]]:
    if axis.choices is not None:
        room = (WIDTH - 12 - _LEFT) / len(axis.choices)
        labels = [(float(at), _cut(choice, room)) for at, choice in enumerate(axis.choices)]
        return Scale(-0.5, len(axis.choices) - 0.5, _LEFT, WIDTH - 12), labels
    x = padded([axis.low, axis.high], _LEFT, WIDTH - 12, share=0.03, log=axis.log)
    values = ticks(x, 5)
    shown = [f"{value:g}" for value in values] if axis.log else tick_labels(values)
    return x, list(zip(values, shown, strict=True))


def _cut(said: str, room: float) -> str:
    letters = max(3, int(room / _LETTER))
    return said if len(said) <= letters else f"{said[: letters - 1]}…"


def _parallel(tuning: Tuning, search: TunedSearch) -> list[Html]:
    metric, direction = next(iter(tuning.objectives.items()))
    keys = short_names(search.dimensions)
    x, y = Scale(0, len(keys), 34, WIDTH - 60), Scale(0, 1, HEIGHT - 40, 24)
    values = [trial.values[metric] for trial in search.of_state("done")]
    ends = [axis_of(search, key).ends for key in keys] + [_ends(metric, values)]
    parts = [line(x(at), y.start, x(at), y.end, "axis") for at in range(len(keys) + 1)]
    room = x(1) - x(0)
    for at, (low, high) in enumerate(ends):
        parts.append(text(x(at), y.start + 15, _cut(low, room), anchor="middle"))
        parts.append(text(x(at), y.end - 8, _cut(high, room), anchor="middle"))
    names = [*keys.values(), LABELS[metric].partition(",")[0]]
    parts += [text(x(at), HEIGHT - 6, _cut(name, room), "title", "middle") for at, name in enumerate(names)]
    lines = [
        _mark(
            element(
                "polyline",
                points=path((x(at), y(height)) for at, height in row.points),
                class_="setting",
                stroke_opacity=f"{0.12 + 0.88 * row.shade**2:.2f}",
            ),
            _said(search, row.number, tuning.objectives),
        )
        for row in parallel_rows(search, metric, direction)
    ]
    return [
        drawing(
            WIDTH,
            HEIGHT,
            element("g", join(parts), class_="frame", aria_hidden="true"),
            *lines,
            label="Settings as lines across their axes",
            described="Each line is a setting; the darker, the better.",
        )
    ]


def _ends(metric: str, values: Sequence[float]) -> tuple[str, str]:
    return told(metric, {metric: min(values)}), told(metric, {metric: max(values)})


def _importances(tuning: Tuning, search: TunedSearch) -> list[Html]:
    found = []
    for metric, parts in search.importances.items():
        if not parts:
            continue
        names, step = short_names(parts), 26.0
        height = 30 + step * len(parts)
        x = Scale(0, 1, 150, WIDTH - 50)
        bars: list[Html] = []
        for row, (key, share) in enumerate(parts.items()):
            top = 26 + step * row
            bars.append(text(x.start - 8, top + 12, names[key][:22], anchor="end"))
            width = place(x(share) - x.start)
            bars.append(
                element("rect", x=place(x.start), y=place(top), width=width, height="16", class_="bar")
            )
            bars.append(text(x(share) + 6, top + 12, f"{100 * share:.0f} %", "label"))
        title = text(0, 11, f"Importance for {metric}", "title")
        found.append(drawing(WIDTH, height, title, *bars, label=f"Importance for {metric}"))
    return found


def _pareto(tuning: Tuning, search: TunedSearch) -> list[Html]:
    (up, _), *others = tuning.objectives.items()
    found = []
    for metric, _ in others:
        points = pareto_rows(search, metric, up)
        over, x_title = _scaled(metric, [point.x for point in points])
        under, y_title = _scaled(up, [point.y for point in points])
        x = padded([point.x / over for point in points], _LEFT, WIDTH - 14, share=0.08)
        y = padded([point.y / under for point in points], _BOTTOM, _TOP)
        stairs: list[tuple[float, float]] = []
        for point in (point for point in points if point.best and len(tuning.objectives) == 2):
            stairs += [(x(point.x / over), stairs[-1][1])] if stairs else []
            stairs.append((x(point.x / over), y(point.y / under)))
        values = ticks(x, 5)
        found.append(
            drawing(
                WIDTH,
                HEIGHT,
                frame(x, y, x_title, y_title, x_ticks=list(zip(values, tick_labels(values), strict=True))),
                element("polyline", points=path(stairs), class_="front") if stairs else "",
                *(
                    _dot(x(p.x / over), y(p.y / under), p.best, _said(search, p.number, tuning.objectives))
                    for p in sorted(points, key=lambda p: p.best)
                ),
                label=f"{LABELS[up]} against {LABELS[metric].lower()}",
                described="Filled: on the Pareto front of all objectives.",
            )
        )
    return found


def _scaled(metric: str, values: Sequence[float]) -> tuple[float, str]:
    """By what an objective is divided on its axis, and the axis's title."""
    if metric == "peak_memory_bytes":
        return 2.0**20, "Memory, MiB"
    if metric in ("param_count", "macs"):
        divisor, word = si(values)
        return divisor, f"{LABELS[metric]}{f', {word}' if word else ''}"
    return 1.0, LABELS[metric]


def _said(search: TunedSearch, number: int, objectives: Iterable[str]) -> str:
    trial = search.trial(number)
    values = ", ".join(told(metric, trial.values) for metric in objectives)
    return f"Trial {number}: {setting(trial)}: {values or 'stopped early'}"


def _dot(x: float, y: float, best: bool, said: str) -> Html:
    kind = "mean" if best else "mean open"
    return _mark(element("circle", cx=place(x), cy=place(y), r="4.2", class_=kind), said)


def _cross(x: float, y: float, said: str) -> Html:
    arms = f"M{place(x - 3.5)} {place(y - 3.5)}l7 7m0-7l-7 7"
    return _mark(element("path", d=arms, class_="stopped"), said)


def _mark(drawn: Html, said: str) -> Html:
    """The pointer and the keyboard are told what it is; behind it stands no variant of the study."""
    return element("g", drawn, class_="mark", tabindex="-1", role="img", aria_label=said)


_CHARTS: dict[str, Callable[[Tuning, TunedSearch], list[Html]]] = {
    "history": _history,
    "slices": _slices,
    "parallel": _parallel,
    "importances": _importances,
    "pareto": _pareto,
}
