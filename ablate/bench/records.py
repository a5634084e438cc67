"""Costs of variants as records, one a variant and machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ablate.bench.footprints import Footprint
from ablate.bench.session import Bench, Costs
from ablate.bench.subjects import Subject
from ablate.errors import AblateError
from ablate.record import CostRecord, TimedRounds
from ablate.store import Store

KEPT_SESSIONS = 20  # of a record: variants that studies share are timed with each of them


def write_costs(store: Store, bench: Bench, subjects: Sequence[Subject]) -> tuple[CostRecord, ...]:
    """One record a variant for this machine. What an earlier record holds beyond these figures stays.

    The rounds of earlier sessions stay, too: what was timed beside this variant then is comparable only by
    them.
    """
    written = []
    for subject, costs in zip(subjects, bench.costs, strict=True):
        record = _record(store, bench, subject, costs)
        store.write_cost(record)
        written.append(record)
    return tuple(written)


def known_footprint(record: CostRecord) -> Footprint | None:
    """What a record tells of counts and memory; None where it was not all measured."""
    from ablate.measure import MemoryPeak

    counted = (record.activations, record.saved_bytes, record.train_batch, record.memory_means)
    if None in counted:
        return None
    means = str(record.memory_means)
    return Footprint(
        param_count=record.param_count,
        attention_param_count=record.attention_param_count,
        macs=record.macs,
        attention_macs=record.attention_macs,
        activations=record.activations,
        saved_bytes=record.saved_bytes,
        training=MemoryPeak(record.peak_memory_bytes, means, record.reserved_memory_bytes),
        train_batch=record.train_batch,
        inference=MemoryPeak(record.inference_memory_bytes, means),
    )


def _record(store: Store, bench: Bench, subject: Subject, costs: Costs) -> CostRecord:
    from ablate.trial import measure_cost

    if subject.settings is None or subject.cost_id is None:
        raise AblateError(f"{subject.name!r} is no variant of a study: it has no cost record")
    machine = bench.environment.machine
    known = next((cost for cost in store.read_costs(subject.cost_id) if cost.machine == machine), None)
    record = known or measure_cost(
        subject.settings,
        image_shape=subject.image_shape,
        classes=subject.classes,
        environment=bench.environment,
    )
    update = {
        "id": subject.cost_id,
        "environment": bench.environment,
        "measured": bench.measured,
        "notes": (*bench.contention, *costs.notes),
    }
    return record.model_copy(update=update | _of_footprint(costs) | _of_timing(bench, costs, record))


def _of_footprint(costs: Costs) -> dict[str, Any]:
    return {
        "activations": costs.activations,
        "saved_bytes": costs.saved_bytes,
        "peak_memory_bytes": costs.training.peak_bytes,
        "train_batch": costs.train_batch,
        "inference_memory_bytes": costs.inference.peak_bytes,
        "reserved_memory_bytes": costs.training.reserved_bytes,
        "memory_means": costs.training.means,
    }


def _of_timing(bench: Bench, costs: Costs, before: CostRecord) -> dict[str, Any]:
    earlier = tuple(
        TimedRounds(session=session, rounds_ms=rounds_ms)
        for session, rounds_ms in before.sessions.items()
        if session != bench.measured
    )
    counted = {}
    if costs.energy is not None and costs.energy.call_mj is not None:
        counted = {"image_energy_mj": costs.energy.call_mj, "energy_means": costs.energy.means}
    return {
        "latency_ms": costs.timing.p50_ms,
        "latency_p95_ms": costs.timing.p95_ms,
        "latency_rounds_ms": costs.timing.rounds_ms,
        "latency_graph_ms": None if costs.graph is None else costs.graph.p50_ms,
        "latency_session": bench.measured,
        "earlier_rounds": earlier[-KEPT_SESSIONS:],
        "images_per_s": costs.images_per_s,
        "throughput_batch": bench.batch,
        "dtype": bench.conditions.dtype,
        "clock_mhz": bench.clock_mhz,
        **counted,
    }
