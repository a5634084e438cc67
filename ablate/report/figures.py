"""Figures, each drawn from a plain table: it shows what its table holds, and tests read the table."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ablate.report import drawing, tuning
from ablate.report.curves import POINTS
from ablate.report.pareto import Front
from ablate.report.rows import CurveRow, Report, SweepRows

if TYPE_CHECKING:
    import pandas as pd

    from ablate.store import Store


def accuracy_rows(report: Report) -> pd.DataFrame:
    """One row a finished trial, with its variant's mean and interval (absent: unbounded)."""
    columns = ("variant", "seed", "accuracy", "mean", "low", "high")
    return _frame(
        columns,
        (
            (row.name, seed, score, row.accuracy.mean, *_bounds(row.accuracy.low, row.accuracy.high))
            for row in report.variants
            if row.accuracy is not None
            for seed, score in row.scores.items()
        ),
    )


def effect_rows(report: Report) -> pd.DataFrame:
    """One row an effect that can be estimated, in points, with the interval that decided; no views."""
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
            for row in report.effects
            if not row.missing and not row.view
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
    """One row a variant, the cheapest first; intervals of both (absent: unbounded), and whether it is on the
    front by the means. cost, machine: of one of the report's fronts.
    """
    columns = ("variant", cost, "cost_low", "cost_high", "mean", "low", "high", "on_front", "place")
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
            )
            for front in report.costs.fronts
            if (front.cost, front.machine) == (cost, machine)
            for row in front.rows
        ),
    )


def curve_rows(report: Report, store: Store) -> pd.DataFrame:
    """One row an epoch of a finished trial: validation accuracy in percent."""
    columns = ("variant", "seed", "epoch", "validation_accuracy")
    at_hand = {curve.id: curve for curve in report.curves if len(curve.epochs) < POINTS}  # not thinned out
    return _frame(
        columns,
        (
            (row.name, trial.seed, epoch, accuracy)
            for row in report.variants
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


def draw_figures(report: Report, store: Store) -> dict[str, bytes]:
    """Every figure that the report names: file name -> content. Equal tables give equal bytes."""
    import matplotlib as mpl

    found: dict[str, bytes] = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change a report
        for key, value in drawing.STYLE.items():
            mpl.rcParams[key] = value
        for name, draw in _drawings(report, store).items():
            canvas = draw()
            for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                file = io.BytesIO()
                canvas.savefig(file, format=kind, metadata=metadata, bbox_inches="tight")
                found[f"{name}.{kind}"] = file.getvalue()
    return found


def _drawings(report: Report, store: Store) -> dict[str, Callable[[], Any]]:
    baseline, margin = report.baseline_row, report.procedure.margin
    possible: dict[str, Callable[[], Any]] = {
        "accuracy": lambda: drawing.draw_accuracy(accuracy_rows(report), baseline.name),
        "effects": lambda: drawing.draw_effects(effect_rows(report), margin),
        "curves": lambda: drawing.draw_curves(curve_rows(report, store), baseline.name),
    }
    if report.tuning is not None:
        for figure in tuning.figures(report.tuning):
            possible[figure.name] = partial(tuning.draw, report.tuning, figure.name)
    for front in report.costs.fronts:
        possible[front.file_name] = partial(_draw_front, report, front)
    for sweep in report.sweeps:
        possible[sweep.file_name] = lambda sweep=sweep: drawing.draw_sweep(sweep_rows(sweep), sweep, baseline)  # type: ignore[misc]
    return {figure.name: possible[figure.name] for figure in report.figures}


def _draw_front(report: Report, front: Front) -> Any:
    return drawing.draw_cost(cost_rows(report, front.cost, front.machine), front.cost, report.baseline)
