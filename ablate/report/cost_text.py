"""Costs in words and figures: the tables and their notes, and what the JSON and the CSV say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ablate.report import numbers
from ablate.report.costs import MeasuredRow, contention
from ablate.report.pareto import Front
from ablate.report.rows import Report

ANOTHER_SESSION = "timed in another session"
# As the measurement notes it, a network a line.
_SCATTER = re.compile(r"(?P<name>.+): its rounds scatter by (?P<percent>\d+) %")
_TOLD = 6  # variants in a sentence
FRONTS_HEADER = ("Accuracy against", "On the front", "Open", "Dominated")


def costs_answer(report: Report) -> str:
    """Of a study of costs alone, in a sentence: what each variant adds, the most of them by name."""
    base = report.baseline_row
    if base.param_count is None or base.macs is None:
        return "Costs alone: nothing was trained, and nothing is counted yet."
    told = [
        f"{row.name} {numbers.share(row.param_count - base.param_count, base.param_count)} parameters, "
        f"{numbers.share(row.macs - base.macs, base.macs)} MACs"
        for row in report.variants
        if row is not base and row.param_count is not None and row.macs is not None
    ]
    more = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return (
        f"Costs alone, for nothing was trained. Against {base.name}'s {numbers.count(base.param_count)} "
        f"parameters and {numbers.macs(base.macs)} MACs: {'; '.join(told[:_TOLD])}{more}."
    )


def counted_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and cells: equal in equal runs."""
    header = ["Variant", "Parameters", "backbone", "attention", "MACs", "attention's", "Activations"]
    header += ["Saved for backward"]
    rows = [
        [
            row.variant,
            numbers.count(row.param_count),
            numbers.count(row.backbone_param_count),
            numbers.count(row.attention_param_count),
            numbers.macs(row.macs),
            numbers.macs(row.attention_macs),
            numbers.count(row.activations),
            _bytes(row.saved_bytes),
        ]
        for row in report.costs.counted
    ]
    return header, rows


