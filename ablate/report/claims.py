"""The claims of a study become rows: each resolved into figures, and judged.

Claims on accuracy are one family. Costs are counted, not sampled: parameters, MACs and memory are compared
with the claimed range as they are, and take no place in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from ablate.errors import StoreError
from ablate.record import CostRecord, StudyPlan
from ablate.report.claim_figures import Spoken, World
from ablate.report.claim_text import bounds_in_words, explain_claim, explain_cost
from ablate.report.comparisons import Comparisons
from ablate.report.effects import without_dunnett
from ablate.report.rows import ClaimFigure, ClaimRow, SweepRows, VariantRow
from ablate.spec.claims import CLAIMS, Claim, Difference, Ratio
from ablate.stats import (
    ASSUMED_STD,
    Asserted,
    ClaimJudgement,
    Estimate,
    Evidence,
    Procedure,
    contrast,
    judge_claims,
    judge_exactly,
    ratio,
)

Costs = Callable[[str], Sequence[CostRecord]]  # of a variant, one record a machine


def claim_rows(
    plan: StudyPlan,
    rows: Mapping[str, VariantRow],
    sweeps: Sequence[SweepRows],
    procedure: Procedure,
    comparisons: Comparisons,
    costs: Costs,
) -> tuple[ClaimRow, ...]:
    """Every claim of the plan, judged, in the order of the file. StoreError: the plan cannot be read."""
    judge = _Judge(World(plan, rows, sweeps), without_dunnett(procedure), comparisons, costs)
    claims = read_claims(plan)
    of_accuracy = [claim for claim in claims if claim.metric == "accuracy"]
    judged = dict(zip((claim.id for claim in of_accuracy), judge.accuracy(of_accuracy), strict=True))
    return tuple(judged[claim.id] if claim.id in judged else judge.cost(claim) for claim in claims)


def read_claims(plan: StudyPlan) -> list[Claim]:
    claims: list[Claim] = []
    for position, raw in enumerate(plan.claims):
        model = CLAIMS.get(raw.get("kind", ""))
        try:
            claims.append((model or Difference).model_validate(raw))
        except ValidationError as error:
            raise StoreError(
                f"plan.json of {plan.study}: claims[{position}] cannot be read\n    run the study again"
            ) from error
    return claims


def post_hoc(plan: StudyPlan) -> str | None:
    """Why what the plan says cannot have been decided before the results were seen; None if it was."""
    reasons = []
    if plan.looks and plan.planned > min(look.date for look in plan.looks):
        reasons.append("the claims or the analysis were changed after the results had been read")
    before = sorted({look.seeds for look in plan.looks} - {len(plan.seeds)})
    if before:
        counts = " and ".join(map(str, before))
        reasons.append(
            f"the number of seeds was changed, to {len(plan.seeds)}, after a look at results of {counts}"
        )
    return "; ".join(reasons) or None


class _Judge:
    def __init__(self, world: World, procedure: Procedure, comparisons: Comparisons, costs: Costs) -> None:
        self._world, self._procedure, self._comparisons, self._costs = world, procedure, comparisons, costs
        self._post_hoc = post_hoc(world.plan)

    def accuracy(self, claims: Sequence[Claim]) -> list[ClaimRow]:
        paired = self._procedure.test == "paired"  # over shared seeds, so that all levels have as many
        spoken = [
            self._world.figures(claim, lambda row: min(row.n, 1) if paired else row.n) for claim in claims
        ]
        family = [
            [self._asserted(claim, figure) for figure in figures]
            for claim, figures in zip(claims, spoken, strict=True)
        ]
        judged = judge_claims(family, self._procedure)
        return [self._accuracy(*parts) for parts in zip(claims, spoken, judged, strict=True)]

    def _asserted(self, claim: Claim, figure: Spoken) -> Asserted:
        low, high = _ends(claim)
        margin, paired = self._procedure.margin / figure.span, self._procedure.test == "paired"
        sides = [self._world.row(name) for name in figure.sides]
        if not figure.weights:
            n = min((row.n for row in sides), default=0)
            evidence = Evidence(Estimate(0.0, math.inf, 0.0), n, n, math.nan, identical=len(sides) == 1)
        elif isinstance(claim, Ratio):
            evidence = ratio(sides[0].scores, sides[1].scores, by_pairs=paired)
        else:
            evidence = contrast(figure.weights, {row.name: row.scores for row in sides}, by_pairs=paired)
        if isinstance(claim, Difference | Ratio) and figure.weights:
            evidence = replace(evidence, identical=self._comparisons.same(*sides))
        if not isinstance(claim, Ratio):
            return Asserted(evidence, low, high, margin)
        mean = sides[-1].accuracy.mean if sides[-1].accuracy and sides[-1].accuracy.mean > 0 else 100.0
        return Asserted(evidence, _log(low), _log(high), margin / mean, ASSUMED_STD / mean)

    def _accuracy(self, claim: Claim, spoken: Sequence[Spoken], judged: ClaimJudgement) -> ClaimRow:
        scale = math.exp if isinstance(claim, Ratio) else float
        figures = [
            ClaimFigure(
                name=figure.name,
                value=None if math.isnan(value := one.asserted.evidence.estimate.value) else scale(value),
                low=scale(one.low) if not math.isnan(one.low) else None,
                high=scale(one.high) if not math.isnan(one.high) else None,
                level=one.level,
                position=one.position,
                sides={name: self._world.row(name).mean("accuracy") for name in figure.sides},
            )
            for figure, one in zip(spoken, judged.figures, strict=True)
        ]
        sides = [self._world.row(name) for name in dict.fromkeys(n for f in spoken for n in f.sides)]
        seeds = [one.seeds for one in judged.figures if one.seeds is not None]
        reason = explain_claim(claim, judged, figures, self._procedure.margin)
        return replace(
            self._row(claim, figures, judged.verdict, reason),
            trials={row.name: tuple(trial.id for trial in row.done) for row in sides},
            p_value=None if math.isnan(judged.p_value) else judged.p_value,
            p_adjusted=None if math.isnan(judged.p_adjusted) else judged.p_adjusted,
            seeds=max(seeds) if len(seeds) == len(figures) else None,
            remarks=self._remarks(sides),
        )

    def _remarks(self, sides: Sequence[VariantRow]) -> tuple[str, ...]:
        failed = [
            f"{row.name} (seed {', '.join(map(str, row.did_not_learn))})"
            for row in sides
            if row.did_not_learn
        ]
        mixed = self._comparisons.mixed(sides)
        found = [f"counted, though at the level of chance: {', '.join(failed)}"] if failed else []
        found += [f"mixed environments: {', '.join(mixed)} differ"] if mixed else []
        return tuple(found)

    def cost(self, claim: Claim) -> ClaimRow:
        spoken = self._world.figures(claim, lambda _: 1)
        names = tuple(dict.fromkeys(name for figure in spoken for name in figure.sides))
        values, machine = self._values(claim.metric, names)
        figures = [_cost_figure(claim, figure, values) for figure in spoken]
        known = [figure.value for figure in figures if figure.value is not None]
        verdict = "not measured"
        if len(known) == len(figures):
            # A latency without its spread is one draw; parameters, MACs and memory repeat themselves.
            exact = claim.metric != "latency_ms"
            verdict = judge_exactly(known, *_ends(claim)) if exact else "undecidable"
        missing = [name for name in names if values[name] is None]
        reason = explain_cost(claim, figures, verdict, missing)
        return replace(self._row(claim, figures, verdict, reason), machine=machine)

    def _values(self, metric: str, names: Sequence[str]) -> tuple[dict[str, float | None], str | None]:
        """Counts as they are; what is measured from one machine, the first that measured all."""
        if metric in ("param_count", "macs"):
            return {name: getattr(self._world.row(name), metric) for name in names}, None
        measured = {
            name: {r.machine: value for r in self._costs(name) if (value := getattr(r, metric)) is not None}
            for name in names
        }
        machines = sorted(set.intersection(*(set(one) for one in measured.values())))
        if not machines:
            return dict.fromkeys(names), None
        return {name: measured[name][machines[0]] for name in names}, machines[0]

    def _row(self, claim: Claim, figures: Sequence[ClaimFigure], verdict: str, reason: str) -> ClaimRow:
        unit = self._world.unit(claim)
        return ClaimRow(
            id=claim.id,
            say=claim.say,
            kind=claim.kind,
            metric=claim.metric,
            unit=unit,
            claimed=bounds_in_words(claim.bounds, unit),
            bounds=claim.bounds,
            verdict=verdict,
            reason=reason,
            figures=tuple(figures),
            trials={},
            post_hoc=self._post_hoc,
        )


def _cost_figure(claim: Claim, figure: Spoken, values: Mapping[str, float | None]) -> ClaimFigure:
    sides = {name: values[name] for name in figure.sides}
    known = {name: value for name, value in sides.items() if value is not None}
    value = None
    if len(known) == len(sides):
        value = _exact(claim, figure, known)
    return ClaimFigure(
        name=figure.name, value=value, low=None, high=None, level=None, position=None, sides=sides
    )


def _exact(claim: Claim, figure: Spoken, values: Mapping[str, float]) -> float:
    if isinstance(claim, Ratio):
        of, against = values[figure.sides[0]], values[figure.sides[-1]]
        return of / against if against else math.inf
    # Weights add up to zero: reckoned from the first, equal costs give exactly zero.
    first = next(iter(values.values()))
    found = sum(weight * (values[name] - first) for name, weight in figure.weights.items())
    rounding = 1e-12 * sum(abs(weight * values[name]) for name, weight in figure.weights.items())
    return next((end for end in _ends(claim) if abs(found - end) <= rounding), found)


def _ends(claim: Claim) -> tuple[float, float]:
    low, high = claim.bounds
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _log(bound: float) -> float:
    return math.log(bound) if bound > 0 else -math.inf
