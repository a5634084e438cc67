"""What the opening of a report rests on: parts of a design, or variants, each judged, with its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.report import numbers
from ablate.report.rows import EffectRow, Report, VariantRow
from ablate.stats import Estimate, Judgement, assumption, seeds_needed

# The order in which verdicts are told.
ORDER = (
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
OPEN = ("undecided", "exploratory", "undecidable")
# Which effects answer for the parts, the first kind that a study has.
_KINDS = ("main", "share", "leave-one-out", "add-one")


@dataclass(frozen=True, slots=True)
class Finding:
    """A part or a variant. reason: why its verdict is open. planned: seeds a cell, or of the variant.

    missing: that it cannot be estimated, for want of a cell. latency: in ms, of a part, where it was timed.
    """

    name: str
    judgement: Judgement
    reason: str
    planned: int
    param_delta: float | None
    macs_delta: float | None
    missing: bool = False
    latency: Estimate | None = None

    @property
    def verdict(self) -> str:
        return self.judgement.verdict

    @property
    def n(self) -> str:
        """5; 3/5 where seeds are missing; 3 to 5 where the cells differ."""
        evidence = self.judgement.evidence
        return of_planned(evidence.n, evidence.n_against, self.planned)


def parts(report: Report) -> tuple[EffectRow, ...]:
    """One effect for each part, of the first design, in the order of `ranked`; empty without a design."""
    for kind in _KINDS:
        rows = [row for row in report.effects if row.kind == kind and not row.within and not row.view]
        if rows:
            return tuple(sorted((row for row in rows if row.design == rows[0].design), key=_rank))
    return ()


def _rank(found: Finding | EffectRow) -> tuple[int, bool, float]:
    missing, evidence = bool(found.missing), found.judgement.evidence
    value = evidence.estimate.value
    return ORDER.index(found.judgement.verdict), missing, 0.0 if missing else -value


def none_on(rows: Sequence[EffectRow], plain: str = "none") -> str:
    """What is left of a design with all of its factors off: what is on throughout, or the plain word."""
    return f"{'+'.join(rows[0].always)} alone" if rows and rows[0].always else plain


def of_parts(rows: Sequence[EffectRow]) -> list[Finding]:
    return ranked(
        [
            Finding(
                name=row.name,
                judgement=row.judgement,
                reason=row.reason,
                planned=row.planned,
                param_delta=row.param_delta,
                macs_delta=row.macs_delta,
                missing=bool(row.missing),
                latency=row.latency,
            )
            for row in rows
        ]
    )


def of_variants(rows: Sequence[VariantRow], baseline: VariantRow) -> list[Finding]:
    return ranked(
        [
            Finding(
                name=row.name,
                judgement=row.against.judgement,
                reason=row.against.reason,
                planned=max(row.planned, baseline.planned),
                param_delta=_less(row.param_count, baseline.param_count),
                macs_delta=_less(row.macs, baseline.macs),
            )
            for row in rows
            if row.against is not None
        ]
    )


def ranked(found: list[Finding]) -> list[Finding]:
    """By verdict, and among equal ones by what they bought; what cannot be estimated comes last."""
    return sorted(found, key=_rank)


def of_planned(fewest: int, most: int, planned: int) -> str:
    """5; 3/5 where seeds are missing; 3 to 4 of 5 where the sides differ."""
    if fewest == most:
        return str(fewest) if planned in (0, fewest) else f"{fewest}/{planned}"
    return f"{fewest} to {most}" if planned in (0, most) else f"{fewest} to {most} of {planned}"


def cost(finding: Finding, baseline: VariantRow) -> str:
    """Parameters and MACs, each percentage with what it is a percentage of."""
    if finding.param_delta == 0 and finding.macs_delta == 0:
        return "no more parameters and MACs"
    said = []
    if finding.param_delta is not None and baseline.param_count:
        share = numbers.share(finding.param_delta, baseline.param_count)
        whole = numbers.count(baseline.param_count)
        said.append(f"{numbers.signed_count(finding.param_delta)} parameters ({share} of {whole})")
    if finding.macs_delta is not None and baseline.macs:
        share = numbers.share(finding.macs_delta, baseline.macs)
        whole = numbers.macs(baseline.macs)
        said.append(f"{numbers.signed_macs(finding.macs_delta)} MACs ({share} of {whole})")
    return " and ".join(said) or "a cost that was not measured"


def needed(judgement: Judgement, margin: float) -> str:
    """How many seeds would decide, for a sentence that has said the rest."""
    seeds, has = judgement.seeds_to_decide, min(judgement.evidence.n, judgement.evidence.n_against)
    said = numbers.seeds(seeds, judgement.std)
    if said == numbers.NONE:
        return "no seed differed from another, so that nothing says how many would decide"
    goal = f"would show {margin:g} points or rule them out 4 times in 5"
    if seeds is None or said != str(seeds):
        return f"it would take more than 100 seeds a variant, at a seed sd of {judgement.std:.2g} points"
    if seeds <= has:
        more = _if_so(judgement)
        return f"{has} seeds {goal}; here neither happened{f', and {more}' if more else ''}"
    return f"{seeds} seeds a variant, {seeds - has} more than now, {goal}{if_assumed(judgement)}"


def if_assumed(judgement: Judgement) -> str:
    """On what numbers of seeds hang before anything is known of the spread."""
    return f" {assumption(judgement.std)}" if judgement.std_assumed else ""


def to_decide(judgement: Judgement) -> str:
    """A cell: the seeds a variant that would decide what is open."""
    if judgement.verdict not in OPEN:
        return numbers.NONE
    has = min(judgement.evidence.n, judgement.evidence.n_against)
    seeds = judgement.seeds_to_decide
    if seeds is not None and seeds <= has:
        return _if_so(judgement) or str(seeds)
    return numbers.seeds(seeds, judgement.std)


def _if_so(judgement: Judgement) -> str:
    """What it would take where the true difference, being neither zero nor the margin, is the one found."""
    evidence = judgement.evidence
    value = evidence.estimate.value
    seeds = seeds_needed(
        value, judgement.std, judgement.level, variance=evidence.variance, groups=evidence.groups
    )
    if seeds is None or seeds <= min(evidence.n, evidence.n_against):
        return ""
    return f"{numbers.seeds(seeds, judgement.std)} if it is {numbers.signed(value)}"


def _less(of: int | None, against: int | None) -> float | None:
    return None if of is None or against is None else float(of - against)


def listed(names: Sequence[str], most: int = 6) -> str:
    """a, b and c; of very many, the first and a number."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
