"""A cluster that trains a study, simulated: GPUs in nodes that fail, and one run that hands out trials.

What is simulated is what `ablate run` does: trials are handed out in order by one process, which spends
`driver_s` on each; one that is lost with its node is begun again, before those that wait, from its last
checkpoint.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cluster:
    """gpus_per_node: they fail together. mtbf_h: of one GPU, in hours of the clock; inf: nothing ever fails.
    repair_s: until a node that failed takes trials again."""

    gpus: int
    gpus_per_node: int = 8
    mtbf_h: float = 50_000.0
    repair_s: float = 1800.0


@dataclass(frozen=True)
class Load:
    """spread: the standard deviation of the logarithm of a trial's length. checkpoint_s: training between two
    checkpoints. restart_s: until a trial that was lost trains again (imports, data, checkpoint). driver_s:
    what the run itself spends on each trial that it hands out."""

    trials: int
    trial_s: float
    spread: float = 0.1
    checkpoint_s: float = 300.0
    restart_s: float = 30.0
    driver_s: float = 0.005


@dataclass(frozen=True)
class Course:
    """How it went.

    busy_s: GPU seconds in trials, what was lost and trained again included. lost_s: of these, training that
    no checkpoint held, and restarts. trials_lost: with their node, and begun again. driver_s: the run's own
    time, one trial after the other.
    """

    wall_s: float
    busy_s: float
    lost_s: float
    trials_lost: int
    driver_s: float
    gpus: int

    @property
    def in_use(self) -> float:
        """Share of the GPUs' time spent in trials."""
        return self.busy_s / (self.wall_s * self.gpus)


def simulate(load: Load, cluster: Cluster, seed: int = 0) -> Course:
    """One course of events; another seed, other failures. A GPU that is idle when its node fails stays up."""
    rng = np.random.default_rng(seed)
    failures = _Failures(cluster, rng)
    # Of mean trial_s: a lognormal's mean is exp(mu + sigma²/2).
    lengths = load.trial_s * np.exp(load.spread * rng.standard_normal(load.trials) - load.spread**2 / 2)
    waiting = deque(lengths.tolist())
    lost: list[tuple[float, float]] = []  # (when, what is left to train)
    free = [(0.0, gpu) for gpu in range(cluster.gpus)]  # (from when, which)
    driver_free = busy = wasted = end = 0.0
    trials_lost = 0
    while waiting or lost:
        clock, gpu = heapq.heappop(free)
        if lost and (lost[0][0] <= clock or not waiting):
            when, left = heapq.heappop(lost)
            clock = max(clock, when)
        else:
            left = waiting.popleft()
        begun = driver_free = max(clock, driver_free) + load.driver_s
        failed = failures.after(gpu // cluster.gpus_per_node, begun)
        if begun + left <= failed:
            busy += left
            end = max(end, begun + left)
            heapq.heappush(free, (begun + left, gpu))
            continue
        trained = failed - begun
        kept = trained - trained % load.checkpoint_s
        busy += trained
        wasted += trained - kept + load.restart_s
        trials_lost += 1
        heapq.heappush(lost, (failed, left - kept + load.restart_s))
        heapq.heappush(free, (failed + cluster.repair_s, gpu))
    return Course(end, busy, wasted, trials_lost, (load.trials + trials_lost) * load.driver_s, cluster.gpus)


class _Failures:
    """When each node fails: a Poisson process of its own, drawn as far as it is asked for."""

    def __init__(self, cluster: Cluster, rng: np.random.Generator) -> None:
        self.mean_s = 3600 * cluster.mtbf_h / cluster.gpus_per_node
        self.rng = rng
        self.of: dict[int, list[float]] = {}

    def after(self, node: int, moment: float) -> float:
        if math.isinf(self.mean_s):
            return math.inf
        times = self.of.setdefault(node, [self.rng.exponential(self.mean_s)])
        while times[-1] <= moment:
            times.append(times[-1] + self.rng.exponential(self.mean_s))
        return times[bisect.bisect_right(times, moment)]
