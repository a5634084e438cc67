"""A session as a table, or as JSON, with whatever makes its figures less than certain."""

from __future__ import annotations

import math
from dataclasses import asdict
from io import StringIO
from typing import TYPE_CHECKING, Any

from ablate.bench.session import Bench

if TYPE_CHECKING:
    from ablate.measure import Energy, MemoryPeak


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


def bench_text(bench: Bench, *, width: int = 118) -> str:
    """A table, the comparisons, and whatever makes the figures less than certain."""
    from rich.console import Console
    from rich.table import Table

    with_graph = any(costs.graph is not None for costs in bench.costs)
    with_energy = any(costs.energy is not None and costs.energy.call_mj is not None for costs in bench.costs)
    table = Table(box=None, padding=(0, 1), header_style="")
    heads = ["", "params M", "MACs M", "activ. M", "train MiB", "infer MiB", "p50 ms", "p95 ms"]
    heads += [*(["graph ms"] if with_graph else []), "images/s", *(["mJ/image"] if with_energy else [])]
    for head in heads:
        table.add_column(head, justify="right" if head else "left", no_wrap=bool(head))
    for costs in bench.costs:
        graph = ["–" if costs.graph is None else f"{costs.graph.p50_ms:,.3f}"] if with_graph else []
        table.add_row(
            costs.name,
            f"{costs.param_count / 1e6:,.3f}",
            f"{costs.macs / 1e6:,.2f}",
            f"{costs.activations / 1e6:,.3f}",
            _mebibytes(costs.training),
            _mebibytes(costs.inference),
            f"{costs.timing.p50_ms:,.3f}",
            f"{costs.timing.p95_ms:,.3f}",
            *graph,
            f"{costs.images_per_s:,.1f}",
            *([_millijoules(costs.energy)] if with_energy else []),
        )
    written = StringIO()
    Console(file=written, width=width, no_color=True, highlight=False).print(table)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    return "\n".join([*lines, "", *_conditions(bench), *map(str, bench.ratios), *_notes(bench)])


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
