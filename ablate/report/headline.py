"""The answer in plain sentences: which parts earned their cost, which did not, and what would decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.report import numbers
from ablate.report.comparisons import unequal_spread
from ablate.report.controls import answer as control_answer
from ablate.report.effects import without_dunnett
from ablate.report.findings import (
    OPEN,
    Finding,
    cost,
    needed,
    none_on,
    of_parts,
    of_planned,
    of_variants,
    parts,
)
from ablate.report.numbers import estimate as estimate
from ablate.report.printed import sampling_error
from ablate.report.rows import EffectRow, Report, TwinRow, VariantRow
from ablate.report.tuning import opening_sentences as tuning_sentences
from ablate.stats import Judgement, Procedure, assumption


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
    about = _of_part if opening.are_parts else _of_variant
    return (opening.answer, *(about(report, finding) for finding in opening.findings), *opening.others)


def open_report(report: Report) -> Opening:
    """It rests on the effects of the first design's parts; without a design, on the variants."""
    done = sum(row.n for row in report.variants)
    planned = sum(row.planned for row in report.variants)
    if not done:
        nothing = f"None of the {planned} trials has finished, so there is nothing to report yet."
        return Opening(nothing, others=tuple(tuning_sentences(report)))
    # Where a rule gave the seeds out, it decided on the variants; effects are exploratory then.
    effects = parts(report) if report.looks.until_decided is None else ()
    if effects:
        findings = of_parts(effects)
        said = f"{_answer_of_parts(report, findings)}{_more_than_spending(report, findings)}"
        answer = f"Which parts earned their cost? {said}."
        basis = _basis(report, effects)
        found = [*_shares(effects), *_levels(report), *_interplay(report, effects), *_whole(report, effects)]
    else:
        ready = [row for row in _main_variants(report) if row.n]
        findings = of_variants(ready, report.baseline_row)
        if not findings:
            alone = f"{report.baseline} stands alone: there is nothing to compare it with."
            return Opening(alone, others=tuple(_remarks(report)))
        said = f"{_answer_of_variants(report, findings)}{_more_than_spending(report, findings)}"
        answer = f"Which variants beat {report.baseline}? {said}."
        basis = _basis_of_variants(report, findings)
        found = _levels(report) if any(row.origin != "sweep" for row in _main_variants(report)) else []
    beating = [row.name for row in _level_rows(report) if _is(row, "better")]
    if beating and found:
        beat = "beats" if len(beating) == 1 else "beat"
        answer += f" Of the sweeps' levels, {_names(beating)} {beat} {report.baseline}."
    if report.looks.post_hoc:
        answer = f"Post hoc: {answer}"
    others = (*found, *_remarks(report))
    return Opening(answer, tuple(findings), bool(effects), basis, others)


def _remarks(report: Report) -> list[str]:
    """What is true of any study: controls, twins, what is missing, what did not learn."""
    found = [f"Post hoc, all of it: {report.looks.post_hoc}."] if report.looks.post_hoc else []
    found += tuning_sentences(report)
    found += [control_answer(report, row) for row in report.controls]
    found += [twin_sentence(row) for row in report.twins]
    if warning := unequal_spread(report.variants):
        found.append(warning)
    done = sum(row.n for row in report.variants)
    planned = sum(row.planned for row in report.variants)
    waiting = [row.name for row in _main_variants(report) if not row.n]
    if waiting:
        found.append(f"Not run yet, or failed: {_names(waiting, most=12)}.")
    if done < planned:
        failed = sum(row.failed for row in report.variants)
        found.append(
            f"Incomplete: {done} of {planned} trials are finished ({failed} failed); every row says its n."
        )
    lost = [
        f"{row.name} ({len(row.did_not_learn)} of {row.n})" for row in report.variants if row.did_not_learn
    ]
    if lost:
        found.append(f"Did not learn, yet counted in the means: {', '.join(lost)}.")
    return found


def _answer_of_parts(report: Report, findings: Sequence[Finding]) -> str:
    margin, groups = report.procedure.margin, _by_verdict(findings)
    said = []
    for verdict, names in groups.items():
        one, they = len(names) == 1, _names(names)
        match verdict:
            case "better":
                priced = [
                    f"{finding.name} ({_shares_of(finding, report.baseline_row)})"
                    for finding in findings
                    if finding.verdict == verdict
                ]
                said.append(f"{_names(priced)} {'is' if one else 'are'} shown to add accuracy")
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
    return f"{'' if 'better' in groups else 'None is shown to have: '}{'; '.join(said)}"


def _answer_of_variants(report: Report, findings: Sequence[Finding]) -> str:
    margin, groups = report.procedure.margin, _by_verdict(findings)
    said = []
    for verdict, names in groups.items():
        s, they = "s" if len(names) == 1 else "", _names(names)
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
    return f"{'' if groups.keys() & {'better'} else 'None is shown to: '}{'; '.join(said)}"


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
        f"; {_against_spending(_names(names), matched, verdict, one=len(names) == 1)}"
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
        return f"{_names(names)} {be} {verdict}, for want of finished trials"
    after = f"after {fewest} seed{'' if fewest == 1 else 's'}"
    return f"{_names(names)} {be} {verdict} {after}"


