"""What networks cost, measured apart from training: counts, then memory, then latency, never two at a time.

Variants of a study leave a cost record each; networks named on the command line leave a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

import psutil

from ablate.environment import describe, require_torch, require_torchvision, resolve_device
from ablate.errors import AblateError
from ablate.record import CostRecord, Environment
from ablate.spec.settings import Settings
from ablate.store import Store
from ablate.variants import Variant

if TYPE_CHECKING:
    from torch import nn

    from ablate.data import Images
    from ablate.measure import LatencyRatio, MemoryPeak, Session, Timing

THROUGHPUT_ROUNDS = 3
SAVED_BATCH = 2  # batch norm trains on no lone value
DTYPES = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Conditions:
    """device: as `resolve_device` gives it. batch: of the throughput; None to find one that all can take.

    train_batch: images of a training step, where no recipe says how many.
    """

    device: str = "cpu"
    dtype: str = "fp32"
    threads: int = 1
    rounds: int = 10
    batch: int | None = None
    train_batch: int = 8


@dataclass(frozen=True)
class Subject:
    """A network to be measured. image_shape: (C, H, W). settings, cost_id: of a variant, None of another."""

    name: str
    build: Callable[[], nn.Module]
    image_shape: tuple[int, int, int]
    classes: int
    settings: Settings | None = None
    cost_id: str | None = None


@dataclass(frozen=True)
class Costs:
    """Of one network; units and conventions as in `CostRecord`. graph: None where there is no CUDA graph."""

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


# What is measured


def network_subjects(
    names: Sequence[str], image_shape: tuple[int, int, int], classes: int
) -> tuple[Subject, ...]:
    """Backbones as studies name them, with their default arguments and fresh weights.

    A name given again gets a number, so that a network can be timed against itself.
    """
    from ablate.models import build_network

    def builder(name: str) -> Callable[[], nn.Module]:
        return lambda: build_network(
            backbone=name,
            args={},
            attention=None,
            classes=classes,
            image_shape=image_shape,
            backbone_seed=0,
            attention_seed=0,
        )

    subjects = []
    for index, name in enumerate(names):
        again = names[: index + 1].count(name)
        shown = name if again == 1 else f"{name} ({again})"
        subjects.append(Subject(shown, builder(name), image_shape, classes))
    return tuple(subjects)


def variant_subject(
    name: str, settings: Settings, *, image_shape: tuple[int, int, int], classes: int, cost_id: str
) -> Subject:
    """A variant with fresh weights: what it costs does not hang on them."""
    from ablate.trial import build_for

    def build() -> nn.Module:
        return build_for(settings, image_shape, classes, seed=0)

    return Subject(name, build, image_shape, classes, settings, cost_id)


def study_subjects(
    variants: Iterable[Variant], images: Mapping[str, Images], cost_ids: Mapping[str, str]
) -> tuple[Subject, ...]:
    """Variants of a study, each cost record once: those that differ in training alone cost the same.

    images, cost_ids: by the variant's name.
    """
    found: dict[str, Subject] = {}
    for variant in variants:
        shown, cost_id = images[variant.name], cost_ids[variant.name]
        how = {"image_shape": shown.shape, "classes": len(shown.classes), "cost_id": cost_id}
        found.setdefault(cost_id, variant_subject(variant.name, variant.settings, **how))
    return tuple(found.values())


def with_baseline(
    subjects: Sequence[Subject], baseline: str, pairs: Sequence[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """`pairs`, and everyone against the baseline, where that is among them."""
    names = [subject.name for subject in subjects]
    against = [(name, baseline) for name in names if name != baseline and baseline in names]
    return tuple(dict.fromkeys((*pairs, *against)))


def measure(
    subjects: Sequence[Subject],
    conditions: Conditions,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Measure all `subjects` together, and compare the latencies of `pairs` of their names.

    say: told what is done next. Raises AblateError for a network that cannot be built or counted, for a pair
    that names another, and for conditions that this machine cannot meet.
    """
    _check(subjects, conditions, pairs)
    require_torch()
    require_torchvision()
    conditions = replace(conditions, device=resolve_device(conditions.device))
    from ablate.measure import compare
    from ablate.measure.latency import with_threads

    environment = describe(conditions.device, threads=conditions.threads)
    measured = datetime.now(UTC).isoformat(timespec="seconds")
    with with_threads(conditions.threads):
        networks: dict[str, nn.Module] = {}
        found: dict[str, dict[str, Any]] = {}
        for subject in subjects:
            say(f"{subject.name}: counting, and memory")
            networks[subject.name] = subject.build()
            found[subject.name] = _counts(networks[subject.name], subject, conditions)
            found[subject.name] |= _memory(subject, conditions, found[subject.name]["saved_bytes"])
        say(f"timing {len(subjects)} in turns, {conditions.rounds} rounds")
        timed = _latency(networks, subjects, conditions, found)
    costs = tuple(
        Costs(
            subject.name,
            **found[subject.name],
            timing=timed.eager.timings[subject.name],
            graph=timed.graph.get(subject.name),
            images_per_s=timed.batch * 1e3 / timed.large.timings[subject.name].p50_ms,
            notes=timed.notes.get(subject.name, ()),
        )
        for subject in subjects
    )
    return Bench(
        conditions,
        environment,
        measured,
        timed.batch,
        _clock_mhz(conditions.device),
        costs,
        tuple(compare(timed.eager, a, b) for a, b in pairs),
        timed.eager.contention,
    )


