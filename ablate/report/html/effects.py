"""What each part buys and costs: every line an interval about zero; and the opening, drawn likewise."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report import numbers
from ablate.report.findings import OPEN, Finding, to_decide
from ablate.report.findings import parts as parts_of
from ablate.report.headline import Opening
from ablate.report.html.axes import Scale
from ablate.report.html.strips import axis, difference_strip, effect_scale
from ablate.report.html.words import (
    Places,
    bullets,
    folded,
    notes,
    printed,
    scrolling,
    two_lines,
    verdict,
)
from ablate.report.parts import effect_tables, effects_notes, latency_line, parts_table
from ablate.report.printed import judged_note, reasons, verdict_between
from ablate.report.rows import EffectRow, Report
from ablate.stats import Judgement
from ablate.web import Html, element, join

_MOST_FINDINGS = 12  # what is more stands under the results


def findings(report: Report, opening: Opening, places: Places) -> Html:
    """The parts, or the variants, that the answer speaks of."""
    shown = opening.findings[:_MOST_FINDINGS]
    scale = _scale(report, [finding.judgement for finding in shown if not finding.missing])
    cells = _cells_of_parts(report) if opening.are_parts else {}
    undecided = any(finding.verdict in OPEN for finding in shown)
    head = [
        _th("Part" if opening.are_parts else "Variant"),
        _th(axis(scale, "points"), class_="drawn"),
        _th("Bought, points", class_="figure"),
        _th("Verdict"),
        _th("Parameters", class_="figure"),
        _th("MACs", class_="figure"),
        _th("Seeds to decide", class_="figure") if undecided else None,
    ]
    lines = [
        _finding(report, finding, scale, undecided, cells.get(finding.name, ()), places) for finding in shown
    ]
    whole = element(
        "table",
        element("thead", element("tr", *head)),
        element("tbody", join(lines)),
        class_="effects",
    )
    more = len(opening.findings) - len(shown)
    shown_table = scrolling(
        whole, "What each part bought" if opening.are_parts else "What each variant bought"
    )
    return join([shown_table, notes([f"{more} more stand under Results."] if more else [])])


def _cells_of_parts(report: Report) -> dict[str, tuple[str, ...]]:
    return {row.name: row.cells for row in parts_of(report)}


def _finding(
    report: Report,
    finding: Finding,
    scale: Scale,
    undecided: bool,
    cells: Sequence[str],
    places: Places,
) -> Html:
    behind = cells or (finding.name, report.baseline)
    base = report.baseline_row
    return element(
        "tr",
        element("th", places.link(finding.name, *behind, class_="name"), scope="row"),
        element(
            "td", _strip(report, finding.name, finding.judgement, finding.missing, scale), class_="drawn"
        ),
        _td(_value(finding.judgement, finding.missing), "Bought, points"),
        element("td", verdict(finding.verdict), data_label="Verdict"),
        _td(
            _cost(numbers.signed_count(finding.param_delta), finding.param_delta, base.param_count),
            "Parameters",
        ),
        _td(_cost(numbers.signed_macs(finding.macs_delta), finding.macs_delta, base.macs), "MACs"),
        _td(to_decide(finding.judgement), "Seeds to decide") if undecided else None,
    )


def effects(report: Report, places: Places) -> Html:
    scale = _scale(report, [row.judgement for row in report.effects if not row.missing and not row.view])
    families = dict.fromkeys(row.family for row in report.effects if not row.view)
    shown = [
        join(
            [
                element("h3", family[:1].upper() + family[1:]),
                _family(report, [row for row in report.effects if row.family == family], scale, places),
            ]
        )
        for family in families
    ]
    band = (
        f"The band is the margin of ±{report.procedure.margin:g} points. Each family is corrected on its "
        "own; an interval is the one that its verdict rests on."
    )
    parts = parts_table(report)
    latency = latency_line(report, parts_of(report))
    return join(
        [
            *([element("h3", parts.title), printed(parts)] if parts else []),
            notes([f"{latency[:1].upper()}{latency[1:]}."] if latency else []),
            *shown,
            notes([band, *effects_notes(report)]),
            _statistics(report),
        ]
    )


def _scale(report: Report, judgements: Sequence[Judgement]) -> Scale:
    ends = [
        end for judgement in judgements for end in (*judgement.deciding, judgement.evidence.estimate.value)
    ]
    return effect_scale(ends, report.procedure.margin)


def _family(report: Report, rows: Sequence[EffectRow], scale: Scale, places: Places) -> Html:
    head = [
        _th("Effect"),
        _th(axis(scale, "points"), class_="drawn"),
        _th("Δ, points", class_="figure"),
        _th("Verdict"),
        _th("n a cell", class_="figure"),
        _th("Δ parameters", class_="figure"),
        _th("Δ MACs", class_="figure"),
    ]
    whole = element(
        "table",
        element("thead", element("tr", *head)),
        element("tbody", join(_line(report, row, scale, places) for row in rows)),
        class_="effects",
    )
    return scrolling(whole, rows[0].family)


def _line(report: Report, row: EffectRow, scale: Scale, places: Places) -> Html:
    judgement, base = row.judgement, report.baseline_row
    evidence = judgement.evidence
    n = str(evidence.n) if evidence.n == evidence.n_against else f"{evidence.n} to {evidence.n_against}"
    return element(
        "tr",
        element("th", places.link(row.name, *row.cells, class_="name"), scope="row"),
        element("td", _strip(report, row.name, judgement, bool(row.missing), scale), class_="drawn"),
        _td(_value(judgement, bool(row.missing)), "Δ, points"),
        element("td", verdict(verdict_between(judgement)), data_label="Verdict"),
        _td(places.link(n, *row.cells), "n a cell"),
        _td(_cost(numbers.signed_count(row.param_delta), row.param_delta, base.param_count), "Δ parameters"),
        _td(_cost(numbers.signed_macs(row.macs_delta), row.macs_delta, base.macs), "Δ MACs"),
    )


def _strip(report: Report, name: str, judgement: Judgement, missing: bool, scale: Scale) -> Html:
    said = "cannot be estimated" if missing else f"{numbers.estimate(judgement)} points"
    value = None if missing else judgement.evidence.estimate.value
    return difference_strip(f"{name}: {said}", value, *judgement.deciding, scale, report.procedure.margin)


def _value(judgement: Judgement, missing: bool) -> object:
    if missing:
        return numbers.NONE
    return two_lines(numbers.difference(judgement), numbers.interval(*judgement.deciding))


def _th(said: object, class_: str | None = None) -> Html:
    return element("th", said, scope="col", class_=class_)


def _td(said: object, label: str) -> Html:
    return element("td", said, class_="figure", data_label=label)


def _cost(shown: str, delta: float | None, base: float | None) -> object:
    return two_lines(shown, numbers.share(delta, base)) if delta else shown


def _statistics(report: Report) -> Html:
    told = reasons(
        (
            f"{row.name}{f' with {chr(43).join(row.within)} on' if row.within else ''}",
            row.judgement,
            row.reason,
        )
        for row in report.effects
        if not row.view
    )
    return folded(
        "All statistics of the effects",
        *(printed(one, titled=True) for one in effect_tables(report)),
        notes([judged_note(report, [row.judgement for row in report.effects])]),
        bullets(told, "note"),
    )
