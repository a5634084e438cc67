"""The answer in plain sentences: which parts earned their cost, which did not, and what would decide."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.report.answer import about_part, about_variant, answer_of_parts, answer_of_variants
from ablate.report.basis import basis_of_parts, basis_of_variants
from ablate.report.cost_text import costs_answer
from ablate.report.findings import Finding, listed, of_parts, of_variants, parts
from ablate.report.remarks import beating_levels, beside_parts, levels, main_variants, remarks
from ablate.report.rows import Report
from ablate.report.tuning import opening_sentences as tuning_sentences


@dataclass(frozen=True, slots=True)
class Opening:
    """The answer; what it rests on, with a line that says what that is; and what else was found."""

    answer: str
    findings: tuple[Finding, ...] = ()
    are_parts: bool = False
    basis: str = ""
    others: tuple[str, ...] = ()


def headline(report: Report) -> tuple[str, ...]:
    """The opening as sentences: the answer, one for each finding, and one for whatever else was found."""
    opening = open_report(report)
    about = about_part if opening.are_parts else about_variant
    return (opening.answer, *(about(report, finding) for finding in opening.findings), *opening.others)


def open_report(report: Report) -> Opening:
    """It rests on the effects of the first design's parts; without a design, on the variants."""
    if report.costs_alone:
        return Opening(costs_answer(report), others=tuple(tuning_sentences(report)))
    done = sum(row.n for row in report.variants)
    planned = sum(row.planned for row in report.variants)
    if not done:
        nothing = f"None of the {planned} trials has finished, so there is nothing to report yet."
        if report.tuning is not None:
            nothing = f"None of the study's own {planned} trials has finished yet; it was tuned."
        return Opening(nothing, others=tuple(tuning_sentences(report)))
    # Where a rule gave the seeds out, it decided on the variants; effects are exploratory then.
    effects = parts(report) if report.looks.until_decided is None else ()
    if effects:
        findings = of_parts(effects)
        answer = answer_of_parts(report, findings)
        basis = basis_of_parts(report, effects)
        found = beside_parts(report, effects)
    else:
        ready = [row for row in main_variants(report) if row.n]
        findings = of_variants(ready, report.baseline_row)
        if not findings:
            alone = f"{report.baseline} stands alone: there is nothing to compare it with."
            if waiting := [row.name for row in main_variants(report)]:
                have = "has" if len(waiting) == 1 else "have"
                alone = (
                    f"Nothing can be compared with {report.baseline} yet: {listed(waiting)} {have} no "
                    "finished trial."
                )
            return Opening(alone, others=tuple(remarks(report)))
        answer = answer_of_variants(report, findings)
        basis = basis_of_variants(report, findings)
        found = levels(report) if any(row.origin != "sweep" for row in main_variants(report)) else []
    beating = beating_levels(report)
    if beating and found:
        beat = "beats" if len(beating) == 1 else "beat"
        answer += f" Of the sweeps' levels, {listed(beating)} {beat} {report.baseline}."
    if report.looks.post_hoc:
        answer = f"Post hoc: {answer}"
    others = (*found, *remarks(report))
    return Opening(answer, tuple(findings), bool(effects), basis, others)
