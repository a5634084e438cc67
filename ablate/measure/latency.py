"""Latency that can be believed: networks timed in turns, and compared round by round.

Timing one network and then the other measures the machine's drift with it. Here every round runs all networks
forwards and then backwards (A B B A), so that a drift falls on each alike, and the replicate of every
statistic is the round: calls that follow one another are correlated and are no replicates. Two networks are
compared by a paired t test on the logarithms of their round medians.

On CUDA a call is timed by events, after its level-2 cache was flushed, as Triton's ``do_bench`` does
(triton/testing.py); the replay of a CUDA graph of the same call, free of launch costs, stands beside it.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import psutil
import torch
from scipy import stats

from ablate.measure.errors import MeasureError

ROUNDS = 10
BLOCK_S = 0.02  # what a block of calls should take, long against the clock and short against drifts
MIN_CALLS, MAX_CALLS = 3, 1000
MIN_ROUNDS = 5  # that a limit of time leaves; a comparison of fewer decides nothing
WARM_UP_S = 0.1
FLUSH_BYTES = 256 * 2**20  # more than any level-2 cache; the size that do_bench takes
CONFIDENCE = 0.95
MAX_SPREAD = 0.1  # standard deviation of the log round medians beyond which a machine is not at rest
MIN_CPU_SHARE = 0.95

Call = Callable[[], Any]


class Clock(Protocol):
    """Times calls on one device."""

    def time_ms(self, call: Call) -> float:
        """Milliseconds of one call, until its work is done."""
        ...


class CpuClock:
    def time_ms(self, call: Call) -> float:
        began = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - began) / 1e6


class CudaClock:
    """Events round the call. The buffer is overwritten first, so that no call finds weights in the cache."""

    def __init__(self, device: torch.device | str, flush_bytes: int = FLUSH_BYTES) -> None:
        self.device = torch.device(device)
        self.buffer = torch.empty(flush_bytes // 4, dtype=torch.int32, device=self.device)

    def time_ms(self, call: Call) -> float:
        with torch.cuda.device(self.device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.buffer.zero_()
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize(self.device)
            return float(begin.elapsed_time(end))


class SynchronisedClock:
    """The wall clock, for a device whose events are not to be had: the launch is part of the time."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self.synchronise = synchronise

    def time_ms(self, call: Call) -> float:
        self.synchronise()
        began = time.perf_counter_ns()
        call()
        self.synchronise()
        return (time.perf_counter_ns() - began) / 1e6


def clock_for(device: torch.device | str) -> Clock:
    kind = torch.device(device).type
    if kind == "cuda":
        return CudaClock(device)
    return SynchronisedClock(torch.mps.synchronize) if kind == "mps" else CpuClock()


@dataclass(frozen=True)
class Timing:
    """One network, in milliseconds a call.

    calls_ms: of all rounds, warm-up left out. rounds_ms: the replicates; a round's is the geometric mean of
    the medians of its two blocks, so that a drift within the round cancels.
    """

    calls_ms: tuple[float, ...]
    rounds_ms: tuple[float, ...]

    @property
    def p50_ms(self) -> float:
        return float(np.percentile(self.calls_ms, 50))

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.calls_ms, 95))


@dataclass(frozen=True)
class Session:
    """What was timed together, and how quiet the machine was. Only timings of one session are compared.

    cpu_share: processor time over wall time of the timed calls, of one thread; None where it tells nothing
    (CUDA). preemptions: how often the system took the processor away. load: of the last minute, before.
    """

    timings: Mapping[str, Timing]
    cpu_share: float | None = None
    preemptions: int | None = None
    load: float | None = None
    contention: tuple[str, ...] = ()


def time_interleaved(
    calls: Mapping[str, Call],
    *,
    rounds: int = ROUNDS,
    clock: Clock | None = None,
    block_s: float = BLOCK_S,
    warm_up_s: float = WARM_UP_S,
    min_calls: int = MIN_CALLS,
    threads: int = 1,
    limit_s: float | None = None,
) -> Session:
    """Time `calls` in rounds, each a palindrome of blocks; a block is several calls, the first not counted.

    block_s: what a block should take; a network has as many calls in every block, `min_calls` at least.
    threads: that the calls use, to judge the share of the processor by. limit_s: seconds a network may take
    on the average, warm-up left out: where that is too little, blocks get fewer calls, and then there are
    fewer rounds, though never less than one call and `MIN_ROUNDS`. Raises MeasureError for no calls or no
    rounds.
    """
    if not calls or rounds < 1:
        raise MeasureError(f"{len(calls)} networks in {rounds} rounds: one of each at least is needed")
    clock = clock or CpuClock()
    typical_ms = {name: _warm_up(call, clock, warm_up_s) for name, call in calls.items()}
    counts = {name: _calls_of_a_block(ms, block_s, min_calls) for name, ms in typical_ms.items()}
    if limit_s is not None and rounds * _round_s(typical_ms, counts) > limit_s * len(calls):
        counts = {name: _calls_of_a_block(ms, block_s, 1) for name, ms in typical_ms.items()}
        fitting = int(limit_s * len(calls) / _round_s(typical_ms, counts))
        rounds = min(rounds, max(MIN_ROUNDS, fitting))
    blocks: dict[str, list[list[float]]] = {name: [] for name in calls}
    on_cpu = isinstance(clock, CpuClock) and threads == 1
    watch = _Watch(cores=_cores(), threads=threads)
    for order in abba(tuple(calls), rounds):
        for name in order:
            call, count = calls[name], counts[name]
            clock.time_ms(call)  # the block before was another network's: its data fill the caches
            with watch.watching():
                blocks[name].append([clock.time_ms(call) for _ in range(count)])
    timings = {name: _timing(found) for name, found in blocks.items()}
    return watch.session(timings, on_cpu=on_cpu)


