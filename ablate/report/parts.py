"""What each part buys beside what it costs; and the effects of a design in full."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report import numbers, pace
from ablate.report.effects import points_per_percent
from ablate.report.findings import OPEN, Finding, none_on, of_planned, parts, to_decide
from ablate.report.headline import Opening
from ablate.report.printed import PrintedTable, judged, judged_header
from ablate.report.rows import EffectRow, Report
from ablate.stats import MANY_SEEDS

# An opening is to be read at a glance: what is more stands in the table of the results.
_MOST_FINDINGS = 8


def opening_table(report: Report, opening: Opening) -> PrintedTable | None:
    """Part (or variant), verdict, what it bought, what it costs, and how many seeds would decide."""
    if not opening.findings:
        return None
    what = "Part" if opening.are_parts else "Variant"
    found = opening.findings[:_MOST_FINDINGS]
    header = [what, "Verdict", "Bought, points", "Parameters", "MACs"]
    rows = [_finding(report, finding) for finding in found]
    if any(finding.verdict in OPEN for finding in found):
        header.append("Seeds to decide")
        rows = [[*row, to_decide(finding.judgement)] for row, finding in zip(rows, found, strict=True)]
    bold = frozenset(i for i, finding in enumerate(found) if finding.verdict == "better")
    return PrintedTable("answer", opening.answer, tuple(header), tuple(tuple(row) for row in rows), bold=bold)


def left_out(opening: Opening) -> str:
    """A sentence on the findings that the table of the opening has no room for."""
    more = len(opening.findings) - _MOST_FINDINGS
    return f"{more} more stand under Results." if more > 0 else ""


def _finding(report: Report, finding: Finding) -> list[str]:
    base = report.baseline_row
    params = numbers.signed_count(finding.param_delta)
    macs = numbers.signed_macs(finding.macs_delta)
    return [
        finding.name,
        finding.verdict,
        numbers.estimate(finding.judgement),
        _with_share(params, finding.param_delta, base.param_count),
        _with_share(macs, finding.macs_delta, base.macs),
    ]


def _with_share(said: str, part: float | None, whole: int | None) -> str:
    share = numbers.share(part, whole)
    return said if share == numbers.NONE else f"{said} ({share})"


def latency_line(report: Report, rows: Sequence[EffectRow]) -> str:
    """What the parts cost in latency, where one session timed them all; measured, so on a line of its own."""
    timed = [row for row in rows if row.latency is not None]
    told = [
        f"{row.name} {_ms(row.latency.value)} [{_ms(low)}, {_ms(high)}]"
        for row in timed
        if row.latency is not None
        for low, high in [row.latency.interval(report.procedure.level)]
    ]
    if not told:
        return ""
    share = f"{100 * (1 - report.procedure.level):g} %"
    machine = timed[0].latency_machine
    return f"latency that each part adds, ms at batch 1 on {machine}, {share} intervals: {'; '.join(told)}"


def time_line(report: Report, opening: Opening) -> str:
    """How long it would take to decide what is open; measured, so on a line of its own."""
    if not opening.are_parts:
        return pace.open_sentence(report) or ""
    wanted = pace.together(
        dict.fromkeys(row.cells, seeds)
        for row in parts(report)
        if row.judgement.verdict in OPEN
        if (seeds := row.judgement.seeds_to_decide) is not None and seeds <= MANY_SEEDS
    )
    done = {row.name: row.n for row in report.variants}
    trials = sum(max(0, seeds - done[name]) for name, seeds in wanted.items())
    time = pace.time_to_decide(report, wanted) if trials else None
    return f"to decide on the parts that are open, {trials} more trials, {time}" if time else ""


def _ms(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def parts_table(report: Report) -> PrintedTable | None:
    """A part a line: alone, on average over the others, and last; what it costs; points for its MACs."""
    rows = parts(report)
    if not rows:
        return None
    views = [("add-one", "Alone, points"), ("leave-one-out", "On top of the rest, points")]
    found = {
        (row.kind, row.factors): row
        for row in report.effects
        if row.view and f"from {row.design.partition(' from ')[2]}" in rows[0].design
    }
    shown = [(kind, title) for kind, title in views if all((kind, row.factors) in found for row in rows)]
    main = {"main": "On average, points", "share": "Shapley share, points"}.get(
        rows[0].kind, "Bought, points"
    )
    header = ["Part", main, "Verdict"]
    header += [title for _, title in shown]
    cells = []
    for row in rows:
        line = [row.name, numbers.estimate(row.judgement), row.judgement.verdict]
        line += [numbers.estimate(found[kind, row.factors].judgement) for kind, _ in shown]
        cells.append((*line, *_costs(report, row)))
    return PrintedTable(
        "parts",
        "What each part buys and what it costs",
        (*header, "Parameters", "MACs", "Points per 1 % of MACs"),
        tuple(cells),
        bold=frozenset(i for i, row in enumerate(rows) if row.judgement.verdict == "better"),
    )


def _costs(report: Report, row: EffectRow) -> tuple[str, str, str]:
    base = report.baseline_row
    quotient = points_per_percent(row, base)
    return (
        _with_share(numbers.signed_count(row.param_delta), row.param_delta, base.param_count),
        _with_share(numbers.signed_macs(row.macs_delta), row.macs_delta, base.macs),
        numbers.with_interval(*quotient, digits=3) if quotient else numbers.NONE,
    )


def effect_tables(report: Report) -> list[PrintedTable]:
    """A table a family, in full; views stand in the table of the parts."""
    shown = [row for row in report.effects if not row.view]
    return [
        effects_of_family(report, family, [row for row in shown if row.family == family])
        for family in dict.fromkeys(row.family for row in shown)
    ]


def effects_of_family(report: Report, family: str, rows: Sequence[EffectRow]) -> PrintedTable:
    header = ("Effect", "n a cell", *judged_header(report), "Δ parameters", "Δ MACs")
    return PrintedTable(
        "effects",
        f"Family: {family} ({len(rows)})",
        header,
        tuple(
            (
                row.name,
                of_planned(row.judgement.evidence.n, row.judgement.evidence.n_against, row.planned),
                *judged(row.judgement),
                numbers.signed_count(row.param_delta),
                numbers.signed_macs(row.macs_delta),
            )
            for row in rows
        ),
        bold=frozenset(i for i, row in enumerate(rows) if row.judgement.verdict == "better"),
    )


def _empty_cell(report: Report) -> str:
    both = "effects are given over all cells and within the first part on."
    if left := none_on(parts(report), ""):
        return f"The cell with no part on holds {left}; {both}"
    return f"The cell with nothing on has no module and so lacks the residual branch, too: {both}"


def effects_notes(report: Report) -> list[str]:
    """What the kinds of effects mean, for those that the report has; plain text."""
    kinds = {row.kind for row in report.effects}
    views = any(row.view for row in report.effects)
    said = []
    if "main" in kinds:
        said.append(
            "A main effect is the difference between on and off, averaged over the other parts; an "
            "interaction is the difference of differences, not halved: what the parts buy together beyond "
            f"the sum of what each buys alone. {_empty_cell(report)}"
        )
    if views:
        said.append(
            f"Alone: the part against {none_on(parts(report), 'no part')}; on top of the rest: all parts "
            "against all but this one. They are views of the same cells, each column with its own "
            "correction. The verdict is that of the average: it rests on all cells and so scatters less than "
            "a view, which rests on two."
        )
    if "share" in kinds:
        said.append(
            "Adding the parts one after the other gives each an increment that depends on the order: what "
            "two parts buy only together falls to the later one. The Shapley share is the increment averaged "
            f"over all orders; the shares add up to all parts together less {none_on(parts(report))}, and "
            "each, being a sum over all cells, has an interval."
        )
    said.append(
        "Δ parameters and Δ MACs are the same sums over the costs of the cells. Points per 1 % of MACs: the "
        "points for each per cent of the baseline's MACs that was added, with the interval of the points in "
        "the same scale (MACs are counted, and have no error); none is given below 1 %."
    )
    return said