def _check(subjects: Sequence[Subject], conditions: Conditions, pairs: Sequence[tuple[str, str]]) -> None:
    names = [subject.name for subject in subjects]
    if conditions.dtype not in DTYPES:
        raise AblateError(f"unknown dtype {conditions.dtype!r}; allowed: {', '.join(DTYPES)}")
    for name in (name for pair in pairs for name in pair):
        if name not in names:
            raise AblateError(f"--compare: nothing here is called {name!r}; there is: {', '.join(names)}")


# Counts and memory


def _counts(network: nn.Module, subject: Subject, conditions: Conditions) -> dict[str, Any]:
    import torch

    from ablate.measure import count_activations, count_macs, count_parameters, saved_bytes

    macs = count_macs(network, subject.image_shape)
    pair = torch.rand((SAVED_BATCH, *subject.image_shape), device=conditions.device)
    saved = saved_bytes(network.to(conditions.device).train(), pair) // SAVED_BATCH
    network.to("cpu")  # or CUDA's allocator would count it with the peaks of the others
    return {
        "param_count": count_parameters(network),
        "attention_param_count": count_parameters(network, within="attention"),
        "macs": macs.total,
        "attention_macs": macs.attention,
        "activations": count_activations(network, subject.image_shape),
        "saved_bytes": saved,
    }


def _memory(subject: Subject, conditions: Conditions, saved: int) -> dict[str, Any]:
    """Each of a network of its own, so that nothing of another measurement is held."""
    import torch

    from ablate.measure import inference_peak
    from ablate.measure.latency import DTYPES as torch_dtypes

    dtype = torch_dtypes[conditions.dtype]
    image = torch.rand((1, *subject.image_shape), device=conditions.device, dtype=dtype)
    network = subject.build().to(conditions.device, dtype).eval()
    inference = inference_peak(network, image)
    del network, image
    training, train_batch = _training(subject, conditions, saved)
    return {"inference": inference, "training": training, "train_batch": train_batch}


def _training(subject: Subject, conditions: Conditions, saved: int) -> tuple[MemoryPeak, int]:
    """Of the recipe's own step, or of plain SGD with momentum where there is no recipe; the worst stage."""
    import torch

    from ablate.measure import MemoryPeak, training_peak
    from ablate.measure.memory import NOT_MEASURED
    from ablate.train import Recipe, numerics
    from ablate.train.fit import in_training_mode, train_step
    from ablate.train.recompute import recomputed
    from ablate.train.state import prepare
    from ablate.trial import make_recipe

    device = conditions.device
    if subject.settings is None:
        recipe = Recipe(
            epochs=1,
            batch_size=conditions.train_batch,
            optimizer="sgd",
            lr=1e-3,
            optimizer_args={"momentum": 0.9},
        )
    else:
        recipe = make_recipe(subject.settings, device)
    batch = recipe.batch_size
    if device == "cpu" and batch * saved > psutil.virtual_memory().available / 2:
        why = f"{NOT_MEASURED}: {batch} images keep {batch * saved / 2**30:.1f} GiB for the backward pass"
        return MemoryPeak(None, f"{why}, more than half of the free memory"), batch
    network = subject.build()
    state = prepare(network, recipe, 100, torch.device(device))
    x = torch.rand((batch, *subject.image_shape), device=device)
    y = torch.arange(batch, device=device) % subject.classes
    peaks = []
    around = recomputed(network) if recipe.gradient_checkpointing else nullcontext()
    with numerics(deterministic=recipe.deterministic), around:
        for stage in range(len(state.spans)):
            state.enter(stage)
            in_training_mode(network, state)
            peaks.append(
                training_peak(
                    network,
                    lambda: train_step(network, state, x, y, recipe),
                    state.optimizer,
                    x,
                    y,
                    device=device,
                )
            )
    return max(peaks, key=lambda peak: peak.peak_bytes or 0), batch


