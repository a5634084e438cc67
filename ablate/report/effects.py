"""What the parts of a design buy in points, and what they cost in parameters, MACs and latency.

A factorial gives main effects and interactions; leave-one-out and add-one are read off its cells as views, or
are designs of their own; a chain gives what each part adds in its order, and Shapley shares over all orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ablate.record import CostRecord, PlannedDesign
from ablate.report.rows import EffectRow, VariantRow
from ablate.stats import (
    Effect,
    Estimate,
    Procedure,
    effect_of,
    effects,
    explain,
    increments,
    judge,
    shares,
)
from ablate.stats.estimate import spread

Cells = Mapping[frozenset[str], VariantRow]
Same = Callable[[VariantRow, VariantRow], bool]  # whether two predicted alike on every shared seed
Costs = Callable[[str], Sequence[CostRecord]]  # of a variant, one record a machine
# What a gain is divided by must be worth the name: below this share of the baseline's MACs the quotient only
# magnifies the noise of the gain.
LEAST_MACS_SHARE = 0.01


def design_effects(
    design: PlannedDesign,
    rows: Mapping[str, VariantRow],
    procedure: Procedure,
    same: Same = lambda of, against: False,
    costs: Costs = lambda name: (),
) -> list[EffectRow]:
    """The effects of one design, a family after the other, each in the order of its factors."""
    return _Design(design, rows, procedure, same, costs).effects()


class _Design:
    def __init__(
        self,
        design: PlannedDesign,
        rows: Mapping[str, VariantRow],
        procedure: Procedure,
        same: Same,
        costs: Costs,
    ) -> None:
        self._design, self._procedure = design, without_dunnett(procedure)
        self._same, self._costs = same, costs
        self._cells: Cells = {frozenset(on): rows[name] for on, name in design.cells if name in rows}
        self._scores = {cell: row.scores for cell, row in self._cells.items()}
        self._by_pairs = procedure.test == "paired"
        self._name = f"{design.kind} from {design.start}"

    def effects(self) -> list[EffectRow]:
        factors = self._design.factors
        match self._design.kind:
            case "factorial":
                found = self._factorial(frozenset())
                if len(factors) > 1:
                    # The cell with nothing on has no module at all, so it lacks the residual branch, too.
                    # With the first factor on, every cell has one.
                    found += self._factorial(frozenset(factors[:1]))
                    found += self._one_by_one("leave-one-out", view=True)
                    found += self._one_by_one("add-one", view=True)
                return found
            case "chain":
                order = f"parts of the {self._name}, added in its order"
                over_all = f"Shapley shares of the {self._name}"
                return [
                    *self._rows("share", over_all, shares(self._scores, factors, by_pairs=self._by_pairs)),
                    *self._rows(
                        "increment", order, increments(self._scores, factors, by_pairs=self._by_pairs)
                    ),
                ]
            case kind:
                return self._one_by_one(kind, view=False)

    def _factorial(self, within: frozenset[str]) -> list[EffectRow]:
        inside = f" with {'+'.join(sorted(within))} on" if within else ""
        found = effects(self._scores, self._design.factors, within=within, by_pairs=self._by_pairs)
        return self._rows("main", f"effects of the {self._name}{inside}", found, within=within)

    def _one_by_one(self, kind: str, *, view: bool) -> list[EffectRow]:
        """Leave-one-out: the full cell less one without a factor. Add-one: one factor less the empty cell."""
        everything = frozenset(self._design.factors)
        contrasts = []
        for factor in self._design.factors:
            alone = frozenset({factor})
            of, against = (
                (everything, everything - alone) if kind == "leave-one-out" else (alone, frozenset())
            )
            contrasts.append(
                effect_of((factor,), {of: 1.0, against: -1.0}, self._scores, by_pairs=self._by_pairs)
            )
        family = f"{kind} view of the {self._name}" if view else self._name
        return self._rows(kind, family, contrasts, view=view)

    def _rows(
        self,
        kind: str,
        family: str,
        found: Sequence[Effect],
        *,
        within: frozenset[str] = frozenset(),
        view: bool = False,
    ) -> list[EffectRow]:
        """A family, judged together. kind: of an effect of one factor; several make an interaction."""
        found = [self._marked(effect) for effect in found]
        judgements = judge([effect.evidence for effect in found], self._procedure)
        whole = self._cells.get(frozenset(self._design.factors))
        rows = []
        for effect, judgement in zip(found, judgements, strict=True):
            names = self._names(effect.missing)
            latency, machine = latency_contrast(self._weights(effect), self._costs) or (None, None)
            planned = [self._cells[cell].planned for cell in effect.weights if cell in self._cells]
            rows.append(
                EffectRow(
                    design=self._name,
                    kind=kind if len(effect.factors) == 1 else "interaction",
                    factors=effect.factors,
                    within=tuple(sorted(within)),
                    judgement=judgement,
                    reason=_missing(names) if names else explain(judgement, self._procedure),
                    family=family,
                    missing=names,
                    param_delta=self._cost(effect, lambda row: row.param_count),
                    macs_delta=self._cost(effect, lambda row: row.macs),
                    whole=whole.name if whole else None,
                    planned=max(planned, default=0),
                    view=view,
                    latency=latency,
                    latency_machine=machine,
                    cells=tuple(self._cells[cell].name for cell in effect.weights if cell in self._cells),
                    always=self._always(),
                )
            )
        return rows

    def _always(self) -> tuple[str, ...]:
        """What is on throughout, whatever the factors are: the design is over some of the switches only."""
        factors = {factor.replace("-", "_") for factor in self._design.factors}
        switches = dict.fromkeys(switch for row in self._cells.values() for switch in row.switches)
        return tuple(
            switch.replace("_", "-")
            for switch in switches
            if switch.replace("-", "_") not in factors
            and all(row.switches.get(switch) for row in self._cells.values())
        )

    def _marked(self, effect: Effect) -> Effect:
        """The difference of two cells that predicted alike is no difference at all."""
        sides = [self._cells[cell] for cell in effect.weights if cell in self._cells]
        if len(effect.weights) != 2 or len(sides) != 2 or effect.missing or not self._same(*sides):
            return effect
        return replace(effect, evidence=replace(effect.evidence, identical=True))

    def _cost(self, effect: Effect, figure: Callable[[VariantRow], int | None]) -> float | None:
        values = {cell: value for cell, row in self._cells.items() if (value := figure(row)) is not None}
        return effect.of(values) if effect.weights.keys() <= values.keys() else None

    def _weights(self, effect: Effect) -> dict[str, float] | None:
        if not effect.weights.keys() <= self._cells.keys():
            return None
        return {self._cells[cell].name: weight for cell, weight in effect.weights.items()}

    def _names(self, missing: Sequence[frozenset[str]]) -> tuple[str, ...]:
        none_on = "+".join(self._always()) or "none on"
        return tuple(
            self._cells[cell].name if cell in self._cells else "+".join(sorted(cell)) or none_on
            for cell in missing
        )


def latency_contrast(weights: Mapping[str, float] | None, costs: Costs) -> tuple[Estimate, str] | None:
    """A weighted sum of latencies in ms with its error, and the machine; weights: by the name of a variant.

    The replicate is the round: within one session all variants were timed in turns, so that the sum is taken
    round by round, as a paired t test does. None where no session timed them all.
    """
    if not weights:
        return None
    sessions: list[dict[tuple[str, str], tuple[float, ...]]] = [
        {
            (record.latency_session, record.machine): record.latency_rounds_ms
            for record in costs(name)
            if record.latency_session and len(record.latency_rounds_ms) > 1
        }
        for name in weights
    ]
    shared = set.intersection(*(set(one) for one in sessions))
    alike = [key for key in shared if len({len(one[key]) for one in sessions}) == 1]
    if not alike:
        return None
    latest = max(alike)
    rounds = np.array([one[latest] for one in sessions])
    sums = np.array(list(weights.values())) @ rounds
    std = spread(sums.tolist())
    se = std / math.sqrt(sums.size) if std > 0 else math.inf
    return Estimate(float(sums.mean()), se, sums.size - 1), latest[1]


def points_per_percent(row: EffectRow, baseline: VariantRow) -> tuple[float, float, float] | None:
    """Points bought for each per cent of the baseline's MACs that was added, with the interval's ends.

    MACs are counted, not sampled, so that the quotient has the interval of the points, rescaled. None where
    fewer MACs were added than are worth dividing by, or the points cannot be estimated.
    """
    if not row.macs_delta or not baseline.macs or row.missing:
        return None
    share = row.macs_delta / baseline.macs
    if share < LEAST_MACS_SHARE:
        return None
    figures = (row.judgement.evidence.estimate.value, *row.judgement.deciding)
    value, low, high = (figure / (100 * share) for figure in figures)
    return value, low, high


def without_dunnett(procedure: Procedure) -> Procedure:
    """Dunnett's test knows many variants against one control only: Welch and Holm stand in."""
    return replace(procedure, test="welch") if procedure.test == "dunnett" else procedure


def _missing(names: Sequence[str]) -> str:
    return f"cannot be estimated: no finished trial of {', '.join(names)}"