def measured_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and cells, a line a variant and machine: no two runs agree on them."""
    rows = report.costs.measured
    with_graph = any(row.latency_graph_ms is not None for row in rows)
    with_energy = any(row.image_energy_mj is not None for row in rows)
    header = [
        "Variant",
        "Machine",
        "p50 of calls, ms",
        "p95 of calls, ms",
        *(["graph, ms"] if with_graph else []),
    ]
    header += ["Mean of rounds, ms", f"as a multiple of {report.baseline}'s", "Verdict", "images/s"]
    header += ["Training peak"]
    header += [f"of {report.baseline}'s", "Inference peak", *(["mJ an image"] if with_energy else [])]
    cells = [
        [
            row.variant,
            row.machine,
            _ms(row.latency_ms),
            _ms(row.latency_p95_ms),
            *([_ms(row.latency_graph_ms)] if with_graph else []),
            _ms(row.rounds_mean_ms),
            _ratio(row),
            _verdict(row, report.baseline),
            numbers.NONE
            if row.images_per_s is None
            else f"{row.images_per_s:,.0f} (batch {row.throughput_batch})",
            _peak(row),
            numbers.NONE
            if row.memory_percent is None
            else f"{numbers.share(row.memory_percent, 100)} of {_bytes(row.memory_against)}",
            _bytes(row.inference_memory_bytes),
            *([_mj(row.image_energy_mj)] if with_energy else []),
        ]
        for row in rows
    ]
    return header, cells


def fronts_table(report: Report, *, measured: bool) -> tuple[list[str], list[list[str]]]:
    """Header and cells, a line a cost. measured: those on which no two runs agree, else the counted ones."""
    return list(FRONTS_HEADER), [
        [_against_what(front), *(_listed(front, place) for place in ("on the front", "open", "dominated"))]
        for front in report.costs.fronts
        if (front.machine is not None) == measured
    ]


def notes(report: Report) -> list[str]:
    """What holds of every run: conventions."""
    if not report.costs.counted:
        return []
    found = [
        "Activations: elements of the outputs of convolutions and linear layers for one image. Saved for "
        "backward: what one image leaves for the backward pass."
    ]
    if report.costs.fronts:
        found.append(
            "A variant is dominated by another that costs no more and is more accurate, their "
            f"{100 * (1 - report.procedure.level):g} % intervals apart; it is on the front if nobody may "
            "dominate it within the intervals, and open otherwise: a star marks who is on the front by the "
            "means alone, and in brackets stands who is ahead of the others by the means."
        )
    if report.costs.measured:
        found.append(
            "Latency: one image. p50 and p95 are those of all calls. What is compared is the geometric mean "
            "of the rounds, each round the median of its calls: the ratio by a paired t test on the "
            f"logarithms of {_rounds(report)} ABBA rounds in one session, corrected within its machine, and "
            "the interval after correction. Training peak: of a whole step at the batch beside it. "
            "Inference peak: one image. Only figures of one machine are compared."
        )
    return found


def measured_notes(report: Report) -> list[str]:
    """A sentence each on the machines, and on whatever makes their figures less than certain."""
    found = []
    for machine in report.costs.machines:
        clock = "" if machine.clock_mhz is None else f" at {machine.clock_mhz:,.0f} MHz"
        threads = f"{machine.threads} thread{'s' * (machine.threads != 1)}"
        found.append(
            f"{machine.machine}: {machine.device_name} ({machine.device}){clock}, {threads}, "
            f"torch {machine.torch}"
        )
        found += [f"{machine.machine}: {note}" for note in _folded(machine.notes)]
        if contention(machine.notes) and any(row.against for row in report.costs.measured):
            found.append(
                f"{machine.machine}: so a ratio tells which is slower here, and not by how much at rest"
            )
    unmeasured: dict[tuple[str, str], list[str]] = {}
    for row in report.costs.measured:
        if row.peak_memory_bytes is None and row.memory_means:
            unmeasured.setdefault((row.machine, row.memory_means), []).append(row.variant)
    for (name, means), variants in unmeasured.items():
        found.append(f"{_some(variants, 3)} on {name}: training memory {means}")
    energy = dict.fromkeys(row.energy_means for row in report.costs.measured if row.energy_means)
    found += [f"energy: {means}" for means in energy]
    for front in report.costs.fronts:
        if front.left_out:
            by_reason: dict[str, list[str]] = {}
            for name, reason in front.left_out:
                by_reason.setdefault(reason, []).append(name)
            why = "; ".join(f"{_some(names, 3)} ({reason})" for reason, names in by_reason.items())
            found.append(f"left out of accuracy against {_against_what(front)}: {why}")
    return found


def measured_caption(report: Report) -> str:
    """The same as sentences of one paragraph; those that begin with a name keep it as it is."""
    found = []
    for note in measured_notes(report):
        start = note[:1].upper() if note.startswith(("energy: ", "left out ")) else note[:1]
        found.append(f"{start}{note[1:].removesuffix('.')}.")
    return " ".join(found)


def _folded(notes: Sequence[str]) -> list[str]:
    """Those that say the same of several networks as one, in the place of the first."""
    found: dict[str, list[tuple[str, int]]] = {}
    for note in notes:
        scatter = _SCATTER.fullmatch(note)
        found.setdefault("" if scatter else note, [])
        if scatter:
            found[""].append((scatter["name"], int(scatter["percent"])))
    return [note or _scatter(found[""]) for note in found]


def _scatter(noisy: Sequence[tuple[str, int]]) -> str:
    percents = sorted({percent for _, percent in noisy})
    by = f"{percents[0]} to {percents[-1]}" if len(percents) > 1 else f"{percents[0]}"
    if len(noisy) == 1:
        return f"{noisy[0][0]}: its rounds scatter by {by} %"
    return f"the rounds of {len(noisy)} variants scatter by {by} %: {_some([name for name, _ in noisy], 3)}"


def _rounds(report: Report) -> str:
    counts = sorted({row.against.rounds for row in report.costs.measured if row.against})
    return " or ".join(map(str, counts)) or "its"


def _against_what(front: Front) -> str:
    return front.noun if front.machine is None else f"{front.noun} on {front.machine}"


def _listed(front: Front, place: str) -> str:
    shown = []
    for row in front.rows:
        if row.place == place:
            star = "*" if row.on_front and place == "open" else ""
            by = f" ({_some(row.by, 2)})" if row.by and not star else ""
            shown.append((not star, f"{row.variant}{star}{by}"))
    if place == "on the front":
        return ", ".join(name for _, name in shown) or numbers.NONE
    # A star says more than a rank by the cost: those that have one are named first.
    return _some([name for _, name in sorted(shown, key=lambda one: one[0])], 3) or numbers.NONE


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _verdict(row: MeasuredRow, baseline: str) -> str:
    if row.variant == baseline:
        return "baseline"
    if row.against is not None:
        return row.against.verdict
    return numbers.NONE if row.latency_ms is None else ANOTHER_SESSION


def _ratio(row: MeasuredRow) -> str:
    if row.against is None:
        return numbers.NONE
    found = row.against
    interval = f" [{found.low:.3f}, {found.high:.3f}]" if found.high < float("inf") else ""
    return f"{found.ratio:.3f}{interval} of {_ms(row.against_ms)}"


def _peak(row: MeasuredRow) -> str:
    peak = _bytes(row.peak_memory_bytes)
    return peak if row.peak_memory_bytes is None else f"{peak} (batch {row.train_batch})"


def _ms(value: float | None) -> str:
    return numbers.NONE if value is None else f"{value:,.3f}"


def _mj(value: float | None) -> str:
    return numbers.NONE if value is None else f"{value:,.1f}"


def _bytes(value: float | None) -> str:
    if value is None:
        return numbers.NONE
    return f"{value / 2**20:,.2f} MiB" if value >= 2**20 else f"{value / 2**10:,.1f} KiB"


# JSON and CSV


def document(report: Report) -> dict[str, Any]:
    """All rows, in full precision."""
    return asdict(report.costs)


def records(report: Report) -> list[dict[str, Any]]:
    """Lines of `tables/costs.csv`, one a variant and machine."""
    counted = {row.variant: row for row in report.costs.counted}
    return [
        {
            "variant": row.variant,
            "machine": row.machine,
            **{key: value for key, value in asdict(counted[row.variant]).items() if key != "variant"},
            **{key: getattr(row, key) for key in _FIGURES},
            **{f"latency_{key}": getattr(row.against, key, None) for key in _COMPARED},
        }
        for row in report.costs.measured
    ]


_FIGURES = (
    "latency_ms",
    "latency_p95_ms",
    "latency_graph_ms",
    "rounds_mean_ms",
    "against_ms",
    "images_per_s",
    "throughput_batch",
    "dtype",
    "peak_memory_bytes",
    "memory_percent",
    "train_batch",
    "inference_memory_bytes",
    "reserved_memory_bytes",
    "image_energy_mj",
    "session",
)
_COMPARED = ("ratio", "low", "high", "level", "rounds", "p_value", "p_adjusted", "verdict")
# Columns of that table on which equal runs do not agree.
MEASURED_COLUMNS = (*_FIGURES, *(f"latency_{key}" for key in _COMPARED))
