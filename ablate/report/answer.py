"""The answer to the study's question, and a sentence about each part or variant that it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report import numbers
from ablate.report.findings import OPEN, Finding, cost, listed, needed
from ablate.report.rows import Report, VariantRow


def answer_of_parts(report: Report, findings: Sequence[Finding]) -> str:
    margin, groups = report.procedure.margin, _by_verdict(findings)
    said = []
    for verdict, names in groups.items():
        one, they = len(names) == 1, listed(names)
        match verdict:
            case "better":
                priced = [
                    f"{finding.name} ({shares_of(finding, report.baseline_row)})"
                    for finding in findings
                    if finding.verdict == verdict
                ]
                said.append(f"{listed(priced)} {'is' if one else 'are'} shown to add accuracy")
            case "better but within the margin":
                said.append(
                    f"{they} help{'s' if one else ''}, but by less than the {margin:g} points that count"
                )
            case "worse" | "worse but within the margin":
                said.append(f"{they} cost accuracy")
            case "equivalent":
                said.append(f"{they} bought nothing that counts (less than {margin:g} points)")
            case "no-op":
                said.append(f"{they} changed no prediction")
            case _:
                said.append(_open(names, verdict, findings))
    none = "" if "better" in groups else "None is shown to have: "
    return f"Which parts earned their cost? {none}{'; '.join(said)}{_more_than_spending(report, findings)}."


def answer_of_variants(report: Report, findings: Sequence[Finding]) -> str:
    margin, groups = report.procedure.margin, _by_verdict(findings)
    said = []
    for verdict, names in groups.items():
        s, they = "s" if len(names) == 1 else "", listed(names)
        match verdict:
            case "better":
                said.append(f"{they} do{'es' if s else ''}")
            case "better but within the margin":
                said.append(
                    f"{they} do{'es' if s else ''}, but by less than the {margin:g} points that count"
                )
            case "worse" | "worse but within the margin":
                said.append(f"{they} do{'es' if s else ''} worse")
            case "equivalent":
                said.append(f"{they} {'is' if s else 'are'} equivalent to it, within ±{margin:g} points")
            case "no-op":
                said.append(f"{they} changed no prediction")
            case _:
                said.append(_open(names, verdict, findings))
    none = "" if "better" in groups else "None is shown to: "
    spending = _more_than_spending(report, findings)
    return f"Which variants beat {report.baseline}? {none}{'; '.join(said)}{spending}."


def _more_than_spending(report: Report, findings: Sequence[Finding]) -> str:
    """Where something did better, but not shown to than the baseline given the same budget: so much."""
    if not any(finding.verdict.startswith("better") for finding in findings):
        return ""
    noun = {"params": "parameters", "macs": "MACs"}
    groups: dict[tuple[str, str], list[str]] = {}
    for row in report.controls:
        verdict = row.against.judgement.verdict
        if verdict != "better":
            groups.setdefault((verdict, noun[row.match]), []).append(row.of.name)
    return "".join(
        f"; {_against_spending(listed(names), matched, verdict, one=len(names) == 1)}"
        for (verdict, matched), names in groups.items()
    )


def _against_spending(they: str, matched: str, verdict: str, *, one: bool) -> str:
    alone, s = f"{'its' if one else 'their'} {matched} alone would", "s" if one else ""
    match verdict:
        case "better but within the margin":
            return f"{they} add{s} more than {alone}, but by less than counts"
        case "worse" | "worse but within the margin":
            return f"{they} add{s} less than {alone}"
        case "equivalent" | "no-op":
            return f"{they} add{s} no more than {alone}"
        case _:
            return f"whether {they} add{s} more than {alone} is {verdict}"


def _by_verdict(findings: Sequence[Finding]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for finding in findings:
        groups.setdefault(finding.verdict, []).append(finding.name)
    return groups


def _open(names: Sequence[str], verdict: str, findings: Sequence[Finding]) -> str:
    """What is not decided, and after how many seeds."""
    evidences = [finding.judgement.evidence for finding in findings if finding.name in names]
    fewest = min(min(evidence.n, evidence.n_against) for evidence in evidences)
    be = "is" if len(names) == 1 else "are"
    if fewest == 0:
        return f"{listed(names)} {be} {verdict}, for want of finished trials"
    after = f"after {fewest} seed{'' if fewest == 1 else 's'}"
    return f"{listed(names)} {be} {verdict} {after}"


def about_part(report: Report, finding: Finding) -> str:
    judgement, margin = finding.judgement, report.procedure.margin
    name, figure = finding.name, numbers.estimate(judgement)
    price = cost(finding, report.baseline_row)
    match judgement.verdict:
        case "better":
            return f"{name} is shown to add accuracy: {figure} for {price}."
        case "better but within the margin":
            return f"{name} helps, but by less than the {margin:g} points that count: {figure} for {price}."
        case "worse" | "worse but within the margin":
            return f"{name} cost accuracy: {figure}, and that for {price}."
        case "equivalent":
            return (
                f"{name} bought nothing that counts: {figure}, and so inside ±{margin:g} points, for {price}."
            )
        case "no-op":
            return f"{name} changed no prediction, for {price}."
        case verdict if finding.missing:
            return f"{name} is {verdict}: {finding.reason}."
        case verdict:
            return f"{name} is {verdict}: {figure} for {price}; {needed(judgement, margin)}."


def about_variant(report: Report, finding: Finding) -> str:
    judgement = finding.judgement
    if judgement.verdict not in OPEN:
        told = f"{finding.name}: {judgement.verdict}, {numbers.estimate(judgement)}"
        return f"{told} for {cost(finding, report.baseline_row)}."
    alone = min(judgement.evidence.n, judgement.evidence.n_against) < 2
    why = finding.reason if alone else needed(judgement, report.procedure.margin)
    return f"{finding.name}: {judgement.verdict}, {numbers.estimate(judgement)}; {why}."


def shares_of(finding: Finding, base: VariantRow) -> str:
    costs = (
        (finding.param_delta, base.param_count, "parameters"),
        (finding.macs_delta, base.macs, "MACs"),
    )
    said = [f"{numbers.share(part, whole)} {noun}" for part, whole, noun in costs if part is not None]
    return ", ".join(said) or "cost not measured"
