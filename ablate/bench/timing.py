"""Latency, throughput and energy of networks that are timed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import psutil

from ablate.bench.subjects import Conditions, Subject

if TYPE_CHECKING:
    from torch import nn

    from ablate.measure import Energy, Session, Timing
    from ablate.measure.latency import Call, Clock

THROUGHPUT_ROUNDS = 3
# Of a limit: a third for the latency; the throughput takes 2 blocks a round of 2 calls each, and the search
# for its batch as long as 4 calls.
LATENCY_SHARE = 1 / 3
CALLS_OF_THROUGHPUT = 2 * 2 * THROUGHPUT_ROUNDS + 4


@dataclass(frozen=True)
class Timed:
    """eager: at batch 1; graph: the replayed CUDA graphs of it; large: at `batch`. energy: of one image."""

    eager: Session
    graph: Mapping[str, Timing]
    large: Session
    batch: int
    energy: Mapping[str, Energy]
    notes: Mapping[str, tuple[str, ...]]

    def images_per_s(self, name: str) -> float:
        return self.batch * 1e3 / self.large.timings[name].p50_ms


def time_together(
    networks: Mapping[str, nn.Module],
    subjects: Sequence[Subject],
    conditions: Conditions,
    saved_bytes: Mapping[str, int],
) -> Timed:
    """Time `networks` in turns. saved_bytes: of one image of each, so that the large batch fits in memory."""
    import torch

    from ablate.measure import time_interleaved
    from ablate.measure.calls import DTYPES, forward
    from ablate.measure.latency import clock_for

    clock, dtype, limit_s = clock_for(conditions.device), DTYPES[conditions.dtype], conditions.limit_s
    for network in networks.values():
        network.to(conditions.device, dtype).eval()

    def call_of(subject: Subject, batch: int) -> Call:
        images = torch.rand((batch, *subject.image_shape), device=conditions.device).to(dtype)
        return forward(networks[subject.name], images)

    single = {subject.name: call_of(subject, 1) for subject in subjects}
    eager = time_interleaved(
        single,
        rounds=conditions.rounds,
        clock=clock,
        threads=conditions.threads,
        limit_s=None if limit_s is None else LATENCY_SHARE * limit_s,
    )
    graph, notes = _graphs(single, conditions, clock)
    batch = conditions.batch or _large_batch(subjects, call_of, conditions, clock, saved_bytes, eager)
    large_calls = {subject.name: call_of(subject, batch) for subject in subjects}
    large = eager
    if batch > 1:
        large = time_interleaved(
            large_calls,
            rounds=min(conditions.rounds, THROUGHPUT_ROUNDS),
            clock=clock,
            min_calls=1,
            warm_up_s=0.0,
            threads=conditions.threads,
        )
    energy = _energy(large_calls, batch, conditions) if limit_s is None else {}
    return Timed(eager, graph, large, batch, energy, notes)


def _graphs(
    single: Mapping[str, Call], conditions: Conditions, clock: Clock
) -> tuple[Mapping[str, Timing], dict[str, tuple[str, ...]]]:
    """Timings of what could be captured, and a note for what could not; neither but on CUDA."""
    from ablate.measure import MeasureError, time_interleaved
    from ablate.measure.calls import graph_replay

    graphs: dict[str, Call] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for name in single if conditions.device.startswith("cuda") else ():
        try:
            graphs[name] = graph_replay(single[name], conditions.device)
        except MeasureError as error:
            notes[name] = (str(error),)
    replayed = time_interleaved(graphs, rounds=conditions.rounds, clock=clock).timings if graphs else {}
    return replayed, notes


def _large_batch(
    subjects: Sequence[Subject],
    call_of: Callable[[Subject, int], Call],
    conditions: Conditions,
    clock: Clock,
    saved_bytes: Mapping[str, int],
    eager: Session,
) -> int:
    """The largest batch that every network takes within the time and the memory that there is."""
    from ablate.measure.calls import BATCH_S, MAX_BATCH, find_batch

    limit_s = BATCH_S
    if conditions.limit_s is not None:
        limit_s = min(BATCH_S, LATENCY_SHARE * conditions.limit_s / CALLS_OF_THROUGHPUT)
    if any(2 * timing.p50_ms > 1e3 * limit_s for timing in eager.timings.values()):
        return 1
    # What is written in the forward pass is less than what the backward pass would keep of it.
    limit = int(psutil.virtual_memory().available / 2) if conditions.device == "cpu" else None
    batch = MAX_BATCH
    for subject in subjects:
        batch = find_batch(
            partial(call_of, subject),
            clock=clock,
            limit_s=limit_s,
            bytes_per_image=saved_bytes[subject.name],
            limit_bytes=limit,
            largest=batch,
        )
    return batch


def _energy(calls: Mapping[str, Call], batch: int, conditions: Conditions) -> Mapping[str, Energy]:
    """Of one image at the large batch, which keeps the GPU at work all the time."""
    import torch

    from ablate.measure.energy import Energy, count_energy, counter_for

    counter = counter_for(conditions.device)
    if isinstance(counter, str):
        return {name: Energy(None, counter) for name in calls}
    found = count_energy(calls, counter, synchronise=lambda: torch.cuda.synchronize(conditions.device))
    return {
        name: replace(
            energy,
            call_mj=None if energy.call_mj is None else energy.call_mj / batch,
            windows_mj=tuple(mj / batch for mj in energy.windows_mj),
        )
        for name, energy in found.items()
    }
