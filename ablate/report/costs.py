"""What each variant costs its user, machine by machine.

Parameters, MACs and activations are counted and the same everywhere. Latency, throughput, memory and energy
are measured, stand beside the machine that measured them, and are compared within it alone. Latencies are
compared with the baseline's by a paired t test on the logarithms of the rounds of a session that timed both;
those of one machine are a family, with Holm's correction of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ablate.record import CostRecord
from ablate.report.pareto import Front, counted_front, latency_front, memory_front, widest_session
from ablate.stats import LatencyJudgement, Procedure, judge_latencies, log_ratio, typical_latency

if TYPE_CHECKING:
    from ablate.report.rows import VariantRow


@dataclass(frozen=True, slots=True)
class CountedRow:
    """One variant, for one image. activations, saved_bytes: None where only parameters and MACs are known."""

    variant: str
    param_count: int
    attention_param_count: int
    macs: int
    attention_macs: int
    activations: int | None
    saved_bytes: int | None

    @property
    def backbone_param_count(self) -> int:
        return self.param_count - self.attention_param_count

    @property
    def backbone_macs(self) -> int:
        return self.macs - self.attention_macs


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One variant on one machine; what was not measured is None.

    latency: p50 and p95 of all calls at batch 1, graph: of the replayed CUDA graph. rounds_mean_ms: geometric
    mean of the rounds, of the session compared in, else of its latest. against: that mean as a multiple of
    the baseline's, `against_ms`, in the session that timed both; None for the baseline and where none did.
    memory_percent: what the training peak has beyond the baseline's, in percent of that, `memory_against`;
    None where their steps have other batches.
    """

    variant: str
    machine: str
    latency_ms: float | None
    latency_p95_ms: float | None
    latency_graph_ms: float | None
    images_per_s: float | None
    throughput_batch: int | None
    dtype: str | None
    peak_memory_bytes: int | None
    train_batch: int | None
    inference_memory_bytes: int | None
    reserved_memory_bytes: int | None
    memory_means: str | None
    image_energy_mj: float | None
    energy_means: str | None
    session: str | None
    notes: tuple[str, ...]
    rounds_mean_ms: float | None = None
    against: LatencyJudgement | None = None
    against_ms: float | None = None
    memory_percent: float | None = None
    memory_against: int | None = None


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A machine that measured at least one variant. notes: on contention, each once."""

    machine: str
    device_name: str
    device: str
    threads: int
    torch: str
    clock_mhz: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostRows:
    """fronts: accuracy against each cost; see `ablate.report.pareto`."""

    counted: tuple[CountedRow, ...] = ()
    measured: tuple[MeasuredRow, ...] = ()
    machines: tuple[MachineRow, ...] = ()
    fronts: tuple[Front, ...] = ()


NOTHING_COUNTED = CostRows()


def cost_rows(
    rows: Sequence[VariantRow],
    baseline: str,
    procedure: Procedure,
    costs: Callable[[str], Sequence[CostRecord]],
) -> CostRows:
    """costs: of a variant, one record a machine."""
    records = {row.name: costs(row.name) for row in rows}
    of_machine: dict[str, dict[str, CostRecord]] = {}
    for name, found in records.items():
        for record in found:
            if record.latency_ms is not None or record.memory_means is not None:
                of_machine.setdefault(record.machine, {})[name] = record
    machines = dict(sorted(of_machine.items()))
    measured = [row for found in machines.values() for row in _measured(found, baseline, procedure)]
    return CostRows(
        counted=tuple(_counted(name, found) for name, found in records.items() if found),
        measured=tuple(measured),
        machines=tuple(_machine(name, found) for name, found in machines.items()),
        fronts=tuple(front for front in _fronts(rows, baseline, machines, procedure.level) if front.rows),
    )


def contention(notes: Sequence[str]) -> tuple[str, ...]:
    """Of a record's notes, those on what else ran; the others say why there is no replayed graph."""
    return tuple(note for note in notes if "CUDA graph" not in note)


def _counted(name: str, found: Sequence[CostRecord]) -> CountedRow:
    fullest = next((record for record in found if record.activations is not None), found[0])
    return CountedRow(
        name,
        fullest.param_count,
        fullest.attention_param_count,
        fullest.macs,
        fullest.attention_macs,
        fullest.activations,
        fullest.saved_bytes,
    )


