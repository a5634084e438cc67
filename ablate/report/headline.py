"""The answer in plain sentences: which parts earned their cost, which did not, and what would decide."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report import numbers
from ablate.report.controls import answer
from ablate.report.rows import EffectRow, Report, TwinRow, VariantRow
from ablate.stats import Judgement

# The order in which verdicts are told.
_ORDER = (
    "better",
    "better but within the margin",
    "worse",
    "worse but within the margin",
    "equivalent",
    "no-op",
    "undecided",
    "exploratory",
    "undecidable",
)


def headline(report: Report) -> tuple[str, ...]:
    """An opening sentence and one for each finding; plain text, names and all.

    It rests on the main effects of the first factorial; without one, on the comparisons with the baseline.
    """
    done = sum(row.n for row in report.variants)
    planned = sum(row.planned for row in report.variants)
    if not done:
        return (f"None of the {planned} trials has finished, so there is nothing to report yet.",)
    main = [row for row in report.effects if row.kind == "main" and not row.within]
    main = [row for row in main if row.design == main[0].design]
    sentences = _of_effects(report, main) if main else _of_variants(report)
    sentences += [answer(report, row) for row in report.controls]
    sentences += [twin_sentence(row) for row in report.twins]
    if done < planned:
        failed = sum(row.failed for row in report.variants)
        sentences.append(
            f"Incomplete: {done} of {planned} trials are finished ({failed} failed); every row says its n."
        )
    lost = [
        f"{row.name} ({len(row.did_not_learn)} of {row.n})" for row in report.variants if row.did_not_learn
    ]
    if lost:
        sentences.append(f"Did not learn, yet counted in the means: {', '.join(lost)}.")
    return tuple(sentences)


def _of_effects(report: Report, main: Sequence[EffectRow]) -> list[str]:
    first = main[0].judgement.evidence
    seeds = f"{first.n}" if first.n == first.n_against else f"{first.n} to {first.n_against}"
    opening = (
        f"Which parts earned their cost? Main effects of the 2{_exponent(len(main))} design on test "
        f"accuracy, in points, with {seeds} {'seed' if seeds == '1' else 'seeds'} a "
        f"cell{_corrected(report)}:"
    )
    ranked = sorted(main, key=lambda row: _ORDER.index(row.judgement.verdict))
    return [
        opening,
        *(_effect(report, row) for row in ranked),
        *_interplay(report, main),
        *_whole(report, main),
    ]


def _exponent(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _corrected(report: Report) -> str:
    return " and intervals after Holm's correction" if report.procedure.correction == "holm" else ""


def _effect(report: Report, row: EffectRow) -> str:
    judgement, margin = row.judgement, report.procedure.margin
    figure, cost = estimate(judgement), _cost(report, row)
    match judgement.verdict:
        case "better":
            return f"{row.name} earned its cost: {figure} for {cost}."
        case "better but within the margin":
            return (
                f"{row.name} helps, but by less than the {margin:g} points that count: {figure} for {cost}."
            )
        case "worse" | "worse but within the margin":
            return f"{row.name} cost accuracy: {figure}, and that for {cost}."
        case "equivalent":
            return (
                f"{row.name} bought nothing that counts: {_inside(judgement)}, and so inside ±{margin:g} "
                f"points, for {cost}."
            )
        case verdict if row.missing:
            return f"{row.name} is {verdict}: {row.reason}."
        case verdict:
            return f"{row.name} is {verdict}: {figure} for {cost}; {needed(judgement, margin)}."


def _cost(report: Report, row: EffectRow) -> str:
    """Parameters and MACs, each percentage with what it is a percentage of."""
    base = report.baseline_row
    parts = []
    if row.param_delta is not None and base.param_count:
        share = numbers.share(row.param_delta, base.param_count)
        whole = numbers.count(base.param_count)
        parts.append(f"{numbers.signed_count(row.param_delta)} parameters ({share} of {whole})")
    if row.macs_delta is not None and base.macs:
        share = numbers.share(row.macs_delta, base.macs)
        parts.append(f"{numbers.signed_macs(row.macs_delta)} MACs ({share} of {numbers.macs(base.macs)})")
    return " and ".join(parts) or "a cost that was not measured"


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
            f"its parts ({estimate(row.judgement)})"
            for row in shown
        )
        return [f"Interplay: {told}."]
    if not rows:
        return []
    largest = max(rows, key=lambda row: abs(row.judgement.evidence.estimate.value))
    return [
        f"Interplay: none was shown among {len(rows)}; the largest is {largest.name}, "
        f"{estimate(largest.judgement)}."
    ]


def _whole(report: Report, main: Sequence[EffectRow]) -> list[str]:
    """The variant with every part against the baseline."""
    for row in report.variants:
        if row.against and row.name == main[0].whole:
            return [f"All together, {row.name} against {report.baseline}: {_verdict(row, report)}."]
    return []


def _of_variants(report: Report) -> list[str]:
    # Levels have a section of their own, controls a sentence.
    apart = ("sweep", "control")
    rows = [row for row in report.variants if row.against is not None and row.origin not in apart]
    rows = rows or [row for row in report.variants if row.against is not None]
    opening = f"Against {report.baseline}, test accuracy in points{_corrected(report)}:"
    told = [opening]
    for verdict in _ORDER:
        alike = [row for row in rows if row.against and row.against.judgement.verdict == verdict]
        if alike:
            told.append(f"{'; '.join(f'{row.name}: {_verdict(row, report)}' for row in alike)}.")
    return told if rows else [f"{report.baseline} stands alone: there is nothing to compare it with."]


def _verdict(row: VariantRow, report: Report) -> str:
    if row.against is None:
        return ""
    judgement = row.against.judgement
    is_open = judgement.verdict in ("undecided", "exploratory", "undecidable")
    more = (
        f"; {row.against.reason if row.n < 2 else needed(judgement, report.procedure.margin)}"
        if is_open
        else ""
    )
    figure = _inside(judgement) if judgement.verdict == "equivalent" else estimate(judgement)
    return f"{judgement.verdict}, {figure}{more}"


def twin_sentence(row: TwinRow) -> str:
    """For two variants that turned out to be one."""
    seeds = f"every shared seed ({len(row.seeds)})"
    idle = f": {', '.join(row.settings)} had no effect" if row.settings else ""
    return f"{row.twin_of} and {row.variant} gave identical predictions on {seeds}{idle}."


def estimate(judgement: Judgement) -> str:
    """+0.62 [+0.31, +0.93]"""
    value = numbers.signed(judgement.evidence.estimate.value)
    return f"{value} {numbers.interval(judgement.low, judgement.high)}"


def _inside(judgement: Judgement) -> str:
    """The estimate with the interval that the equivalence rests on; the two-sided one may reach further."""
    return f"{numbers.signed(judgement.evidence.estimate.value)} {numbers.interval(*judgement.inner)}"


def needed(judgement: Judgement, margin: float) -> str:
    """How many more seeds would decide, for a sentence that has said the rest."""
    seeds, has = judgement.seeds_to_decide, min(judgement.evidence.n, judgement.evidence.n_against)
    if seeds is None:
        return "no number of seeds within reach would decide"
    if seeds <= has:
        return (
            f"{has} seeds would show {margin:g} points or rule them out 4 times in 5; here neither happened"
        )
    assumed = f" (assuming a seed sd of {judgement.std:g})" if judgement.std_assumed else ""
    return (
        f"{seeds} seeds a variant, {seeds - has} more than now, would show {margin:g} points or rule them "
        f"out 4 times in 5{assumed}"
    )