def _names(names: Sequence[str], most: int = 6) -> str:
    """a, b and c; of very many, the first and a number."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


_BOUGHT = {
    "main": "the main effect in the 2{k} design, on minus off, averaged over the other parts",
    "share": "the Shapley share, what the part adds to others, averaged over all orders of adding them",
    "leave-one-out": "what the full module loses without the part",
    "add-one": "what the part alone adds",
}


def _basis(report: Report, effects: Sequence[EffectRow]) -> str:
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


def _basis_of_variants(report: Report, findings: Sequence[Finding]) -> str:
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
    return f"{_names(always)} {be} on throughout, also with every part off."


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


def _of_part(report: Report, finding: Finding) -> str:
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


def _of_variant(report: Report, finding: Finding) -> str:
    judgement = finding.judgement
    if judgement.verdict not in OPEN:
        told = f"{finding.name}: {judgement.verdict}, {numbers.estimate(judgement)}"
        return f"{told} for {cost(finding, report.baseline_row)}."
    alone = min(judgement.evidence.n, judgement.evidence.n_against) < 2
    why = finding.reason if alone else needed(judgement, report.procedure.margin)
    return f"{finding.name}: {judgement.verdict}, {numbers.estimate(judgement)}; {why}."


def _shares(effects: Sequence[EffectRow]) -> list[str]:
    if effects[0].kind != "share" or any(row.missing for row in effects):
        return []
    total = sum(row.judgement.evidence.estimate.value for row in effects)
    rest = none_on(effects)
    return [f"The shares add up to {numbers.signed(total)} points, which is all parts together less {rest}."]


def _level_rows(report: Report) -> list[VariantRow]:
    """Levels that are nothing but levels, the best first."""
    rows = [row for row in report.variants if row.origin == "sweep" and row.against is not None and row.n]
    return sorted(rows, key=lambda row: -(row.accuracy.mean if row.accuracy else 0.0))


def _is(row: VariantRow, verdict: str) -> bool:
    return row.against is not None and row.against.judgement.verdict.startswith(verdict)


def _levels(report: Report) -> list[str]:
    """What the sweeps say: of their levels against the baseline, and against where they start."""
    rows = _level_rows(report)
    if not rows:
        return []
    base, number = report.baseline_row, len(rows)
    said = []
    for verdict, does in (("better", "better than"), ("worse", "worse than")):
        shown = [row for row in rows if _is(row, verdict)]
        if shown:
            said.append(f"{len(shown)} of {number} levels did {does} {base.name}: {_best(shown, base)}")
    if not said:
        said.append(f"none of {number} levels is shown to do better or worse than {base.name}")
    starts = _from_start(report)
    return [f"Sweeps, each corrected on its own: {'; '.join([*said, *starts])}."]


def _best(rows: Sequence[VariantRow], base: VariantRow, most: int = 3) -> str:
    """The first few with their figures, the others by name."""
    told = [
        f"{finding.name} {numbers.estimate(finding.judgement)} ({_shares_of(finding, base)})"
        for finding in of_variants(rows[:most], base)
    ]
    return ", ".join(told) + (f", and {_names([row.name for row in rows[most:]])}" if rows[most:] else "")


def _shares_of(finding: Finding, base: VariantRow) -> str:
    costs = (
        (finding.param_delta, base.param_count, "parameters"),
        (finding.macs_delta, base.macs, "MACs"),
    )
    said = [f"{numbers.share(part, whole)} {noun}" for part, whole, noun in costs if part is not None]
    return ", ".join(said) or "cost not measured"


def _from_start(report: Report) -> list[str]:
    starts = dict.fromkeys(sweep.start for sweep in report.sweeps if sweep.start != report.baseline)
    judged = [
        (level.variant.name, level.against.judgement)
        for sweep in report.sweeps
        for level in sweep.levels
        if level.against is not None and sweep.start != report.baseline
    ]
    if not judged:
        return []
    where = f"{_names(list(starts))}, where {'they start' if len(judged) > 1 else 'it starts'}"
    shown = [
        f"{name} {numbers.estimate(j)}" for name, j in judged if j.verdict.startswith(("better", "worse"))
    ]
    return [f"against {where}: {', '.join(shown)}" if shown else f"none is shown to differ from {where}"]


def _interplay(report: Report, main: Sequence[EffectRow]) -> list[str]:
    rows = [
        row
        for row in report.effects
        if row.kind == "interaction" and not row.within and row.design == main[0].design and not row.missing
    ]
    shown = [row for row in rows if row.judgement.verdict.startswith(("better", "worse"))]
    if shown:
        told = ", ".join(
            f"{row.name} {'more' if row.judgement.evidence.estimate.value > 0 else 'less'} than the sum of "
            f"its parts ({numbers.estimate(row.judgement)})"
            for row in shown
        )
        return [f"Interplay: {told}."]
    if not rows:
        return []
    largest = max(rows, key=lambda row: abs(row.judgement.evidence.estimate.value))
    return [
        f"Interplay: none was shown among {len(rows)}; the largest is {largest.name}, "
        f"{numbers.estimate(largest.judgement)}."
    ]


def _whole(report: Report, effects: Sequence[EffectRow]) -> list[str]:
    """The variant with every part against the baseline."""
    rows = [row for row in report.variants if row.against and row.name == effects[0].whole]
    found = of_variants(rows, report.baseline_row)
    return [f"All together, against {report.baseline}, {_of_variant(report, finding)}" for finding in found]


def _main_variants(report: Report) -> list[VariantRow]:
    # Levels have a section of their own, controls a sentence.
    rows = [row for row in report.variants if row.against is not None]
    return [row for row in rows if row.origin not in ("sweep", "control")] or rows


def twin_sentence(row: TwinRow) -> str:
    """For two variants that turned out to be one."""
    seeds = f"every shared seed ({len(row.seeds)})"
    idle = f": {', '.join(row.settings)} had no effect" if row.settings else ""
    return f"{row.twin_of} and {row.variant} gave identical predictions on {seeds}{idle}."
