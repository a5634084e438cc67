"""A session as a table, or as JSON, with whatever makes its figures less than certain."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from ablate.bench.session import Bench, Costs

if TYPE_CHECKING:
    from ablate.measure import Energy, MemoryPeak

# field of the costs -> head of its column, decimals
COUNTS: Final = {"param_count": ("params", 3), "macs": ("MACs", 2), "activations": ("activ.", 3)}


def bench_json(bench: Bench) -> dict[str, Any]:
    """Plain values; an interval without an end has null there."""
    plain = asdict(bench) | {"environment": bench.environment.model_dump(mode="json")}
    for ratio in plain["ratios"]:
        ratio |= {end: value if math.isfinite(value := ratio[end]) else None for end in ("low", "high")}
    for costs, measured in zip(plain["costs"], bench.costs, strict=True):
        costs["p50_ms"], costs["p95_ms"] = measured.timing.p50_ms, measured.timing.p95_ms
        del costs["timing"]["calls_ms"]
        if costs["graph"] is not None:
            costs["graph"] = {"p50_ms": measured.graph.p50_ms, "p95_ms": measured.graph.p95_ms}
    return plain


def bench_text(bench: Bench, baseline: str | None = None, *, width: int = 118) -> str:
    """A table, the differences, the comparisons, and whatever makes the figures less than certain.

    baseline: the name of the one that the others differ from; None where there is none.
    """
    against = next((costs for costs in bench.costs if costs.name == baseline), None)
    tables = [_figures(bench, against, width)]
    if against is not None and len(bench.costs) > 1:
        tables.append(_differences(bench, against, width))
    lines = [*map(str, bench.ratios), *_notes(bench)]
    return "\n".join(["\n\n".join(tables), "", *_conditions(bench), *lines])


def _figures(bench: Bench, against: Costs | None, width: int) -> str:
    with_graph = any(costs.graph is not None for costs in bench.costs)
    with_energy = any(costs.energy is not None and costs.energy.call_mj is not None for costs in bench.costs)
    units = {name: _unit(bench, against, name) for name in COUNTS}
    heads = ["", *(f"{COUNTS[name][0]} {unit.sign}".strip() for name, unit in units.items())]
    heads += ["train MiB", "infer MiB", "p50 ms", "p95 ms"]
    heads += [*(["graph ms"] if with_graph else []), "images/s", *(["mJ/image"] if with_energy else [])]
    rows = []
    for costs in bench.costs:
        graph = ["–" if costs.graph is None else f"{costs.graph.p50_ms:,.3f}"] if with_graph else []
        rows.append(
            [
                costs.name,
                *(unit.shown(getattr(costs, name)) for name, unit in units.items()),
                _mebibytes(costs.training),
                _mebibytes(costs.inference),
                f"{costs.timing.p50_ms:,.3f}",
                f"{costs.timing.p95_ms:,.3f}",
                *graph,
                f"{costs.images_per_s:,.1f}",
                *([_millijoules(costs.energy)] if with_energy else []),
            ]
        )
    return _table(heads, rows, width)


def _differences(bench: Bench, against: Costs, width: int) -> str:
    """What a network has more or less than the baseline. Latencies are compared by ratios with intervals."""
    heads = [f"Δ to {against.name}", *(head for head, _ in COUNTS.values()), "train MiB", "infer MiB"]
    rows = []
    for costs in bench.costs:
        if costs is not against:
            counts = [_delta(getattr(costs, name), getattr(against, name)) for name in COUNTS]
            peaks = [
                _delta_mebibytes(getattr(costs, name), getattr(against, name))
                for name in ("training", "inference")
            ]
            rows.append([costs.name, *counts, *peaks])
    return _table(heads, rows, width)


def _table(heads: list[str], rows: list[list[str]], width: int) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=bool(place))
    for row in rows:
        table.add_row(*row)
    written = StringIO()
    Console(file=written, width=width, no_color=True, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


@dataclass(frozen=True)
class _Unit:
    sign: str
    size: int
    decimals: int

    def shown(self, value: float) -> str:
        return f"{value / self.size:,.{self.decimals}f}"


def _unit(bench: Bench, against: Costs | None, name: str) -> _Unit:
    """The largest in which the smallest value has two digits, and the smallest difference to the baseline
    one."""
    decimals = COUNTS[name][1]
    values = [getattr(costs, name) for costs in bench.costs]
    base = values[0] if against is None else getattr(against, name)
    differences = [abs(value - base) for value in values if value != base and against is not None]
    for sign, size in (("M", 10**6), ("k", 10**3)):
        last_digit = size / 10**decimals
        least = min([value for value in values if value], default=size)
        if least >= 10 * last_digit and min(differences, default=size) >= last_digit:
            return _Unit(sign, size, decimals)
    return _Unit("", 1, 0)


def _delta(value: float, base: float, decimals: int = 0) -> str:
    """ "+32 (+0.97 %)"."""
    difference = value - base
    if not difference:
        return "0"
    shown = f"{difference:+,.{decimals}f}"
    return f"{shown} ({100 * difference / base:+.2f} %)" if base else shown


def _delta_mebibytes(peak: MemoryPeak, base: MemoryPeak) -> str:
    if peak.peak_bytes is None or base.peak_bytes is None:
        return "–"
    return _delta(peak.peak_bytes / 2**20, base.peak_bytes / 2**20, 2)


def _mebibytes(peak: MemoryPeak) -> str:
    return "–" if peak.peak_bytes is None else f"{peak.peak_bytes / 2**20:,.2f}"


def _millijoules(energy: Energy | None) -> str:
    return "–" if energy is None or energy.call_mj is None else f"{energy.call_mj:,.1f}"


def _conditions(bench: Bench) -> list[str]:
    how, where = bench.conditions, bench.environment
    batches = sorted({costs.train_batch for costs in bench.costs})
    clock = "" if bench.clock_mhz is None else f" at {bench.clock_mhz:,.0f} MHz"
    threads = f"{how.threads} thread{'s' * (how.threads != 1)}"
    return [
        f"{where.device_name}{clock}, {threads}, {how.dtype}, torch {where.torch}; {how.rounds} ABBA rounds",
        f"latency and inference memory at batch 1, images/s at batch {bench.batch}, "
        f"training memory at batch {', '.join(map(str, batches))}",
    ]


def _notes(bench: Bench) -> list[str]:
    notes = [*bench.contention]
    if bench.contention and bench.ratios:
        # A call that loses the processor takes many times its length, and the longer one loses it more often.
        notes.append("so a ratio tells which is slower here, and not by how much on a machine at rest")
    for costs in bench.costs:
        notes += [f"{costs.name}: {note}" for note in costs.notes]
        for what, peak in (("training", costs.training), ("inference", costs.inference)):
            if peak.peak_bytes is None:
                notes.append(f"{costs.name}: {what} memory {peak.means}")
        if costs.energy is not None and costs.energy.call_mj is not None:
            notes.append(f"energy: {costs.energy.means}")
    return [f"note: {note}" for note in dict.fromkeys(notes)]
