"""The claims of a study become rows: each resolved into figures, and judged.

Claims on accuracy are one family, claims on latency another. Parameters, MACs and memory are counted, not
sampled: they are compared with the claimed range as they are, and take no place in either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from ablate.errors import StoreError
from ablate.record import CostRecord, StudyPlan
from ablate.report.claim_figures import Spoken, World
from ablate.report.claim_latency import judge_latency_claims, timed_together
from ablate.report.claim_text import bounds_in_words, explain_claim, explain_cost
from ablate.report.comparisons import Comparisons
from ablate.report.effects import without_dunnett
from ablate.report.looks import UNPLANNED, UntilDecided
from ablate.report.looks import reason as explain_look
from ablate.report.post_hoc import post_hoc
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
    rule: UntilDecided | None = None,
) -> tuple[ClaimRow, ...]:
    """Every claim of the plan, judged, in the order of the file. StoreError: the plan cannot be read.

    rule: that gave the seeds out; then it decides claims on accuracy, or nothing does.
    """
    judge = _Judge(World(plan, rows, sweeps), without_dunnett(procedure), comparisons, costs, rule)
    claims = read_claims(plan)
    of_accuracy = [claim for claim in claims if claim.metric == "accuracy"]
    judged = dict(zip((claim.id for claim in of_accuracy), judge.accuracy(of_accuracy), strict=True))
    judged |= judge.latency([claim for claim in claims if claim.metric == "latency_ms"])
    found = [judged[claim.id] if claim.id in judged else judge.cost(claim) for claim in claims]
    return tuple(
        replace(row, post_hoc=post_hoc(plan, raw)) for row, raw in zip(found, plan.claims, strict=True)
    )


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


def asks_the_rule(claim: Claim, baseline: str) -> bool:
    """Whether it says that a variant is better than the baseline, or worse, and no more."""
    return (
        isinstance(claim, Difference)
        and tuple(claim.against) == (baseline,)
        and claim.bounds in ((0, None), (None, 0))
    )


class _Judge:
    def __init__(
        self,
        world: World,
        procedure: Procedure,
        comparisons: Comparisons,
        costs: Costs,
        rule: UntilDecided | None,
    ) -> None:
        self._world, self._procedure, self._comparisons, self._costs = world, procedure, comparisons, costs
        self._rule = rule

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
        found = [self._accuracy(*parts) for parts in zip(claims, spoken, judged, strict=True)]
        if self._rule is None:
            return found
        return [self._by_rule(self._rule, *parts) for parts in zip(claims, found, strict=True)]

    def _by_rule(self, rule: UntilDecided, claim: Claim, row: ClaimRow) -> ClaimRow:
        """Whether a variant is better than the baseline, or worse, the rule decides; no other claim."""
        decided = {one.variant: one.looks[-1] for one in rule.variants if one.looks}
        sides = list(row.trials)
        decision = decided.get(sides[0]) if asks_the_rule(claim, rule.baseline) else None
        if decision is None:
            settled = row.verdict == "undecidable"
            return row if settled else replace(row, verdict="exploratory", reason=UNPLANNED, seeds=None)
        helps = claim.bounds == (0, None)
        verdict = "undecided"
        if decision.significant:
            verdict = "supported" if helps == (decision.verdict == "better") else "refuted"
        figure = replace(
            row.figures[0],
            value=decision.estimate.value,
            low=decision.low,
            high=decision.high,
            level=decision.level,
        )
        return replace(
            row,
            verdict=verdict,
            reason=explain_look(decision, self._procedure),
            figures=(figure,),
            p_value=None if math.isnan(decision.p_value) else decision.p_value,
            p_adjusted=None if math.isnan(decision.p_adjusted) else decision.p_adjusted,
            seeds=None,
        )

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

    def latency(self, claims: Sequence[Claim]) -> dict[str, ClaimRow]:
        """By the claim's id; those whose sides no session timed together are left out."""
        spoken = [self._world.figures(claim, lambda _: 1) for claim in claims]
        timed = [timed_together(_names(figures), self._costs) for figures in spoken]
        judged = judge_latency_claims(list(zip(claims, spoken, timed, strict=True)), self._procedure)
        return {
            claim.id: replace(
                self._row(claim, one.figures, one.verdict, one.reason),
                p_value=None if math.isnan(one.judgement.p_value) else one.judgement.p_value,
                p_adjusted=None if math.isnan(one.judgement.p_adjusted) else one.judgement.p_adjusted,
                machine=one.machine,
                remarks=one.remarks,
            )
            for claim, one in zip(claims, judged, strict=True)
            if one is not None
        }

    def cost(self, claim: Claim) -> ClaimRow:
        spoken = self._world.figures(claim, lambda _: 1)
        names = _names(spoken)
        values, machine = self._values(claim.metric, names)
        figures = [_cost_figure(claim, figure, values) for figure in spoken]
        known = [figure.value for figure in figures if figure.value is not None]
        verdict = "not measured"
        if len(known) == len(figures):
            # A latency not timed in turns is one draw; parameters, MACs and memory repeat themselves.
            exact = claim.metric != "latency_ms"
            verdict = judge_exactly(known, *_ends(claim)) if exact else "undecidable"
        missing = [name for name in names if values[name] is None]
        reason = explain_cost(claim, figures, verdict, missing)
        remarks = self._other_batches(names, machine) if claim.metric == "peak_memory_bytes" else ()
        return replace(self._row(claim, figures, verdict, reason), machine=machine, remarks=remarks)

    def _other_batches(self, names: Sequence[str], machine: str | None) -> tuple[str, ...]:
        found = {
            name: record.train_batch
            for name in names
            for record in self._costs(name)
            if record.machine == machine
        }
        if len(set(found.values())) < 2:
            return ()
        told = ", ".join(f"{name} {batch}" for name, batch in found.items())
        return (f"their training steps have different numbers of images: {told}",)

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
        )


def _names(spoken: Sequence[Spoken]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for figure in spoken for name in figure.sides))


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
