"""What the parts of a design buy, in points, parameters and MACs; leave-one-out and add-one views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ablate.record import PlannedDesign
from ablate.report.rows import EffectRow, VariantRow
from ablate.stats import Comparison, Effect, Procedure, compare, effects, explain, judge

Cells = Mapping[frozenset[str], VariantRow]


def design_effects(
    design: PlannedDesign, rows: Mapping[str, VariantRow], procedure: Procedure
) -> list[EffectRow]:
    """The effects of one design, each kind in the order of its factors."""
    cells = {frozenset(on): rows[name] for on, name in design.cells if name in rows}
    if design.kind != "factorial":
        return _view(design, cells, rows[design.start], procedure)
    found = _factorial(design, cells, frozenset(), procedure)
    if len(design.factors) > 1:
        # The cell with nothing on has no module at all, so it lacks the residual branch, too. With the first
        # factor on, every cell has one.
        found += _factorial(design, cells, frozenset(design.factors[:1]), procedure)
    return found


def _factorial(
    design: PlannedDesign, cells: Cells, within: frozenset[str], procedure: Procedure
) -> list[EffectRow]:
    scores = {cell: row.scores for cell, row in cells.items()}
    whole = cells.get(frozenset(design.factors))
    found = effects(scores, design.factors, within=within, by_pairs=procedure.test == "paired")
    judgements = judge([effect.evidence for effect in found], without_dunnett(procedure))
    inside = f" with {'+'.join(sorted(within))} on" if within else ""
    return [
        EffectRow(
            design=f"factorial from {design.start}",
            kind="main" if len(effect.factors) == 1 else "interaction",
            factors=effect.factors,
            within=tuple(sorted(within)),
            judgement=judgement,
            reason=_missing(names)
            if (names := _names(effect.missing, cells))
            else explain(judgement, procedure),
            family=f"effects of the factorial from {design.start}{inside}",
            missing=names,
            param_delta=_cost(effect, {cell: row.param_count for cell, row in cells.items()}),
            macs_delta=_cost(effect, {cell: row.macs for cell, row in cells.items()}),
            whole=whole.name if whole else None,
        )
        for effect, judgement in zip(found, judgements, strict=True)
    ]


def _view(design: PlannedDesign, cells: Cells, start: VariantRow, procedure: Procedure) -> list[EffectRow]:
    """Leave-one-out: the full cell less one without a factor. Add-one: one factor less the empty cell."""
    everything, adding = frozenset(design.factors), design.kind == "add-one"
    reference = cells.get(frozenset() if adding else everything, start)
    parts = [(factor, frozenset({factor}) if adding else everything - {factor}) for factor in design.factors]
    parts = [(factor, cell) for factor, cell in parts if cell in cells]
    sides = [(cells[cell], reference) if adding else (reference, cells[cell]) for _, cell in parts]
    pairs = [Comparison(of.scores, against.scores) for of, against in sides]
    judgements = compare(pairs, without_dunnett(procedure)) if pairs else []
    return [
        EffectRow(
            design=f"{design.kind} from {design.start}",
            kind=design.kind,
            factors=(factor,),
            within=(),
            judgement=judgement,
            reason=_missing(names)
            if (names := _unfinished((of, against)))
            else explain(judgement, procedure),
            family=f"{design.kind} from {design.start}",
            missing=names,
            param_delta=_less(of.param_count, against.param_count),
            macs_delta=_less(of.macs, against.macs),
        )
        for (factor, _), (of, against), judgement in zip(parts, sides, judgements, strict=True)
    ]


def without_dunnett(procedure: Procedure) -> Procedure:
    """Dunnett's test knows many variants against one control only: Welch and Holm stand in."""
    return replace(procedure, test="welch") if procedure.test == "dunnett" else procedure


def _cost(effect: Effect, values: Mapping[frozenset[str], int | None]) -> float | None:
    known = {cell: value for cell, value in values.items() if value is not None}
    return effect.of(known) if effect.weights.keys() <= known.keys() else None


def _less(of: int | None, against: int | None) -> float | None:
    return None if of is None or against is None else float(of - against)


def _names(missing: Sequence[frozenset[str]], cells: Cells) -> tuple[str, ...]:
    return tuple(
        cells[cell].name if cell in cells else "+".join(sorted(cell)) or "none on" for cell in missing
    )


def _unfinished(rows: Sequence[VariantRow]) -> tuple[str, ...]:
    return tuple(row.name for row in rows if not row.n)


def _missing(names: Sequence[str]) -> str:
    return f"cannot be estimated: no finished trial of {', '.join(names)}"
