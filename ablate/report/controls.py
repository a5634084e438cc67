"""Is it attention, or only more parameters? What the same budget buys when it is spent on the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.record import PlannedControl
from ablate.report import numbers
from ablate.report.rows import Against, ControlRow, Report, VariantRow

FAMILY = "variants against their controls"
_NOUN = {"params": "parameters", "macs": "MACs"}
MATCHED = 0.01  # of the budget; what lies farther off is said


def control_rows(
    controls: Sequence[PlannedControl],
    rows: Mapping[str, VariantRow],
    judged: Sequence[Against],
) -> tuple[ControlRow, ...]:
    """judged: each matched variant against its control, in the order of `sides`."""
    of_pair = dict(zip(_pairs(controls), judged, strict=True))
    return tuple(
        ControlRow(
            match=control.match,
            argument=control.argument,
            value=control.value,
            budget=control.budget,
            achieved=control.achieved,
            of=rows[control.to],
            control=rows[control.variant],
            against=of_pair[control.to, control.variant],
        )
        for control in controls
    )


def sides(
    controls: Sequence[PlannedControl], rows: Mapping[str, VariantRow]
) -> list[tuple[VariantRow, VariantRow]]:
    """Each matched variant with its control, once where one control matches parameters and MACs alike."""
    return [(rows[to], rows[control]) for to, control in _pairs(controls)]


def _pairs(controls: Sequence[PlannedControl]) -> dict[tuple[str, str], None]:
    return dict.fromkeys((control.to, control.variant) for control in controls)


def title(report: Report) -> str:
    nouns = dict.fromkeys(_NOUN[row.match] for row in report.controls)
    return f"Is it attention, or only more {' or '.join(nouns)}?"


def answer(report: Report, row: ControlRow) -> str:
    """One sentence: which of the two ways to spend the budget bought more."""
    judgement, margin = row.against.judgement, report.procedure.margin
    of, spent = row.of.name, _spent(report, row)
    figure = f"{numbers.estimate(judgement)} points"
    only = f"only more {_NOUN[row.match]}"
    match judgement.verdict:
        case "better":
            return f"Not {only}: {of} does better than {spent}, by {figure}."
        case "better but within the margin":
            return (
                f"Not {only}, but close: {of} does better than {spent}, by less than the {margin:g} points "
                f"that count: {figure}."
            )
        case "worse" | "worse but within the margin":
            return f"Better spent otherwise: {of} does worse than {spent}: {figure}."
        case "equivalent":
            return (
                f"No more than its {_NOUN[row.match]}: {of} and {spent} are equivalent, {figure}, inside "
                f"±{margin:g}."
            )
        case "no-op":
            return f"{of} and {spent} gave identical predictions on every shared seed."
        case verdict:
            return f"Whether it is {only} is {verdict}: {of} against {spent}, {figure}; {row.against.reason}."


def _spent(report: Report, row: ControlRow) -> str:
    if row.value is None:
        return f"{report.baseline}, which nothing comes nearer to in {_NOUN[row.match]}"
    off = numbers.share(row.achieved - row.budget, row.budget)
    return f"{report.baseline} with {row.argument} {row.value} ({off} {_NOUN[row.match]})"


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and cells: for every control the baseline, the control, and the variant beside it."""
    header = ["Variant", "n", "Accuracy, %", "Parameters", "MACs", "Δ, points", "p adjusted", "Verdict"]
    lines = []
    for row in report.controls:
        width = f" ({row.argument} {row.value})" if row.value is not None else ""
        beside = [(report.baseline_row, ""), *([(row.control, width)] if row.value is not None else [])]
        for variant, more in beside:
            lines.append(
                [f"{variant.name}{more}", *_figures(variant), numbers.NONE, numbers.NONE, numbers.NONE]
            )
        judgement = row.against.judgement
        lines.append(
            [
                f"{row.of.name} − {row.control.name}",
                *_figures(row.of),
                numbers.estimate(judgement),
                numbers.p_value(judgement.p_adjusted),
                judgement.verdict,
            ]
        )
    return header, lines


def _figures(row: VariantRow) -> list[str]:
    shown = str(row.n) if row.n == row.planned else f"{row.n}/{row.planned}"
    return [
        shown,
        numbers.mean_and_std(row.accuracy),
        numbers.count(row.param_count),
        numbers.macs(row.macs),
    ]


def notes(report: Report) -> list[str]:
    """Plain text below the table."""
    found = [
        f"Each control is {report.baseline} with one argument of its backbone raised until it costs what the "
        "variant costs. Δ is the variant minus its control, with its interval after correction in a family "
        "of their own."
    ]
    for row in report.controls:
        off = row.achieved / row.budget - 1
        if abs(off) > MATCHED:
            found.append(
                f"{row.control.name} is {numbers.share(row.achieved - row.budget, row.budget)} off "
                f"{row.of.name}'s {numbers.count(row.budget)} {_NOUN[row.match]}, more than 1 %."
            )
    return found


def document(row: ControlRow, report: Report) -> dict[str, Any]:
    """What the JSON says beside the judgement."""
    return {
        "match": row.match,
        "to": row.of.name,
        "control": row.control.name,
        "argument": row.argument,
        "value": row.value,
        "budget": row.budget,
        "achieved": row.achieved,
        "percent_off": 100 * (row.achieved / row.budget - 1),
        "answer": answer(report, row),
        **{
            f"{side}_{key}": figure
            for side, variant in _sides(row, report)
            for key, figure in _costs(variant)
        },
    }


def _sides(row: ControlRow, report: Report) -> list[tuple[str, VariantRow]]:
    return [("baseline", report.baseline_row), ("control", row.control), ("to", row.of)]


def _costs(row: VariantRow) -> list[tuple[str, Any]]:
    mean = row.accuracy.mean if row.accuracy else None
    return [
        ("n", row.n),
        ("accuracy_mean", mean),
        ("param_count", row.param_count),
        ("macs", row.macs),
    ]
