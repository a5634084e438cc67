"""Curves and figures of a trial under the names that trackers give them, and what of them is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ablate.record import CostRecord, TrialRecord

Row = Mapping[str, float | None]

# What a clock says of an epoch: another figure each time that the epoch is trained.
CLOCK: Final = frozenset({"epoch/seconds", "epoch/images_per_s"})
COST: Final = "cost/"
CURVES: Final = ("epoch/", "step/", "final/")
_INDEX = ("epoch", "step")  # of the rows; no curves
COST_FIGURES: Final = (
    "param_count",
    "attention_param_count",
    "macs",
    "attention_macs",
    "activations",
    "latency_ms",
    "latency_p95_ms",
    "latency_graph_ms",
    "images_per_s",
    "peak_memory_bytes",
    "inference_memory_bytes",
    "image_energy_mj",
)
TRIAL_FIGURES: Final = ("wall_s", "images_per_s")
_LARGEST = 1.7976931348623157e308


class Point(NamedTuple):
    """time_s: seconds since 1970."""

    value: float
    time_s: float


Curves = dict[str, dict[int, Point]]  # name -> step -> point


def curves_of(epochs: Sequence[Row], steps: Sequence[Row], *, ended_s: float, stages: bool) -> Curves:
    """`epoch/…` over epochs and `step/…` over training steps, an empty cell left out.

    ended_s: when the last of these epochs ended, in seconds since 1970; the others are told from their
    lengths, so that writing them later gives the same times. stages: whether the stage is worth a curve.
    """
    ends: dict[int, float] = {}
    at_s = ended_s
    for row in reversed(epochs):
        ends[_whole(row["epoch"])] = at_s
        at_s -= row.get("seconds") or 0.0
    found: Curves = {}
    for row in epochs:
        epoch = _whole(row["epoch"])
        _add(found, "epoch", epoch, row, ends[epoch], left_out=() if stages else ("stage",))
    lengths = {_whole(row["epoch"]): row.get("seconds") or 0.0 for row in epochs}
    counts: dict[int, int] = {}
    for row in steps:
        epoch = _whole(row["epoch"])
        counts[epoch] = counts.get(epoch, 0) + 1
    seen: dict[int, int] = {}
    for row in steps:
        epoch = _whole(row["epoch"])
        seen[epoch] = seen.get(epoch, 0) + 1
        before_end_s = lengths.get(epoch, 0.0) * (1 - seen[epoch] / counts[epoch])
        _add(found, "step", _whole(row["step"]), row, ends.get(epoch, ended_s) - before_end_s)
    return found


def final_figures(record: TrialRecord, *, step: int, ended_s: float) -> Curves:
    """`final/…`: one point each, at the last epoch. None of a trial without a result."""
    if record.metrics is None:
        return {}
    figures = record.metrics.model_dump() | {name: getattr(record, name) for name in TRIAL_FIGURES}
    return {
        f"final/{name}": {step: Point(float(value), ended_s)}
        for name, value in figures.items()
        if value is not None
    }


def cost_figures(record: CostRecord) -> dict[str, float]:
    """`cost/…` of what was measured."""
    figures = {name: getattr(record, name) for name in COST_FIGURES}
    return {f"{COST}{name}": float(value) for name, value in figures.items() if value is not None}


def missing(logged: Mapping[str, Mapping[int, float]], wanted: Curves, *, ended: bool) -> Curves | None:
    """The points of `wanted` that are not logged; None where what is logged is of another training.

    ended: nothing more will come, so what is logged beyond it is not of this training either. Until then a
    trial that goes on from a checkpoint may stand behind what is logged of it.
    """
    gap: Curves = {}
    for name, points in wanted.items():
        known = logged.get(name, {})
        for step, point in points.items():
            if step not in known:
                gap.setdefault(name, {})[step] = point
            elif not same(known[step], point.value):
                return None
    if ended and any(step not in wanted.get(name, {}) for name, known in logged.items() for step in known):
        return None
    return gap


def same(one: float, other: float) -> bool:
    """Up to what a database makes of a number: its last bits, and infinity as the largest that it holds."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    one, other = (min(max(value, -_LARGEST), _LARGEST) for value in (one, other))
    return math.isclose(one, other, rel_tol=1e-12)


def count(curves: Curves) -> int:
    return sum(map(len, curves.values()))


def _add(
    found: Curves, kind: str, step: int, row: Row, time_s: float, *, left_out: Iterable[str] = ()
) -> None:
    for name, value in row.items():
        if value is not None and name not in _INDEX and name not in left_out:
            found.setdefault(f"{kind}/{name}", {})[step] = Point(value, time_s)


def _whole(value: float | None) -> int:
    return 0 if value is None else int(value)
