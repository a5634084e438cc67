"""Figures, each drawn from a plain table: it shows what its table holds, and tests read the table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ablate.report import drawing, tuning
from ablate.report.curves import POINTS
from ablate.report.drawn import Drawing, draw_all
from ablate.report.pareto import Front
from ablate.report.readable import Readable, readable_effects, readable_names, readable_variants
from ablate.report.rows import CurveRow, Figure, Report, SweepRows

if TYPE_CHECKING:
    import pandas as pd

    from ablate.store import Store


def accuracy_rows(report: Report) -> pd.DataFrame:
    """One row a finished trial of a variant that is shown, with the variant's mean and interval (absent:
    unbounded).
    """
    shown = frozenset(_variants(report).kept)
    columns = ("variant", "seed", "accuracy", "mean", "low", "high")
    return _frame(
        columns,
        (
            (row.name, seed, score, row.accuracy.mean, *_bounds(row.accuracy.low, row.accuracy.high))
            for row in report.variants
            if row.accuracy is not None and row.name in shown
            for seed, score in row.scores.items()
        ),
    )


def effect_rows(report: Report) -> pd.DataFrame:
    """One row an effect that is shown, in points, with the interval that decided; no views."""
    columns = ("family", "effect", "estimate", "low", "high", "verdict")
    return _frame(
        columns,
        (
            (
                row.family,
                row.name,
                row.judgement.evidence.estimate.value,
                *_bounds(*row.judgement.deciding),
                row.judgement.verdict,
            )
            for row in readable_effects(report.effects).kept
        ),
    )


def sweep_rows(sweep: SweepRows) -> pd.DataFrame:
    """One row a finished trial of a level; value: its place on the axis."""
    columns = ("level", "value", "variant", "seed", "accuracy", "mean", "low", "high")
    return _frame(
        columns,
        (
            (
                level.label,
                float(position) if level.value is None or not sweep.numeric else level.value,
                level.variant.name,
                seed,
                score,
                level.variant.accuracy.mean,
                *_bounds(level.variant.accuracy.low, level.variant.accuracy.high),
            )
            for position, level in enumerate(sweep.levels)
            if level.variant.accuracy is not None
            for seed, score in level.variant.scores.items()
        ),
    )


def cost_rows(report: Report, cost: str, machine: str | None = None) -> pd.DataFrame:
    """One row a variant, the cheapest first; intervals of both (absent: unbounded), whether it is on the
    front by the means, and whether its name is shown. cost, machine: of one of the report's fronts.
    """
    columns = ("variant", cost, "cost_low", "cost_high", "mean", "low", "high", "on_front", "place", "named")
    fronts = [front for front in report.costs.fronts if (front.cost, front.machine) == (cost, machine)]
    named = frozenset(name for front in fronts for name in _names(report, front).kept)
    return _frame(
        columns,
        (
            (
                row.variant,
                row.cost,
                *_bounds(row.cost_low, row.cost_high),
                row.accuracy,
                *_bounds(row.accuracy_low, row.accuracy_high),
                row.on_front,
                row.place,
                row.variant in named,
            )
            for front in fronts
            for row in front.rows
        ),
    )


def curve_rows(report: Report, store: Store) -> pd.DataFrame:
    """One row an epoch of a finished trial of a variant that is shown: validation accuracy in percent."""
    shown = frozenset(_variants(report).kept)
    columns = ("variant", "seed", "epoch", "validation_accuracy")
    at_hand = {curve.id: curve for curve in report.curves if len(curve.epochs) < POINTS}  # not thinned out
    return _frame(
        columns,
        (
            (row.name, trial.seed, epoch, accuracy)
            for row in report.variants
            if row.name in shown
            for trial in row.done
            for epoch, accuracy in _curve(trial.id, at_hand.get(trial.id), store)
        ),
    )


def _curve(
    trial_id: str, at_hand: CurveRow | None, store: Store
) -> Iterable[tuple[float | None, float | None]]:
    if at_hand is not None:
        return zip(map(float, at_hand.epochs), at_hand.validation_accuracy, strict=True)
    return ((epoch["epoch"], epoch["validation_accuracy"]) for epoch in store.read_epochs(trial_id))


def _frame(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns))


def _bounds(low: float, high: float) -> tuple[float, float]:
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)


def _variants(report: Report) -> Readable[str]:
    return readable_variants(report.variants, report.baseline, report.claims)


def _names(report: Report, front: Front) -> Readable[str]:
    return readable_names(front, report.baseline, report.claims)


def draw_figures(report: Report, store: Store) -> dict[str, bytes]:
    """Every figure that the report names: file name -> content. Equal tables give equal bytes."""
    drawings = [_drawing(report, store, figure) for figure in report.figures]
    return draw_all(drawings, store.study(report.study).figures)


def _drawing(report: Report, store: Store, figure: Figure) -> Drawing:
    """How a figure is drawn, and all that it is drawn from."""
    base, name, note = report.baseline, figure.name, figure.note
    fronts = {front.file_name: front for front in report.costs.fronts}
    sweeps = {sweep.file_name: sweep for sweep in report.sweeps}
    if name == "accuracy":
        return Drawing(name, drawing.draw_accuracy, (accuracy_rows(report), base, note))
    if name == "effects":
        return Drawing(name, drawing.draw_effects, (effect_rows(report), report.procedure.margin, note))
    if name == "curves":
        return Drawing(name, drawing.draw_curves, (curve_rows(report, store), base, note))
    if name in fronts:
        front = fronts[name]
        table = cost_rows(report, front.cost, front.machine)
        return Drawing(name, drawing.draw_cost, (table, front.cost, base, note))
    if name in sweeps:
        sweep, row = sweeps[name], report.baseline_row
        told = (sweep_rows(sweep), replace(sweep, levels=()), replace(row, trials=(), against=None))
        return Drawing(name, drawing.draw_sweep, told)
    return Drawing(name, tuning.draw, (report.tuning, name))
