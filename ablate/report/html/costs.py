"""Accuracy against each cost, with the variants that none beats on both; and what each variant costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ablate.report import cost_text, numbers
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
from ablate.report.html.strips import accuracy_scale, trial_dot
from ablate.report.html.sweeps import mark
from ablate.report.html.words import Places, folded, notes, sentence, table
from ablate.report.pareto import Front, FrontRow
from ablate.report.rows import Report, VariantRow
from ablate.web import Html, element, join

WIDTH, HEIGHT = 480.0, 340.0
_LETTER = 6.4  # width of a letter of a label, in the drawing's units
_TITLES = {
    "param_count": "Parameters",
    "macs": "MACs of one image",
    "latency_ms": "Latency of one image",
    "peak_memory_bytes": "Peak memory of a training step",
}


def costs(report: Report, places: Places) -> Html:
    drawn = [element("figure", _chart(report, front, places)) for front in report.costs.fronts]
    note = (
        "Large dots are means with their intervals, small dots trials. Filled and joined by the line: the "
        "Pareto front of the means, which no variant beats on accuracy and cost at once. Grey: dominated, "
        "even within the intervals. The ring marks the baseline."
    )
    return join(
        [
            element("div", join(drawn), class_="charts") if drawn else "",
            notes([note] if drawn else []),
            *_tables(report),
        ]
    )


def _tables(report: Report) -> list[Html]:
    """What the charts rest on, folded away."""
    fronts: list[Sequence[str]] = []
    for measured in (False, True):
        header, rows = cost_text.fronts_table(report, measured=measured)
        fronts += rows
    found = []
    if fronts:
        shown = table(header, fronts, label="Pareto fronts", left=set(header))
        found.append(folded("The fronts within the intervals", shown, notes(cost_text.notes(report)[1:])))
    if report.costs.measured:
        shown = table(*cost_text.measured_table(report), label="Measured costs", left={"Machine"})
        said = (sentence(note) for note in cost_text.measured_notes(report))
        found.append(folded("Measured costs", shown, notes(said)))
    shown = table(*cost_text.counted_table(report), label="Counted costs")
    return [*found, folded("Counted costs", shown, notes(cost_text.notes(report)[:1]))]


def _chart(report: Report, front: Front, places: Places) -> Html:
    divisor, word = _unit(front)
    seen = [row.cost / divisor for row in front.rows]
    log = min(seen) > 0 and max(seen) / min(seen) > 30
    x = padded(seen, 48, WIDTH - 14, share=0.08, log=log)
    rows = {row.name: row for row in report.variants}
    shared = accuracy_scale([rows[row.variant] for row in front.rows])
    y = Scale(shared.low, shared.high, HEIGHT - 46, 26)
    best = [row for row in front.rows if row.on_front]
    values = ticks(x, 5)
    machine = f" on {front.machine}" if front.machine else ""
    title = f"{_TITLES[front.cost]}{machine}"
    left_out = "".join(f" Left out: {name}, for {why}." for name, why in front.left_out)
    return drawing(
        WIDTH,
        HEIGHT,
        frame(
            x,
            y,
            f"{title}{f', {word}' if word else ''}",
            "Test accuracy, %",
            x_ticks=list(zip(values, tick_labels(values), strict=True)),
        ),
        element("polyline", points=path(_stairs(best, x, y, divisor)), class_="front"),
        *(_trials(rows[row.variant], x(row.cost / divisor), y, places) for row in front.rows),
        *(_point(report, front, row, rows, x, y, places) for row in front.rows),
        *_labels(report, front, x, y, divisor),
        label=f"Test accuracy against {title.lower()}",
        described=f"On the Pareto front of the means: {', '.join(row.variant for row in best)}.{left_out}",
    )


def _unit(front: Front) -> tuple[float, str]:
    """By what costs are divided on the axis, and in what they are then told."""
    if front.cost == "latency_ms":
        return 1.0, "ms"
    if front.cost == "peak_memory_bytes":
        return 2.0**20, "MiB"
    return si([row.cost for row in front.rows])


def _stairs(best: Sequence[FrontRow], x: Scale, y: Scale, divisor: float) -> list[tuple[float, float]]:
    """The front as steps: between two of its points, the better of what is affordable."""
    found: list[tuple[float, float]] = []
    for row in best:
        across, up = x(row.cost / divisor), y(row.accuracy)
        found += [(across, found[-1][1])] if found else []
        found.append((across, up))
    return [*found, (x.end, found[-1][1])] if found else []


def _trials(row: VariantRow, x: float, y: Scale, places: Places) -> Html:
    dots = [
        trial_dot(x, y(trial.metrics.accuracy), places.trials[row.name, trial.seed])
        for trial in row.done
        if trial.metrics is not None
    ]
    return element("g", join(dots), data_v=places.variants[row.name])


def _point(
    report: Report,
    front: Front,
    row: FrontRow,
    rows: Mapping[str, VariantRow],
    x: Scale,
    y: Scale,
    places: Places,
) -> Html:
    divisor, _ = _unit(front)
    across, up = x(row.cost / divisor), y(row.accuracy)
    parts = []
    if math.isfinite(row.accuracy_low):
        parts.append(line(across, y(row.accuracy_low), across, y(row.accuracy_high), "interval thin"))
    if row.cost_low < row.cost_high < math.inf:
        parts.append(line(x(row.cost_low / divisor), up, x(row.cost_high / divisor), up, "interval thin"))
    kind = "mean" if row.on_front else "mean far" if row.place == "dominated" else "mean open"
    shape = {"cx": place(across), "cy": place(up), "r": "4.6", "class_": kind}
    parts.append(element("circle", **shape))
    if row.variant == report.baseline:
        parts.append(element("circle", **(shape | {"r": "7.6", "class_": "halo"})))
    variant = rows[row.variant]
    said = (
        f"{row.variant}: {numbers.mean_and_std(variant.accuracy)} % "
        f"over {numbers.counted(variant.n, 'seed')}, {_told(front, row)}{_where(row)}"
    )
    return mark(parts, said, places.variants[row.variant])


def _told(front: Front, row: FrontRow) -> str:
    match front.cost:
        case "param_count":
            return f"{numbers.count(row.cost)} parameters"
        case "macs":
            return f"{numbers.macs(row.cost)} MACs"
        case "latency_ms":
            return f"{row.cost:,.3f} ms [{row.cost_low:,.3f}, {row.cost_high:,.3f}]"
    return f"{row.cost / 2**20:,.1f} MiB"


def _where(row: FrontRow) -> str:
    """Its place among the others, by the means and within the intervals."""
    by = f" {', '.join(row.by[:3])}{' and others' if len(row.by) > 3 else ''}" if row.by else " others"
    if row.place == "dominated":
        return f"; dominated by{by}"
    if row.place == "on the front":
        return "; on the front"
    return "; on the front by the means" if row.on_front else f"; by the means behind{by}"


def _labels(report: Report, front: Front, x: Scale, y: Scale, divisor: float) -> list[Html]:
    """Names of the front and of the baseline, where there is room; the pointer tells the others."""
    named = [row for row in front.rows if row.on_front or row.variant == report.baseline]
    taken = [_box(x(row.cost / divisor) - 5, y(row.accuracy), 10.0) for row in front.rows]
    found = []
    for row in sorted(named, key=lambda row: -row.accuracy):
        name = row.variant if len(row.variant) <= 22 else row.variant[:21] + "…"
        across, up, width = x(row.cost / divisor), y(row.accuracy), _LETTER * len(name)
        spots = [
            (9.0, 4.0),
            (-9.0 - width, 4.0),
            (9.0, -9.0),
            (-9.0 - width, -9.0),
            (9.0, 17.0),
            (-width / 2, -12.0),
        ]
        for dx, dy in spots:
            box = _box(across + dx, up + dy - 4, width)
            inside = box[0] >= x.start and box[1] <= WIDTH and box[2] >= 16 and box[3] <= y.start
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                found.append(text(across + dx, up + dy, name, "label"))
                break
    return found


def _box(x: float, y: float, width: float) -> tuple[float, float, float, float]:
    """left, right, top, bottom"""
    return x, x + width, y - 6, y + 6


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
