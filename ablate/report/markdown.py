"""`report.md`: the answer, the tables, the figures, how it was measured: a page for a paper's appendix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ablate.report import claim_text, controls, cost_text, looks, missing, numbers, pretraining, tuning
from ablate.report import parts as part_tables
from ablate.report.findings import parts
from ablate.report.headline import open_report
from ablate.report.method import (
    MEASURED_END,
    MEASURED_PREFIX,
    MEASURED_START,
    measured_lines,
    method_lines,
)
from ablate.report.printed import (
    SECONDARY_NOTE,
    PrintedTable,
    as_table,
    comparison_tables,
    judged_note,
    reasons,
    results_table,
    secondary_table,
    sweep_tables,
)
from ablate.report.remarks import twin_sentence
from ablate.report.rows import EffectRow, Report, SweepRows

Row = Sequence[str]


def text(plain: str) -> str:
    """Plain text as markdown: no name of a study's can become a cell, a link, emphasis or HTML."""
    return _escaped(" ".join(plain.split()))


def _escaped(plain: str) -> str:
    escaped = re.sub(r"([\\`*_|~]|<(?! ))", r"\\\1", plain.replace("&", "&amp;"))
    return escaped.replace("](", "]\\(")


def with_code(plain: str) -> str:
    """The same, where what stands between two backticks is code; in there nothing becomes anything else."""
    parts = " ".join(plain.split()).split("`")
    if len(parts) % 2 == 0 or not all(parts[1:-1]):
        return text(plain)
    # Blanks at the ends of a part are kept, which `text` would take away.
    return "".join(f"`{part}`" if at % 2 else _escaped(part) for at, part in enumerate(parts))


