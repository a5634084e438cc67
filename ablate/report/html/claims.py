"""The study's own claims, each with its verdict, its figures and the trials behind them."""

from __future__ import annotations

from collections.abc import Mapping

from ablate.report import claim_text, numbers
from ablate.report.html.strips import claim_strip
from ablate.report.html.words import Places, notes, sentence, verdict
from ablate.report.rows import ClaimFigure, ClaimRow, Report
from ablate.web import Html, element, join


def claims(report: Report, places: Places) -> Html:
    header, lines = claim_text.table(report)
    # One line a figure, in the order of the claims.
    left = iter(dict(zip(header, line, strict=True)) for line in lines)
    shown = [_claim(row, [next(left) for _ in row.figures], places) for row in report.claims]
    return join([element("div", join(shown), class_="claims"), notes(claim_text.notes(report))])


def _claim(row: ClaimRow, lines: list[dict[str, str]], places: Places) -> Html:
    words = claim_text.verdict_in_words(row)
    return element(
        "article",
        element(
            "header",
            element("h3", element("span", row.id, class_="muted"), " ", row.say or row.claimed),
            verdict(words),
        ),
        element("p", f"Claimed: {row.claimed}.", class_="note"),
        join(_figure(row, figure, line, places) for figure, line in zip(row.figures, lines, strict=True)),
        element("p", sentence("; ".join([row.reason, *row.remarks])), class_="note"),
        class_="claim",
    )


def _figure(row: ClaimRow, figure: ClaimFigure, line: Mapping[str, str], places: Places) -> Html:
    beside = [
        *([f"interval at {line['Interval at']}"] if line["Interval at"] != numbers.NONE else []),
        *([f"p adjusted {line['p adjusted']}"] if line["p adjusted"] not in ("", numbers.NONE) else []),
    ]
    behind = numbers.NONE if line["n"] == numbers.NONE else f"n = {line['n']}"
    return element(
        "div",
        claim_strip(figure, row.bounds),
        element(
            "div",
            element("div", figure.name, class_="what"),
            element("div", line["Estimate"], class_="value"),
            element("div", ", ".join(beside), class_="under") if beside else None,
            element("div", places.link(behind, *figure.sides), class_="under")
            if behind != numbers.NONE
            else None,
        ),
        class_="claimed",
    )
