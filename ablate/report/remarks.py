"""What else was found: sweeps, interplay, the whole, controls, twins, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report import numbers
from ablate.report.answer import about_variant, shares_of
from ablate.report.comparisons import unequal_spread
from ablate.report.controls import answer as control_answer
from ablate.report.findings import listed, none_on, of_variants
from ablate.report.rows import EffectRow, Report, TwinRow, VariantRow
from ablate.report.tuning import opening_sentences as tuning_sentences


def beside_parts(report: Report, effects: Sequence[EffectRow]) -> list[str]:
    """What else the design and the sweeps say."""
    return [*_shares(effects), *levels(report), *_interplay(report, effects), *_whole(report, effects)]


def _shares(effects: Sequence[EffectRow]) -> list[str]:
    if effects[0].kind != "share" or any(row.missing for row in effects):
        return []
    total = sum(row.judgement.evidence.estimate.value for row in effects)
    rest = none_on(effects)
    return [f"The shares add up to {numbers.signed(total)} points, which is all parts together less {rest}."]


def levels(report: Report) -> list[str]:
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


def beating_levels(report: Report) -> list[str]:
    return [row.name for row in _level_rows(report) if _is(row, "better")]


def _level_rows(report: Report) -> list[VariantRow]:
    """Levels that are nothing but levels, the best first."""
    rows = [row for row in report.variants if row.origin == "sweep" and row.against is not None and row.n]
    return sorted(rows, key=lambda row: -(row.accuracy.mean if row.accuracy else 0.0))


def _is(row: VariantRow, verdict: str) -> bool:
    return row.against is not None and row.against.judgement.verdict.startswith(verdict)


def _best(rows: Sequence[VariantRow], base: VariantRow, most: int = 3) -> str:
    """The first few with their figures, the others by name."""
    told = [
        f"{finding.name} {numbers.estimate(finding.judgement)} ({shares_of(finding, base)})"
        for finding in of_variants(rows[:most], base)
    ]
    return ", ".join(told) + (f", and {listed([row.name for row in rows[most:]])}" if rows[most:] else "")


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
    where = f"{listed(list(starts))}, where {'they start' if len(judged) > 1 else 'it starts'}"
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
    return [f"All together, against {report.baseline}, {about_variant(report, finding)}" for finding in found]


def main_variants(report: Report) -> list[VariantRow]:
    # Levels have a section of their own, controls a sentence.
    rows = [row for row in report.variants if row.against is not None]
    return [row for row in rows if row.origin not in ("sweep", "control")] or rows


def remarks(report: Report) -> list[str]:
    """What is true of any study: controls, twins, what is missing, what did not learn."""
    found = [f"Post hoc, all of it: {report.looks.post_hoc}."] if report.looks.post_hoc else []
    found += tuning_sentences(report)
    found += [control_answer(report, row) for row in report.controls]
    found += [twin_sentence(row) for row in report.twins]
    if warning := unequal_spread(report.variants):
        found.append(warning)
    done = sum(row.n for row in report.variants)
    planned = sum(row.planned for row in report.variants)
    waiting = [row.name for row in main_variants(report) if not row.n]
    if waiting:
        found.append(f"Not run yet, or failed: {listed(waiting, most=12)}.")
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


def twin_sentence(row: TwinRow) -> str:
    """For two variants that turned out to be one."""
    seeds = f"every shared seed ({len(row.seeds)})"
    idle = f": {', '.join(row.settings)} had no effect" if row.settings else ""
    return f"{row.twin_of} and {row.variant} gave identical predictions on {seeds}{idle}."
