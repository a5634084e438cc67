"""One factor at a time: accuracy by level, and each level against the start."""

from __future__ import annotations

import math

from ablate.report import numbers
from ablate.report.html.axes import Scale, drawing, frame, line, padded, path, place, text
from ablate.report.html.strips import trial_dot
from ablate.report.html.words import Places, folded, notes, printed, table, verdict
from ablate.report.printed import START, judged_note, sweep_tables, verdict_between
from ablate.report.rows import Report, SweepLevel, SweepRows
from ablate.stats import is_geometric
from ablate.web import Html, element, join

WIDTH, HEIGHT = 480.0, 300.0
_NAME = 12  # letters of the baseline's name, which stands to the right of its line
_RIGHT = WIDTH - 76


def sweep(report: Report, rows: SweepRows, places: Places) -> Html:
    header = [rows.name, "n", "Accuracy, %", "Δ, points", "p adjusted", "Verdict", "Parameters", "MACs"]
    lines = []
    for level in rows.levels:
        variant, against = level.variant, level.against
        shown = str(variant.n) if variant.n == variant.planned else f"{variant.n}/{variant.planned}"
        lines.append(
            [
                level.label,
                places.link(shown, variant.name, *([rows.start] if against else [])),
                numbers.mean_and_std(variant.accuracy),
                numbers.estimate(against.judgement) if against else numbers.NONE,
                numbers.p_value(against.judgement.p_adjusted) if against else numbers.NONE,
                verdict(verdict_between(against.judgement) if against else START),
                numbers.count(variant.param_count),
                numbers.macs(variant.macs),
            ]
        )
    said = [
        f"Δ is the difference from {rows.start}, where the sweep starts; whether a level beats "
        f"{report.baseline} stands under Results. Swept: {rows.setting}."
    ]
    compared = [level.against.judgement for level in rows.levels if level.against]
    more = folded(
        f"All statistics of the sweep {rows.name}",
        *(printed(one, titled=True) for one in sweep_tables(report, rows)),
        notes([judged_note(report, compared)]),
    )
    drawn = [level for level in rows.levels if level.variant.accuracy is not None]
    chart = element("figure", _chart(report, rows, drawn, places)) if drawn else ""
    return join(
        [
            element("h3", rows.name),
            element(
                "div",
                chart,
                element("div", table(header, lines, label=f"Sweep: {rows.name}"), notes(said), more),
                class_="sweep",
            ),
        ]
    )


def _chart(report: Report, rows: SweepRows, levels: list[SweepLevel], places: Places) -> Html:
    x, at = _across(rows, levels)
    scores = [score for level in levels for score in level.variant.scores.values()]
    base = report.baseline_row.accuracy
    ends = [
        end
        for level in levels
        if level.variant.accuracy
        for end in (level.variant.accuracy.low, level.variant.accuracy.high)
    ]
    y = padded([*scores, *ends, *([base.mean] if base else [])], HEIGHT - 46, 24)
    marks: list[Html] = []
    if base:
        marks.append(line(x.start, y(base.mean), x.end, y(base.mean), "base"))
        marks.append(text(x.end + 6, y(base.mean) + 4, report.baseline[:_NAME], "label"))
    if rows.numeric:
        means = [
            (x(at[level.label]), y(level.variant.accuracy.mean)) for level in levels if level.variant.accuracy
        ]
        marks.append(element("polyline", points=path(means), class_="through"))
    marks += [_level(level, x(at[level.label]), y, places) for level in levels]
    labels = [(at[level.label], level.label[:14]) for level in levels]
    return drawing(
        WIDTH,
        HEIGHT,
        frame(x, y, rows.name, "Test accuracy, %", x_ticks=labels),
        *marks,
        label=f"Test accuracy by {rows.name}",
        described="Large dots: means with their intervals; small dots: seeds; dashed: the baseline's mean.",
    )


def _across(rows: SweepRows, levels: list[SweepLevel]) -> tuple[Scale, dict[str, float]]:
    """The axis, and where on it each level stands."""
    if not rows.numeric:
        at = {level.label: float(position) for position, level in enumerate(levels)}
        return Scale(-0.5, len(levels) - 0.5, 48, _RIGHT), at
    at = {level.label: level.value or 0.0 for level in levels}
    return padded(at.values(), 48, _RIGHT, share=0.1, log=is_geometric(list(at.values()))), at


def _level(level: SweepLevel, x: float, y: Scale, places: Places) -> Html:
    variant = level.variant
    summary = variant.accuracy
    parts = [
        trial_dot(x - 7, y(trial.metrics.accuracy), places.trials[variant.name, trial.seed])
        for trial in variant.done
        if trial.metrics is not None
    ]
    if summary is not None:
        if math.isfinite(summary.low):
            parts.append(line(x, y(summary.low), x, y(summary.high), "interval"))
        parts.append(element("circle", cx=place(x), cy=place(y(summary.mean)), r="4.2", class_="mean"))
    said = f"{level.label}: {numbers.mean_and_std(summary)} % over {numbers.counted(variant.n, 'seed')}"
    return mark(parts, said, places.variants[variant.name])


def mark(parts: list[Html], said: str, variant: int) -> Html:
    """What the pointer and the keyboard can visit: `said` is shown, a click opens the variant's trials."""
    return element(
        "g", join(parts), class_="mark", tabindex="-1", role="button", aria_label=said, data_v=variant
    )
