"""Learning curves: a panel a variant, a line a seed, the baseline's mean behind."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report.html.axes import Scale, drawing, line, path, text, tick_labels, ticks
from ablate.report.html.words import Places, folded, notes
from ablate.report.numbers import counted
from ablate.report.rows import CurveRow, Report
from ablate.web import Html, element, join

WIDTH, HEIGHT = 220.0, 136.0
SHOWN = 40  # panels at once; more unfold


def curves(report: Report, places: Places) -> Html:
    every = report.curves
    values = [value for row in every for value in row.validation_accuracy]
    last = max(row.epochs[-1] for row in every)
    x = Scale(1, max(last, 2), 34, WIDTH - 6)
    y = Scale(min(values), max(max(values), min(values) + 0.1), HEIGHT - 20, 8)
    base = _mean([row for row in every if row.variant == report.baseline])
    names = list(dict.fromkeys(row.variant for row in every))
    panels = [
        _panel(
            name, [row for row in every if row.variant == name], base, x, y, places, name == report.baseline
        )
        for name in names
    ]
    note = (
        "Validation accuracy in percent after each epoch; each line is a seed, the dashed line the mean of "
        f"{report.baseline}. Axes are shared."
    )
    first = element("div", join(panels[:SHOWN]), class_="panels")
    rest = element("div", join(panels[SHOWN:]), class_="panels")
    more = folded(f"{len(panels) - SHOWN} more variants", rest) if len(panels) > SHOWN else ""
    return join([notes([note]), first, more])


def _mean(rows: Sequence[CurveRow]) -> list[tuple[int, float]]:
    """Over the seeds, of the epochs that all have."""
    by_epoch: dict[int, list[float]] = {}
    for row in rows:
        for epoch, value in zip(row.epochs, row.validation_accuracy, strict=True):
            by_epoch.setdefault(epoch, []).append(value)
    return [(epoch, sum(found) / len(found)) for epoch, found in by_epoch.items() if len(found) == len(rows)]


def _panel(
    name: str,
    rows: Sequence[CurveRow],
    base: Sequence[tuple[int, float]],
    x: Scale,
    y: Scale,
    places: Places,
    is_baseline: bool,
) -> Html:
    values, epochs = ticks(y, 4), ticks(x, 4)
    grid = [line(x.start, y(value), x.end, y(value), "grid") for value in values]
    grid += [
        text(x.start - 5, y(value) + 3.5, label, anchor="end")
        for value, label in zip(values, tick_labels(values), strict=True)
    ]
    whole = [value for value in epochs if value == int(value) and value >= 1]
    grid += [text(x(value), HEIGHT - 6, f"{value:g}", anchor="middle") for value in whole]
    behind = "" if is_baseline else _line(base, x, y, "base")
    lines = [
        element(
            "polyline",
            points=path((x(e), y(v)) for e, v in zip(row.epochs, row.validation_accuracy, strict=True)),
            class_="curve",
            data_t=places.trials[row.variant, row.seed],
        )
        if len(row.epochs) > 1
        else element("circle", cx=x(row.epochs[0]), cy=y(row.validation_accuracy[0]), r=2, class_="seed")
        for row in rows
    ]
    chart = drawing(
        WIDTH,
        HEIGHT,
        element("g", join(grid), class_="frame", aria_hidden="true"),
        behind,
        *lines,
        label=f"Validation accuracy of {name} by epoch, {counted(len(rows), 'seed')}",
    )
    title = places.link(name, name, class_="panel-title")
    return element("figure", element("figcaption", title), chart, data_v=places.variants[name])


def _line(points: Sequence[tuple[int, float]], x: Scale, y: Scale, class_: str) -> Html:
    return element("polyline", points=path((x(epoch), y(value)) for epoch, value in points), class_=class_)