def _machine(name: str, found: Mapping[str, CostRecord]) -> MachineRow:
    latest = max(found.values(), key=lambda record: record.measured)
    where = latest.environment
    notes = (note for record in found.values() for note in record.notes)
    return MachineRow(
        name,
        where.device_name,
        where.device,
        where.threads,
        where.torch,
        latest.clock_mhz,
        tuple(dict.fromkeys(notes)),
    )


def _measured(found: Mapping[str, CostRecord], baseline: str, procedure: Procedure) -> list[MeasuredRow]:
    """The variants of one machine, those timed with the baseline judged together."""
    base = found.get(baseline)
    plain = {name: _as_measured(name, record, base) for name, record in found.items()}
    shared = {
        name: session
        for name, record in found.items()
        if base is not None and name != baseline and (session := _shared_session(record, base)) is not None
    }
    if base is None or not shared:
        return list(plain.values())
    family = [log_ratio(found[name].sessions[at], base.sessions[at]) for name, at in shared.items()]
    for name, judgement in zip(shared, judge_latencies(family, procedure), strict=True):
        plain[name] = replace(
            plain[name],
            against=judgement,
            against_ms=_rounds_mean(base, shared[name]),
            rounds_mean_ms=_rounds_mean(found[name], shared[name]),
        )
    return list(plain.values())


def _rounds_mean(record: CostRecord, session: str | None) -> float | None:
    """Geometric, in milliseconds: two of them divide into the ratio that is judged."""
    rounds_ms = record.sessions.get(session or "", ())
    return typical_latency(rounds_ms, 0.05)[0] if rounds_ms else None


def _shared_session(record: CostRecord, base: CostRecord) -> str | None:
    """The latest that timed both."""
    alike = [
        session
        for session, rounds_ms in record.sessions.items()
        if len(base.sessions.get(session, ())) == len(rounds_ms)
    ]
    return max(alike, default=None)


def _as_measured(name: str, record: CostRecord, base: CostRecord | None) -> MeasuredRow:
    percent = against = None
    if base is not None and base is not record and base.train_batch == record.train_batch:
        against = base.peak_memory_bytes
        if against and record.peak_memory_bytes is not None:
            percent = 100 * (record.peak_memory_bytes - against) / against
    return MeasuredRow(
        variant=name,
        machine=record.machine,
        latency_ms=record.latency_ms,
        latency_p95_ms=record.latency_p95_ms,
        latency_graph_ms=record.latency_graph_ms,
        images_per_s=record.images_per_s,
        throughput_batch=record.throughput_batch,
        dtype=record.dtype,
        peak_memory_bytes=record.peak_memory_bytes,
        train_batch=record.train_batch,
        inference_memory_bytes=record.inference_memory_bytes,
        reserved_memory_bytes=record.reserved_memory_bytes,
        memory_means=record.memory_means,
        image_energy_mj=record.image_energy_mj,
        energy_means=record.energy_means,
        session=record.latency_session,
        notes=record.notes,
        rounds_mean_ms=_rounds_mean(record, record.latency_session),
        memory_percent=percent,
        memory_against=None if percent is None else against,
    )


def _fronts(
    rows: Sequence[VariantRow],
    baseline: str,
    machines: Mapping[str, Mapping[str, CostRecord]],
    level: float,
) -> list[Front]:
    fronts = [counted_front(cost, rows) for cost in ("param_count", "macs")]
    for machine, found in machines.items():
        several = f"-{machine}" if len(machines) > 1 else ""
        session = widest_session(found)
        if session is not None:
            rounds = {name: r.sessions[session] for name, r in found.items() if session in r.sessions}
            others = [name for name, record in found.items() if record.sessions and name not in rounds]
            fronts.append(latency_front(machine, rows, rounds, others, level, f"accuracy-latency{several}"))
        batches = [record.train_batch for record in found.values()]
        batch = found[baseline].train_batch if baseline in found else batches[0]
        fronts.append(memory_front(machine, rows, found, batch, f"accuracy-memory{several}"))
    return fronts