def render_markdown(report: Report) -> str:
    sections = [
        _opening(report),
        _claims(report),
        _looks(report),
        _results(report),
        _controls(report),
        _comparisons(report),
        _effects(report),
        *(_sweep(report, sweep) for sweep in report.sweeps),
        _costs(report),
        _costs_in_figures(report),
        _tuning(report),
        _secondary(report),
        _pretraining(report),
        _incomplete(report),
        _method(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(report: Report) -> str:
    """The answer within the first ten lines: a sentence, and a line for each part."""
    opening = open_report(report)
    found = [f"# {text(report.title)}", text(report.scope), text(opening.answer)]
    if (table := part_tables.opening_table(report, opening)) is not None:
        found.append(_printed(table))
    measured = [part_tables.latency_line(report, parts(report)) if opening.are_parts else ""]
    measured.append(part_tables.time_line(report, opening))
    found.append("\n".join(f"{MEASURED_PREFIX}{text(line)}  " for line in measured if line))
    found.append(text(" ".join(filter(None, (opening.basis, part_tables.left_out(opening))))))
    found.append(_bullets(opening.others))
    return "\n\n".join(part for part in found if part)


def _looks(report: Report) -> str:
    if report.looks.until_decided is None:
        return ""
    header, rows = looks.table(report)
    told = [text(note) for note in looks.notes(report)]
    return _section("Seeds until decided", _table(header, rows), *told)


def _results(report: Report) -> str:
    base = report.baseline_row
    scored = (
        "Accuracy on the test images after the last epoch: mean ± standard deviation over n seeds. Δ: "
        f"difference from {base.name}, with the interval that its verdict rests on. "
    )
    notes = [
        f"{'' if report.costs_alone else scored}Changes of parameters "
        f"and MACs are in percent of {base.name}'s {numbers.count(base.param_count)} parameters and "
        f"{numbers.macs(base.macs)} MACs."
    ]
    aliases = [f"{row.name} = {', '.join(row.aliases)}" for row in report.variants if row.aliases]
    if aliases:
        notes.append(f"One variant, several names: {'; '.join(aliases)}.")
    mixed = [f"{row.name} ({', '.join(row.mixed)})" for row in report.variants if row.mixed]
    if mixed:
        notes.append(
            f"Mixed environments, marked *mixed*: {'; '.join(mixed)} differ among the trials compared."
        )
    warnings = [f"{row.name}: {'; '.join(row.warnings)}" for row in report.variants if row.warnings]
    if warnings:
        notes.append(f"Warnings: {'. '.join(warnings)}.")
    notes += [twin_sentence(row) for row in report.twins]
    notes += filter(None, [tuning.settings_line(report.promoted)])
    return _section(
        "Results", _printed(results_table(report)), *map(text, notes), _figure(report, "accuracy")
    )


def _controls(report: Report) -> str:
    if not report.controls:
        return ""
    answers = _bullets(controls.answer(report, row) for row in report.controls)
    table = _table(*controls.table(report))
    notes = [text(note) for note in controls.notes(report)]
    return _section(controls.title(report), answers, table, *notes)


def _comparisons(report: Report) -> str:
    compared = [(row, row.against) for row in report.variants if row.against is not None]
    if not compared:
        return ""
    told = reasons((row.name, against.judgement, against.reason) for row, against in compared)
    note = (
        f"{judged_note(report, [against.judgement for _, against in compared])} On new images: the same "
        "difference, its interval for both sides allowing for other test images, too; all other intervals "
        "speak of this test set."
    )
    return _section(
        "Comparisons with the baseline",
        *_titled(comparison_tables(report)),
        text(note),
        _bullets(told),
    )


def _effects(report: Report) -> str:
    if not report.effects:
        return ""
    table = part_tables.parts_table(report)
    told = reasons((_effect_name(row), row.judgement, row.reason) for row in report.effects)
    return _section(
        "Effects of the parts",
        _printed(table) if table else "",
        *_titled(part_tables.effect_tables(report)),
        *map(text, part_tables.effects_notes(report)),
        text("The other columns are those of the comparisons above."),
        _bullets(told),
        _figure(report, "effects"),
    )


def _effect_name(row: EffectRow) -> str:
    named = f"{row.name} ({row.kind})" if row.view else row.name
    return f"{named} (with {'+'.join(row.within)} on)" if row.within else named


def _sweep(report: Report, sweep: SweepRows) -> str:
    tables = sweep_tables(report, sweep)
    note = f"Δ is the difference from {sweep.start}, where the sweep starts."
    if len(tables) > 1:
        note = (
            f"Two questions, and a family for each, corrected on its own: does a level do better or worse "
            f"than {sweep.start}, where the sweep starts; and does it do better or worse than "
            f"{report.baseline}? To answer the second is not to answer the first."
        )
    return _section(f"Sweep: {sweep.name}", *_titled(tables), text(note), _figure(report, sweep.file_name))


def _costs(report: Report) -> str:
    """What is measured stands in tables of its own, marked as such."""
    if not report.costs.counted:
        return ""
    parts = [_table(*cost_text.counted_table(report))]
    if report.costs.measured:
        parts.append(_measured_table(*cost_text.measured_table(report)))
    for measured, write in ((False, _table), (True, _measured_table)):
        header, rows = cost_text.fronts_table(report, measured=measured)
        parts += [write(header, rows)] if rows else []
    parts += [text(note) for note in cost_text.notes(report)]
    parts.append("\n".join(f"{MEASURED_PREFIX}{text(note)}  " for note in cost_text.measured_notes(report)))
    return _section("Costs", *parts)


def _measured_table(header: Row, rows: Sequence[Row]) -> str:
    return "\n\n".join([MEASURED_START, _table(header, rows), MEASURED_END])


def _costs_in_figures(report: Report) -> str:
    fronts = [front.file_name for front in report.costs.fronts]
    shown = [_figure(report, name) for name in (*fronts, "curves")]
    return _section("Accuracy, cost and learning", *shown) if any(shown) else ""


def _secondary(report: Report) -> str:
    header, rows = secondary_table(report)
    return _section("Secondary figures", _table(header, rows), text(SECONDARY_NOTE)) if rows else ""


def _tuning(report: Report) -> str:
    found = report.tuning
    if found is None:
        return ""
    write = _measured_table if found.measures else _table
    parts = [_bullets(tuning.answer(search, found.objectives) for search in found.searches)]
    for search in found.searches:
        if search.best:
            parts.append(text(f"{search.start}: the best settings, by {', '.join(found.objectives)}"))
            parts.append(write(*tuning.settings_table(found, search)))
        if tuning.explains(search):
            parts.append(write(*tuning.importance_table(search)))
    parts += [_figure(report, figure.name) for figure in tuning.figures(found)]
    return _section("Tuning", *parts, _bullets(tuning.notes(found), with_code))


def _pretraining(report: Report) -> str:
    if not report.pretraining:
        return ""
    return _section("Pretraining", _table(*pretraining.table(report.pretraining)), text(pretraining.NOTE))


def _incomplete(report: Report) -> str:
    if not report.incomplete:
        return ""
    header, rows = missing.failures_table(report)
    each = _table(header, rows) if rows else ""
    note = "A run says at its end what to do about each; `ablate logs TRIAL` prints a log." if rows else ""
    return _section("Incomplete and failed", _table(*missing.incomplete_table(report)), each, note)


def _claims(report: Report) -> str:
    if not report.claims:
        return ""
    told = _bullets(claim_text.reasons(report, measured=False))
    measured = [f"{MEASURED_PREFIX}{text(reason)}  " for reason in claim_text.reasons(report, measured=True)]
    notes = [text(note) for note in claim_text.notes(report)]
    table = _table(*claim_text.table(report, measured=False))
    header, rows = claim_text.measured_table(report)
    timed = _measured_table(header, rows) if rows else ""
    return _section("Claims", table, timed, told, "\n".join(measured), *notes)


def _method(report: Report) -> str:
    return _section("How it was measured", _bullets(method_lines(report)), "\n".join(measured_lines(report)))


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {text(title)}", *(part for part in parts if part)])


def _bullets(sentences: Iterable[str], write: Callable[[str], str] = text) -> str:
    return "\n".join(f"- {write(sentence)}" for sentence in sentences)


def _figure(report: Report, name: str) -> str:
    caption = next((figure.caption for figure in report.figures if figure.name == name), None)
    return f"![{text(caption)}](figures/{name}.svg)" if caption else ""


def _titled(tables: Iterable[PrintedTable]) -> list[str]:
    return [part for table in tables for part in (text(table.title), _printed(table))]


def _printed(table: PrintedTable) -> str:
    """Words to the left, figures to the right."""
    rule = [":--" if table.is_left(position) else "--:" for position in range(len(table.header))]
    lines = [[text(cell) for cell in row] for row in (table.header, *table.rows)]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(header: Row, rows: Sequence[Row]) -> str:
    words = {*missing.INCOMPLETE_HEADER[2:], *missing.FAILURES_HEADER[2:]}
    words |= {*cost_text.FRONTS_HEADER, "Machine"}
    table = as_table("", "", header, rows)
    return _printed(replace(table, left=table.left | words))