# Latency


@dataclass(frozen=True)
class _Timed:
    eager: Session
    graph: Mapping[str, Timing]
    large: Session
    batch: int
    notes: Mapping[str, tuple[str, ...]]


def _latency(
    networks: Mapping[str, nn.Module],
    subjects: Sequence[Subject],
    conditions: Conditions,
    found: Mapping[str, Mapping[str, Any]],
) -> _Timed:
    import torch

    from ablate.measure import MeasureError, time_interleaved
    from ablate.measure.latency import DTYPES as torch_dtypes
    from ablate.measure.latency import Call, clock_for, find_batch, forward, graph_replay

    clock, dtype = clock_for(conditions.device), torch_dtypes[conditions.dtype]
    for network in networks.values():
        network.to(conditions.device, dtype).eval()

    def call_of(subject: Subject, batch: int) -> Call:
        images = torch.rand((batch, *subject.image_shape), device=conditions.device).to(dtype)
        return forward(networks[subject.name], images)

    single = {subject.name: call_of(subject, 1) for subject in subjects}
    eager = time_interleaved(single, rounds=conditions.rounds, clock=clock, threads=conditions.threads)
    graphs: dict[str, Call] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for name in single if conditions.device.startswith("cuda") else ():
        try:
            graphs[name] = graph_replay(single[name], conditions.device)
        except MeasureError as error:
            notes[name] = (str(error),)
    replayed = time_interleaved(graphs, rounds=conditions.rounds, clock=clock).timings if graphs else {}
    # What is written in the forward pass is less than what the backward pass would keep of it.
    limit = int(psutil.virtual_memory().available / 2) if conditions.device == "cpu" else None
    batch = conditions.batch or min(
        find_batch(
            lambda size, subject=subject: call_of(subject, size),
            clock=clock,
            bytes_per_image=found[subject.name]["saved_bytes"],
            limit_bytes=limit,
        )
        for subject in subjects
    )
    large = time_interleaved(
        {subject.name: call_of(subject, batch) for subject in subjects},
        rounds=min(conditions.rounds, THROUGHPUT_ROUNDS),
        clock=clock,
        min_calls=1,
        threads=conditions.threads,
    )
    return _Timed(eager, replayed, large, batch, notes)


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


# Records


def write_costs(store: Store, bench: Bench, subjects: Sequence[Subject]) -> tuple[CostRecord, ...]:
    """One record a variant for this machine. What an earlier record holds beyond these figures stays."""
    written = []
    for subject, costs in zip(subjects, bench.costs, strict=True):
        record = _record(store, bench, subject, costs)
        store.write_cost(record)
        written.append(record)
    return tuple(written)


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
    return record.model_copy(
        update={
            "id": subject.cost_id,
            "activations": costs.activations,
            "saved_bytes": costs.saved_bytes,
            "latency_ms": costs.timing.p50_ms,
            "latency_p95_ms": costs.timing.p95_ms,
            "latency_rounds_ms": costs.timing.rounds_ms,
            "latency_graph_ms": None if costs.graph is None else costs.graph.p50_ms,
            "latency_session": bench.measured,
            "images_per_s": costs.images_per_s,
            "throughput_batch": bench.batch,
            "dtype": bench.conditions.dtype,
            "clock_mhz": bench.clock_mhz,
            "peak_memory_bytes": costs.training.peak_bytes,
            "train_batch": costs.train_batch,
            "inference_memory_bytes": costs.inference.peak_bytes,
            "reserved_memory_bytes": costs.training.reserved_bytes,
            "memory_means": costs.training.means,
            "notes": (*bench.contention, *costs.notes),
            "environment": bench.environment,
            "measured": bench.measured,
        }
    )


# What is shown


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
    table = Table(box=None, padding=(0, 1), header_style="")
    heads = ["", "params M", "MACs M", "activ. M", "train MiB", "infer MiB", "p50 ms", "p95 ms"]
    for head in (*heads, *(["graph ms"] if with_graph else []), "images/s"):
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
        )
    written = StringIO()
    Console(file=written, width=width, no_color=True, highlight=False).print(table)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    return "\n".join([*lines, "", *_conditions(bench), *map(str, bench.ratios), *_notes(bench)])


def _mebibytes(peak: MemoryPeak) -> str:
    return "–" if peak.peak_bytes is None else f"{peak.peak_bytes / 2**20:,.2f}"


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
    return [f"note: {note}" for note in dict.fromkeys(notes)]
