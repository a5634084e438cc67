"""What a claim speaks of: its figures as weighted sums over variants, and their unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ablate.errors import StoreError
from ablate.record import StudyPlan
from ablate.report.claim_text import METRICS
from ablate.report.rows import SweepRows, VariantRow
from ablate.spec.claims import Claim, Contrast, Difference, Interaction, Ratio, Trend
from ablate.stats import is_geometric, slope_weights


@dataclass(frozen=True, slots=True)
class Spoken:
    """A weighted sum over variants, or the ratio of two.

    sides: names of the variants, in the order in which they are said. weights: by name; empty where the
    variants turn out to be one. span: of the axis, for a slope.
    """

    name: str
    sides: tuple[str, ...]
    weights: Mapping[str, float]
    span: float = 1.0


class World:
    """Finds what a claim names: variants by any of their names, sweeps, factorial designs."""

    def __init__(self, plan: StudyPlan, rows: Mapping[str, VariantRow], sweeps: Sequence[SweepRows]) -> None:
        self.plan, self._sweeps = plan, sweeps
        self._rows = {alias: row for row in rows.values() for alias in row.aliases} | dict(rows)

    def row(self, name: str) -> VariantRow:
        if name not in self._rows:
            raise StoreError(
                f"plan.json of {self.plan.study}: a claim names {name!r}, but no variant is called so\n"
                "    run the study again"
            )
        return self._rows[name]

    def figures(self, claim: Claim, count: Callable[[VariantRow], int]) -> list[Spoken]:
        """What a claim speaks of, several where it has several `against`. count: runs of a variant."""
        match claim:
            case Difference() | Ratio():
                sign = ":" if isinstance(claim, Ratio) else "−"
                return [
                    self._sum(f"{claim.of} {sign} {other}", [(claim.of, 1.0), (other, -1.0)])
                    for other in claim.against
                ]
            case Contrast():
                return [self._sum(_sum_in_words(claim.of), list(claim.of.items()))]
            case Interaction():
                return [self._interaction(claim)]
            case Trend():
                return [self._slope(claim, count)]

    def _sum(self, name: str, terms: Sequence[tuple[str, float]]) -> Spoken:
        weights: dict[str, float] = {}
        for variant, weight in terms:
            found = self.row(variant).name  # two names may be one variant
            weights[found] = weights.get(found, 0.0) + weight
        return Spoken(name, tuple(weights), {name: weight for name, weight in weights.items() if weight})

    def _interaction(self, claim: Interaction) -> Spoken:
        """The difference of differences, averaged over the factors that are neither varied nor held."""
        wanted = {*claim.of, *claim.within}
        whole = (d for d in self.plan.designs if d.kind in ("factorial", "chain"))
        design = next((d for d in whole if wanted <= set(d.factors)), None)
        if design is None:
            raise StoreError(
                f"plan.json of {self.plan.study}: no factorial design has {', '.join(sorted(wanted))}, which "
                f"the claim {claim.id!r} names\n    run the study again"
            )
        averaged = 2 ** (len(design.factors) - len(wanted))
        terms = [
            (name, (-1) ** sum(factor not in on for factor in claim.of) / averaged)
            for on, name in design.cells
            if all((factor in on) == held for factor, held in claim.within.items())
        ]
        held = [f"{factor} {'on' if on else 'off'}" for factor, on in claim.within.items()]
        return self._sum(" × ".join(claim.of) + (f" with {', '.join(held)}" if held else ""), terms)

    def sweep(self, claim: Trend) -> SweepRows:
        for planned, sweep in zip(self.plan.sweeps, self._sweeps, strict=True):
            if planned.name == claim.over and claim.of in (None, planned.start):
                return sweep
        raise StoreError(
            f"plan.json of {self.plan.study}: there is no sweep {claim.over!r}, which the claim {claim.id!r} "
            "names\n    run the study again"
        )

    def _slope(self, claim: Trend, count: Callable[[VariantRow], int]) -> Spoken:
        values = self.levels(claim)
        places = {name: math.log2(value) for name, value in values.items()} if self.doubles(claim) else values
        counts = {name: count(self.row(name)) for name in values}
        if not all(counts.values()):  # what has no run yet keeps its place, so that nothing is judged without
            counts = dict.fromkeys(counts, 1)
        span = max(places.values(), default=0.0) - min(places.values(), default=0.0)
        weights = slope_weights(places, counts) if span else {}
        return Spoken(f"slope over {claim.over}", tuple(values), weights, span or 1.0)

    def levels(self, claim: Trend) -> dict[str, float]:
        """Place on the axis by variant; a start whose own value the plan does not tell is left out."""
        levels = (
            (level.variant.name, level.value or _number(level.label)) for level in self.sweep(claim).levels
        )
        return {name: value for name, value in levels if value is not None}

    def doubles(self, claim: Trend) -> bool:
        return is_geometric(list(self.levels(claim).values()))

    def unit(self, claim: Claim) -> str:
        noun = METRICS[claim.metric]
        if isinstance(claim, Ratio):
            return ""
        if isinstance(claim, Trend):
            return f"{noun} per {'doubling' if self.doubles(claim) else 'unit'} of {claim.over}"
        return noun


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _sum_in_words(weights: Mapping[str, float]) -> str:
    """1 a − 0.5 b"""
    parts = [
        f"{'−' if weight < 0 else '+'} {'' if abs(weight) == 1 else f'{abs(weight):g} '}{name}"
        for name, weight in weights.items()
    ]
    return " ".join(parts).removeprefix("+ ")
