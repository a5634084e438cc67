"""One session: every network counted and weighed on its own, then all of them timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil

from ablate.bench.footprints import Footprint, footprint
from ablate.bench.subjects import Conditions, Subject, check
from ablate.bench.timing import Timed, time_together
from ablate.environment import describe, require_torch, require_torchvision, resolve_device
from ablate.record import Environment

if TYPE_CHECKING:
    from ablate.measure import Energy, LatencyRatio, MemoryPeak, Timing


@dataclass(frozen=True)
class Costs:
    """Of one network; units and conventions as in `CostRecord`. graph: None where there is no CUDA graph.

    energy: of one image at the large batch; None where nobody asked.
    """

    name: str
    param_count: int
    attention_param_count: int
    macs: int
    attention_macs: int
    activations: int
    saved_bytes: int
    training: MemoryPeak
    train_batch: int
    inference: MemoryPeak
    timing: Timing
    images_per_s: float
    graph: Timing | None = None
    energy: Energy | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bench:
    """Everything that was measured together. clock_mhz: of the processor or GPU, where the system tells."""

    conditions: Conditions
    environment: Environment
    measured: str
    batch: int
    clock_mhz: float | None
    costs: tuple[Costs, ...]
    ratios: tuple[LatencyRatio, ...]
    contention: tuple[str, ...]


def measure(
    subjects: Sequence[Subject],
    conditions: Conditions,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    known: Mapping[str, Footprint] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Measure all `subjects` together, and compare the latencies of `pairs` of their names.

    known: what has been counted and weighed before, by name, and is taken as it is. say: told what is done
    next. Raises AblateError for a network that cannot be built or counted, for a pair that names another, and
    for conditions that this machine cannot meet.
    """
    check(subjects, conditions, pairs)
    require_torch()
    require_torchvision()
    conditions = replace(conditions, device=resolve_device(conditions.device))
    from ablate.measure import compare
    from ablate.measure.calls import with_threads

    environment = describe(conditions.device, threads=conditions.threads)
    measured = datetime.now(UTC).isoformat(timespec="seconds")
    with with_threads(conditions.threads):
        found = dict(known or {})
        for subject in subjects:
            if subject.name not in found:
                say(f"{subject.name}: counting, and memory")
                found[subject.name] = footprint(subject, conditions)
        networks = {subject.name: subject.build() for subject in subjects}
        say(f"timing {len(subjects)} in turns, {conditions.rounds} rounds")
        saved = {name: one.saved_bytes for name, one in found.items()}
        timed = time_together(networks, subjects, conditions, saved)
    return Bench(
        conditions,
        environment,
        measured,
        timed.batch,
        _clock_mhz(conditions.device),
        tuple(_costs(subject.name, found[subject.name], timed) for subject in subjects),
        tuple(compare(timed.eager, a, b) for a, b in pairs),
        timed.eager.contention,
    )


def _costs(name: str, found: Footprint, timed: Timed) -> Costs:
    return Costs(
        name,
        **vars(found),
        timing=timed.eager.timings[name],
        images_per_s=timed.images_per_s(name),
        graph=timed.graph.get(name),
        energy=timed.energy.get(name),
        notes=timed.notes.get(name, ()),
    )


def _clock_mhz(device: str) -> float | None:
    if not device.startswith("cuda"):
        try:
            frequency = psutil.cpu_freq()
        except (AttributeError, NotImplementedError, OSError):  # not every system tells
            return None
        return None if frequency is None else float(frequency.current)
    import torch

    try:
        return float(torch.cuda.clock_rate(device))
    except (ImportError, RuntimeError):  # it needs NVML's Python package
        return None
