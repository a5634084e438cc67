"""What the figures beside an answer are: of what, with how many seeds, corrected how."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report import numbers
from ablate.report.effects import without_dunnett
from ablate.report.findings import OPEN, Finding, listed, of_planned
from ablate.report.printed import sampling_error
from ablate.report.rows import EffectRow, Report
from ablate.stats import Judgement, Procedure, assumption

_BOUGHT = {
    "main": "the main effect in the 2{k} design, on minus off, averaged over the other parts",
    "share": "the Shapley share, what the part adds to others, averaged over all orders of adding them",
    "leave-one-out": "what the full module loses without the part",
    "add-one": "what the part alone adds",
}


def basis_of_parts(report: Report, effects: Sequence[EffectRow]) -> str:
    """What the figures of the parts mean; for below their table."""
    evidences = [row.judgement.evidence for row in effects if not row.missing]
    counts = {n for evidence in evidences for n in (evidence.n, evidence.n_against)} or {0}
    n = of_planned(min(counts), max(counts), max(row.planned for row in effects))
    bought = _BOUGHT[effects[0].kind].format(k=_exponent(len(effects)))
    cells = "cell" if effects[0].kind in ("main", "share") else "variant"
    said = (
        f"Bought: {bought}, in points of test accuracy; {n} seed{'' if n == '1' else 's'} a {cells}"
        f"{_corrected(without_dunnett(report.procedure))}. Parameters and MACs: what it adds of them, in "
        f"percent of {_denominators(report)}."
    )
    notes = (throughout(effects), to_decide_note(report, [row.judgement for row in effects]))
    return " ".join(filter(None, (said, *notes)))


def basis_of_variants(report: Report, findings: Sequence[Finding]) -> str:
    decide = to_decide_note(report, [finding.judgement for finding in findings])
    return (
        f"Bought: the difference from {report.baseline} in points of test accuracy"
        f"{_corrected(report.procedure)}. Parameters and MACs: the difference, in percent of "
        f"{_denominators(report)}. {decide}"
    )


def _denominators(report: Report) -> str:
    base = report.baseline_row
    return f"{base.name}'s {numbers.count(base.param_count)} and {numbers.macs(base.macs)}"


def throughout(effects: Sequence[EffectRow]) -> str:
    """What the design leaves on, whatever is judged, as a sentence."""
    always = effects[0].always
    if not always:
        return ""
    be = "is" if len(always) == 1 else "are"
    return f"{listed(always)} {be} on throughout, also with every part off."


def to_decide_note(report: Report, judgements: Sequence[Judgement]) -> str:
    """What the column "Seeds to decide" holds; empty where nothing is open."""
    if all(judgement.verdict not in OPEN for judgement in judgements):
        return ""
    margin = report.procedure.margin
    assumed = next((one.std for one in judgements if one.std_assumed and one.evidence.n), None)
    guess = f", {assumption(assumed)}" if assumed is not None else ""
    return (
        f"Seeds to decide: a variant, to show a difference of {margin:g} points, or rule it out, 4 times in "
        f"5{guess}; where there are as many already, those for a difference as large as the one found."
        f"{sampling_error(report, assumed) if assumed is not None else ''}"
    )


def _exponent(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _corrected(procedure: Procedure) -> str:
    """How the intervals were corrected, for a sentence that says what they are of."""
    if procedure.test == "dunnett":
        return ", each with its interval by Dunnett's test"
    by_pairs = " by pairs of seeds" if procedure.test == "paired" else ""
    holm = " after Holm's correction" if procedure.correction == "holm" else ", uncorrected"
    return f", each with its interval{by_pairs}{holm}"
