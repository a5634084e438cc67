"""One line a figure: seeds, mean and interval on an axis that all lines of a table share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ablate.report import numbers
from ablate.report.html.axes import Scale, drawing, line, path, place, text, tick_labels, ticks
from ablate.report.html.words import Places
from ablate.report.rows import ClaimFigure, VariantRow
from ablate.web import Html, element

WIDTH, HEIGHT = 250.0, 26.0
_EDGE = 8.0


def accuracy_scale(rows: Iterable[VariantRow]) -> Scale:
    """Over the trials that learned; intervals reach at most as far again, the rest stands at the edge."""
    rows = list(rows)
    learned = [trial for row in rows for trial in row.done if trial.learned is not False]
    trials = learned or [trial for row in rows for trial in row.done]
    scores = [trial.metrics.accuracy for trial in trials if trial.metrics is not None] or [0.0, 100.0]
    low, high = min(scores), max(scores)
    room = max(high - low, 0.2)
    ends = [
        end
        for row in rows
        if row.accuracy and math.isfinite(row.accuracy.low)
        for end in (row.accuracy.low, row.accuracy.high)
    ]
    low = max(min([low, *ends]), low - room)
    high = min(max([high, *ends]), high + room)
    return Scale(low - 0.04 * room, high + 0.04 * room, _EDGE, WIDTH - _EDGE)


def effect_scale(ends: Iterable[float], margin: float) -> Scale:
    """About zero, with the margin in sight."""
    reach = max([abs(end) for end in ends if math.isfinite(end)] + [1.6 * margin])
    return Scale(-1.06 * reach, 1.06 * reach, _EDGE, WIDTH - _EDGE)


def axis(scale: Scale, title: str) -> Html:
    """For the head of a column of strips."""
    values = ticks(scale, 4)
    labels = [
        text(scale(value), 12, label, anchor="middle")
        for value, label in zip(values, tick_labels(values), strict=True)
    ]
    marks = [line(scale(value), 17, scale(value), 21, "axis") for value in values]
    return drawing(WIDTH, 21, *labels, *marks, label=f"Axis: {title}", class_="strip")


def accuracy_strip(row: VariantRow, scale: Scale, base: float | None, places: Places) -> Html:
    """base: the baseline's mean, a dashed line."""
    middle = HEIGHT / 2
    parts = _grid(scale)
    if base is not None:
        parts.append(line(scale(base), 0, scale(base), HEIGHT, "base"))
    for trial in row.done:
        if trial.metrics is not None:
            x = scale(trial.metrics.accuracy)
            parts.append(trial_dot(x, middle + 5, places.trials[row.name, trial.seed]))
    summary = row.accuracy
    if summary is not None:
        parts += _interval(scale, summary.low, summary.high, middle - 4)
        parts.append(
            element("circle", cx=place(scale(summary.mean)), cy=place(middle - 4), r="3.6", class_="mean")
        )
    said = "no finished trial" if summary is None else f"{numbers.mean_and_std(summary)} %"
    return drawing(WIDTH, HEIGHT, *parts, label=f"{row.name}: {said}", class_="strip")


def trial_dot(x: float, y: float, trial: int) -> Html:
    """A seed; the script tells of trial number `trial` where the pointer is."""
    return element("circle", cx=place(x), cy=place(y), r="2.2", class_="seed", data_t=trial)


def difference_strip(
    label: str, value: float | None, low: float, high: float, scale: Scale, margin: float
) -> Html:
    """A difference and its interval about zero; the band: ±margin."""
    middle = HEIGHT / 2
    left, right = scale(-margin), scale(margin)
    parts = [
        element("rect", x=place(left), y=0, width=place(right - left), height=place(HEIGHT), class_="band"),
        line(scale(0), 0, scale(0), HEIGHT, "zero"),
    ]
    if value is not None and not math.isnan(value):
        parts += _interval(scale, low, high, middle)
        parts.append(element("circle", cx=place(scale(value)), cy=place(middle), r="3.6", class_="mean"))
    return drawing(WIDTH, HEIGHT, *parts, label=label, class_="strip")


def claim_strip(figure: ClaimFigure, bounds: tuple[float | None, float | None]) -> Html | None:
    """The claimed range as a band, the figure with its interval across it; None where there is no figure."""
    value, low, high = figure.value, figure.low, figure.high
    if value is None:
        return None
    ends = [end for end in (value, low, high, *bounds) if end is not None and math.isfinite(end)]
    room = 0.14 * (max(ends) - min(ends)) or abs(value) * 0.1 or 1.0
    scale = Scale(min(ends) - room, max(ends) + room, _EDGE, WIDTH - _EDGE)
    first = scale(bounds[0]) if bounds[0] is not None else 0.0
    last = scale(bounds[1]) if bounds[1] is not None else WIDTH
    parts = [element("rect", x=place(first), y=0, width=place(last - first), height=24, class_="band")]
    for bound in bounds:
        if bound is not None:
            x = scale(bound)
            parts.append(line(x, 0, x, 24, "bound"))
            parts.append(text(min(max(x, 14), WIDTH - 14), 37, tick_labels([bound])[0], anchor="middle"))
    if low is not None and high is not None:
        parts += _interval(scale, low, high, 12)
    parts.append(element("circle", cx=place(scale(value)), cy=12, r="3.6", class_="mean"))
    position = {"inside": "inside", "outside": "outside"}.get(figure.position or "", "across a bound of")
    return drawing(WIDTH, 41, *parts, label=f"{figure.name} lies {position} what is claimed", class_="strip")


def _grid(scale: Scale) -> list[Html]:
    return [line(scale(value), 0, scale(value), HEIGHT, "grid") for value in ticks(scale, 4)]


def _interval(scale: Scale, low: float, high: float, y: float) -> list[Html]:
    """An end beyond the axis is an arrow head; an interval without bounds is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return []
    parts = [line(scale(low), y, scale(high), y, "interval")]
    if not scale.holds(low):
        parts.append(_arrow(scale.start, y, -1))
    if not scale.holds(high):
        parts.append(_arrow(scale.end, y, 1))
    return parts


def _arrow(x: float, y: float, way: int) -> Html:
    points: Sequence[tuple[float, float]] = [(x + way * 6, y), (x, y - 4), (x, y + 4)]
    return element("polygon", points=path(points), class_="beyond")
