"""Accuracy against each cost: who is on the Pareto front, and how sure that is.

A variant dominates another if it costs no more, is no less accurate, and is better in one of the two. By the
means alone there is always a front; intervals say what of it holds. Accuracies are apart where their
intervals do not meet, a stricter condition than the test of their difference. Counts and memory are what
they are; latencies are compared by the paired interval of their ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scipy import special

from ablate.record import CostRecord
from ablate.stats import Summary, typical_latency

if TYPE_CHECKING:
    from ablate.report.rows import VariantRow

Place = Literal["on the front", "dominated", "open"]

NOUNS = {
    "param_count": "parameters",
    "macs": "MACs",
    "latency_ms": "latency",
    "peak_memory_bytes": "training memory",
}


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One variant. cost: with its interval, which is a point for what is counted.

    on_front: by the means. place: on the front where nobody may dominate it within the intervals, dominated
    where somebody does with intervals apart, else open. by: who dominates it (dominated), or who does by the
    means, and if nobody who may (open).
    """

    variant: str
    cost: float
    cost_low: float
    cost_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    on_front: bool
    place: Place
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Front:
    """Accuracy in percent against one cost, the cheapest first. machine: None for what is counted.

    cost: param_count | macs | latency_ms | peak_memory_bytes. left_out: variants whose cost cannot be set
    beside the others', with the reason. file_name: of its figure, without the ending.
    """

    cost: str
    machine: str | None
    rows: tuple[FrontRow, ...]
    left_out: tuple[tuple[str, str], ...]
    file_name: str

    @property
    def noun(self) -> str:
        return NOUNS[self.cost]


@dataclass(frozen=True, slots=True)
class _Cost:
    value: float
    low: float
    high: float


# Of a variant by its place among those shown: which of them surely cost no more than it, and which may.
_NoMore = Callable[[int], tuple[Any, Any]]


def counted_front(cost: str, rows: Sequence[VariantRow]) -> Front:
    """cost: param_count | macs."""
    costs = {row.name: float(value) for row in rows if (value := getattr(row, cost)) is not None}
    return _exact(cost, None, rows, costs, (), f"accuracy-{'parameters' if cost == 'param_count' else cost}")


def memory_front(
    machine: str,
    rows: Sequence[VariantRow],
    records: Mapping[str, CostRecord],
    train_batch: int | None,
    file_name: str,
) -> Front:
    """Peaks of a training step of `train_batch` images; a step of another number is another cost."""
    measured = {name: record for name, record in records.items() if record.peak_memory_bytes is not None}
    left_out = tuple(
        (name, f"its training step has {record.train_batch} images")
        for name, record in measured.items()
        if record.train_batch != train_batch
    )
    others = dict(left_out)
    costs = {name: float(r.peak_memory_bytes or 0) for name, r in measured.items() if name not in others}
    return _exact("peak_memory_bytes", machine, rows, costs, left_out, file_name)


def latency_front(
    machine: str,
    rows: Sequence[VariantRow],
    rounds_ms: Mapping[str, Sequence[float]],
    left_out: Sequence[str],
    level: float,
    file_name: str,
) -> Front:
    """rounds_ms: of one session, by variant. left_out: measured, though not in this session."""
    import numpy as np

    shown = _shown(rows, rounds_ms)
    typical = [_Cost(*typical_latency(rounds_ms[row.name], level)) for row, _ in shown]
    order = sorted(range(len(shown)), key=lambda at: typical[at].value)
    logs = np.log([rounds_ms[shown[at][0].name] for at in order]) if shown else np.empty((0, 0))
    count = logs.shape[1] if shown else 0
    critical = float(special.stdtrit(count - 1, 1 - level / 2)) if count > 1 else np.inf

    def no_more(at: int) -> tuple[Any, Any]:
        """By the interval of the mean of paired differences; one without a spread tells nothing."""
        differences = logs - logs[at]
        mean = differences.mean(axis=1)
        half = (
            critical * differences.std(axis=1, ddof=1) / count**0.5
            if count > 1
            else np.full(len(mean), np.inf)
        )
        half[half == 0] = np.inf
        return mean + half <= 0, mean - half <= 0

    why = tuple((name, "it was timed in another session") for name in left_out)
    found = _rows([shown[at] for at in order], [typical[at] for at in order], no_more)
    return Front("latency_ms", machine, found, why, file_name)


def _exact(
    cost: str,
    machine: str | None,
    rows: Sequence[VariantRow],
    costs: Mapping[str, float],
    left_out: tuple[tuple[str, str], ...],
    file_name: str,
) -> Front:
    import numpy as np

    shown = sorted(_shown(rows, costs), key=lambda one: costs[one[0].name])
    values = np.asarray([costs[row.name] for row, _ in shown])
    points = [_Cost(value, value, value) for value in values.tolist()]
    found = _rows(shown, points, lambda at: (values <= values[at],) * 2)
    return Front(cost, machine, found, left_out, file_name)


def _shown(rows: Sequence[VariantRow], costs: Mapping[str, Any]) -> list[tuple[VariantRow, Summary]]:
    return [(row, row.accuracy) for row in rows if row.accuracy is not None and row.name in costs]


def _rows(
    shown: Sequence[tuple[VariantRow, Summary]], costs: Sequence[_Cost], no_more: _NoMore
) -> tuple[FrontRow, ...]:
    """shown, costs: the cheapest first."""
    import numpy as np

    names = [row.name for row, _ in shown]
    figures = [(cost.value, own.mean, own.low, own.high) for cost, (_, own) in zip(costs, shown, strict=True)]
    value, mean, low, high = np.asarray(figures).reshape(-1, 4).T
    found = []
    for at, (cost, (row, own)) in enumerate(zip(costs, shown, strict=True)):
        never_dearer, maybe_no_dearer = no_more(at)
        others = np.arange(len(names)) != at
        better = (value < value[at]) | (mean > mean[at])
        by_means = (value <= value[at]) & (mean >= mean[at]) & better
        surely = never_dearer & (low > high[at]) & others
        perhaps = maybe_no_dearer & (high >= low[at]) & others
        ahead = next((mask for mask in (surely, by_means, perhaps) if mask.any()), perhaps)
        place: Place = "dominated" if surely.any() else "open" if perhaps.any() else "on the front"
        found.append(
            FrontRow(
                variant=row.name,
                cost=cost.value,
                cost_low=cost.low,
                cost_high=cost.high,
                accuracy=own.mean,
                accuracy_low=own.low,
                accuracy_high=own.high,
                on_front=not by_means.any(),
                place=place,
                by=tuple(names[other] for other in np.flatnonzero(ahead)) if perhaps.any() else (),
            )
        )
    return tuple(found)


def widest_session(records: Mapping[str, CostRecord]) -> str | None:
    """The session that timed the most of these variants, the latest of several; None where none was timed."""
    counts: dict[str, int] = {}
    for record in records.values():
        for session in record.sessions:
            counts[session] = counts.get(session, 0) + 1
    return max(counts, key=lambda session: (counts[session], session), default=None)