def abba(names: Sequence[str], rounds: int) -> Iterator[tuple[str, ...]]:
    """Each round forwards and backwards; the next begins with another, so that none is always outside."""
    for number in range(rounds):
        start = number % len(names)
        order = (*names[start:], *names[:start])
        yield (*order, *reversed(order))


def _warm_up(call: Call, clock: Clock, warm_up_s: float) -> float:
    """Call until the first, slow calls are over; milliseconds of a typical call."""
    times = [clock.time_ms(call)]
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < warm_up_s and len(times) < MAX_CALLS):
        times.append(clock.time_ms(call))
    return statistics.median(times[len(times) // 2 :])


def _calls_of_a_block(typical_ms: float, block_s: float, at_least: int) -> int:
    return min(MAX_CALLS, max(at_least, math.ceil(block_s * 1e3 / max(typical_ms, 1e-6))))


def _round_s(typical_ms: Mapping[str, float], counts: Mapping[str, int]) -> float:
    """What one round takes: two blocks a network, each with a call that is not counted."""
    return sum(2 * (counts[name] + 1) * ms for name, ms in typical_ms.items()) / 1e3


def _timing(blocks: Sequence[Sequence[float]]) -> Timing:
    medians = [statistics.median(block) for block in blocks]
    if min(medians) <= 0:
        raise MeasureError("a call took no time that the clock can tell: time a larger network or batch")
    rounds = [math.sqrt(one * two) for one, two in zip(medians[::2], medians[1::2], strict=True)]
    return Timing(tuple(value for block in blocks for value in block), tuple(rounds))


# Contention


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Watch:
    """What the timed blocks got of the processor."""

    cores: int
    threads: int
    load: float | None = field(init=False)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    preemptions: int = 0
    process: psutil.Process = field(default_factory=psutil.Process)

    def __post_init__(self) -> None:
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None

    @contextmanager
    def watching(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        switches = self.process.num_ctx_switches().involuntary
        yield
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.perf_counter() - wall
        self.preemptions += self.process.num_ctx_switches().involuntary - switches

    def session(self, timings: Mapping[str, Timing], *, on_cpu: bool) -> Session:
        share = self.cpu_s / self.wall_s if on_cpu and self.wall_s > 0 else None
        signs = contention(timings, cpu_share=share, load=self.load, cores=self.cores, threads=self.threads)
        return Session(timings, share, self.preemptions, self.load, signs)


def contention(
    timings: Mapping[str, Timing], *, cpu_share: float | None, load: float | None, cores: int, threads: int
) -> tuple[str, ...]:
    """Sentences for whatever shows that the machine was not the measurement's own; none when it was."""
    signs = []
    if cpu_share is not None and cpu_share < MIN_CPU_SHARE:
        signs.append(
            f"the timed calls had the processor {100 * cpu_share:.0f} % of the time: something else "
            "runs here, or the network waits"
        )
    if load is not None and load > max(0, cores - threads) + 0.5:
        signs.append(f"the load was {load:.1f} on {cores} core{'s' * (cores != 1)} before it began")
    for name, timing in timings.items():
        if len(timing.rounds_ms) > 1 and (spread := spread_of(timing)) > MAX_SPREAD:
            signs.append(f"{name}: its rounds scatter by {100 * spread:.0f} %")
    return tuple(signs)


def spread_of(timing: Timing) -> float:
    """Standard deviation of the log round medians: .1 is about 10 %."""
    return statistics.stdev(map(math.log, timing.rounds_ms))


# Comparison

Verdict = Literal["slower", "faster", "no difference found", "one round tells nothing"]


@dataclass(frozen=True)
class LatencyRatio:
    """How long `a` takes, as a multiple of `b`, with the 95 % interval; `p` of the paired t test."""

    a: str
    b: str
    ratio: float
    low: float
    high: float
    p: float
    rounds: int
    verdict: Verdict

    def __str__(self) -> str:
        if self.rounds < 2:
            return f"{self.a} takes {self.ratio:.3f} × {self.b}: {self.verdict}"
        return (
            f"{self.a} takes {self.ratio:.3f} × [{self.low:.3f}, {self.high:.3f}] of {self.b}"
            f" (p = {self.p:.2g}, {self.rounds} rounds): {self.verdict}"
        )


def compare(session: Session, a: str, b: str) -> LatencyRatio:
    """`a` against `b`, timed in one session. Raises MeasureError for a name that was not timed."""
    for name in (a, b):
        if name not in session.timings:
            raise MeasureError(f"{name!r} was not timed; there is: {', '.join(session.timings)}")
    first, second = (np.log(session.timings[name].rounds_ms) for name in (a, b))
    differences = first - second
    rounds, mean = len(differences), float(np.mean(differences))
    if rounds < 2:
        return LatencyRatio(a, b, math.exp(mean), 0.0, math.inf, 1.0, rounds, "one round tells nothing")
    error = float(np.std(differences, ddof=1)) / math.sqrt(rounds)
    if error > 0:
        p = float(2 * stats.t.sf(abs(mean) / error, rounds - 1))
    else:
        p = 1.0 if mean == 0 else 0.0
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, rounds - 1)) * error
    verdict: Verdict = "no difference found"
    if p < 1 - CONFIDENCE:
        verdict = "slower" if mean > 0 else "faster"
    return LatencyRatio(a, b, *map(math.exp, (mean, mean - half, mean + half)), p, rounds, verdict)
