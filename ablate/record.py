"""What is known of a trial, of a cost and of a planned study: the files in which the two arms meet.

The torch arm writes these records, the analysis arm reads them; neither imports the other. Every record
carries a schema version, and a reader refuses a version that it does not know rather than guess.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Frozen, closed (an unknown key is an error), with a version that readers check."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Environment(Record):
    """Where and with what a figure was obtained. Comparisons that mix them are marked."""

    ablate: str
    python: str
    torch: str
    torchvision: str | None = None
    numpy: str
    platform: str
    machine: str  # a short name for folders and legends: host and device, [a-z0-9-]+
    cpu: str
    cpu_count: int
    threads: int
    device: str  # "cpu", "cuda:0", "mps"
    device_name: str  # "NVIDIA H100 80GB HBM3"; for the CPU its model name
    cuda: str | None = None
    cudnn: str | None = None
    deterministic: bool = False
    processes: int = 1  # that trained a trial together, each with a share of every batch
    commit: str | None = None  # of the repository that the command was run in
    diff: str | None = None  # uncommitted changes there; "sha256:… (N bytes)" when long


class Failure(Record):
    """Why a trial has no result.

    kind: exception | non-finite | out-of-memory | crashed | timeout | interrupted. error: the class of the
    exception, where one was raised. where: ``"net.py:12 in forward"``, the last line of the user's own code.
    attempts: how often the trial was begun.
    """

    kind: str
    message: str
    error: str = ""
    where: str = ""
    traceback: str = ""
    log_tail: tuple[str, ...] = ()
    attempts: int = 1


class TrialMetrics(Record):
    """Accuracies are in percent. The test set was read once, after fitting.

    accuracy: test set, last epoch (primary). accuracy_best: test set, at the epoch with the best validation
    accuracy.
    """

    accuracy: float
    accuracy_best: float
    best_epoch: int  # 1-based
    test_loss: float
    validation_accuracy: float
    validation_loss: float
    train_accuracy: float  # mean over the last epoch's augmented training batches
    train_loss: float


class SharedTraining(Record):
    """How several processes trained one trial together.

    backend: of `torch.distributed`. images_per_process: of a whole batch, by rank. shared_norms: batch norms
    whose statistics were taken over the whole batch. waited_share: of the training time, what the first rank
    waited for the others; None where that is not told, on a GPU.
    """

    processes: int
    backend: str
    images_per_process: tuple[int, ...]
    shared_norms: int
    waited_share: float | None = None


class TrialRecord(Record):
    """One variant trained with one seed. identity: what the id hashes (`ablate.variants.trial_identity`)."""

    schema_version: int = SCHEMA_VERSION
    id: str
    variant_id: str
    seed: int
    status: Literal["done", "failed"]
    identity: dict[str, Any]
    classes: int | None = None
    train_count: int | None = None
    validation_count: int | None = None
    test_count: int | None = None
    param_count: int | None = None
    metrics: TrialMetrics | None = None
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    environment: Environment
    started: str  # ISO 8601, UTC
    wall_s: float
    images_per_s: float | None = None  # training images, validation and start-up not counted
    resumed: int = 0  # how often it went on from a checkpoint
    shared: SharedTraining | None = None  # None: one process trained it
    files: dict[str, str] = Field(default_factory=dict)  # name -> "sha256:…" of what lies beside the record


class AttachedModule(Record):
    """One attention module and where it sits."""

    path: str
    channels: int
    param_count: int


class TimedRounds(Record):
    """What a variant took in one session, in which all were timed in turns: only they are paired."""

    session: str  # ISO 8601, UTC
    rounds_ms: tuple[float, ...]


class CostRecord(Record):
    """What a variant costs, measured apart from training. None means: not measured."""

    schema_version: int = SCHEMA_VERSION
    id: str
    machine: str
    settings: dict[str, Any]  # the model settings and input that the cost belongs to
    input_shape: tuple[int, ...]  # (C, H, W) of one image
    param_count: int
    attention_param_count: int
    attention_modules: tuple[AttachedModule, ...] = ()
    macs: int  # multiply-adds of convolutions, linear layers, matrix products and attention, batch 1
    attention_macs: int = 0
    activations: int | None = None  # elements of the outputs of convolutions and linear layers, batch 1
    saved_bytes: int | None = None  # kept for the backward pass, of one image
    latency_ms: float | None = None  # median at batch 1
    latency_p95_ms: float | None = None
    latency_rounds_ms: tuple[float, ...] = ()  # the replicates; paired only with those of the same session
    latency_graph_ms: float | None = None  # median of the replayed CUDA graph
    latency_session: str | None = None  # ISO 8601, UTC: figures of one session were timed in turns
    earlier_rounds: tuple[TimedRounds, ...] = ()  # of earlier sessions, oldest first
    images_per_s: float | None = None  # forward, in batches of throughput_batch
    throughput_batch: int | None = None
    dtype: str | None = None  # of latency, throughput and inference memory
    clock_mhz: float | None = None  # of the processor or GPU, as the system tells it
    peak_memory_bytes: int | None = None  # of a training step of train_batch images
    train_batch: int | None = None
    inference_memory_bytes: int | None = None  # of one image
    reserved_memory_bytes: int | None = None  # CUDA: taken from the device for the training step
    memory_means: str | None = None  # how the peaks were measured, or why they were not
    image_energy_mj: float | None = None  # of one image in batches of throughput_batch: an estimate
    energy_means: str | None = None
    notes: tuple[str, ...] = ()  # what else ran on the machine, what could not be measured
    environment: Environment
    measured: str  # ISO 8601, UTC

    @property
    def sessions(self) -> dict[str, tuple[float, ...]]:
        """The rounds of each session that timed it, in milliseconds, the latest last."""
        found = {one.session: one.rounds_ms for one in self.earlier_rounds}
        if self.latency_session is not None and self.latency_rounds_ms:
            found[self.latency_session] = self.latency_rounds_ms
        return found


class PlannedVariant(Record):
    """A named variant of a planned study. settings: dotted keys that differ from the baseline's -> value."""

    name: str
    aliases: tuple[str, ...] = ()
    id: str
    origin: Literal["variant", "sweep", "design", "matrix", "control", "pretraining"] = "variant"
    settings: dict[str, Any]
    switches: dict[str, bool] = Field(default_factory=dict)  # of its attention, for the ✓/✗ columns
    cost_id: str
    trials: dict[int, str]  # seed -> trial id
    done_before: dict[int, str] = Field(default_factory=dict)  # seed -> id; other settings, or left out now
    warnings: tuple[str, ...] = ()


class PlannedSweep(Record):
    """One factor at a time. `levels`: (label, variant name) in the order of the file."""

    name: str  # the word after `as`
    setting: str  # the dotted key
    start: str  # the variant it starts from
    levels: tuple[tuple[str, str], ...]
    numeric: bool


class PlannedDesign(Record):
    """A factorial or a view of one. `cells`: (factors that are on, variant name); all of them in a chain."""

    kind: Literal["factorial", "leave-one-out", "add-one", "chain"]
    start: str
    factors: tuple[str, ...]
    cells: tuple[tuple[tuple[str, ...], str], ...]


class PlannedControl(Record):
    """The baseline given the budget of another variant.

    match: what budget, achieved and baseline count. variant: the control's name, the baseline's own where
    nothing comes nearer. argument, value: of the backbone; value is None where the baseline stands in.
    """

    match: Literal["params", "macs"]
    to: str
    variant: str
    argument: str
    value: int | float | None
    budget: int  # of `to`
    achieved: int  # by the control
    baseline: int


class Look(Record):
    """One reading of the results: how many trials were finished when a report was first built from them."""

    date: str
    finished: int
    seeds: int


class PlannedLooks(Record):
    """The rule of `run --until-decided`: who is judged, and in which order seeds are given out.

    seeds: as many as the last look needs. family: every variant but the baseline.
    """

    seeds: tuple[int, ...]
    family: tuple[str, ...]


class StudyPlan(Record):
    """`plan.json`: all that a report needs to know of a study, so that it need not expand the study again."""

    schema_version: int = SCHEMA_VERSION
    study: str
    title: str = ""
    scope: str = ""  # what its scale can and cannot decide
    baseline: str
    seeds: tuple[int, ...]
    variants: tuple[PlannedVariant, ...]
    pretraining: tuple[PlannedVariant, ...] = ()  # trained first, once a seed, and compared with nothing
    sweeps: tuple[PlannedSweep, ...] = ()
    designs: tuple[PlannedDesign, ...] = ()
    controls: tuple[PlannedControl, ...] = ()
    claims: tuple[dict[str, Any], ...] = ()
    analysis: dict[str, Any]
    analysis_hash: str  # SHA-256 of claims and analysis, so that a later change shows
    planned: str  # ISO 8601, UTC: when this hash was first written
    data: dict[str, Any]  # source, fingerprint, classes, train/validation/test counts, image shape
    recipe: dict[str, Any]  # the baseline's train and data settings, for captions
    looks: tuple[Look, ...] = ()
    # When each claim, the analysis and the number of seeds were first written: keys of
    # `ablate.store.first_written` -> ISO 8601, UTC. Empty in plans of before it was kept.
    first_written: dict[str, str] = Field(default_factory=dict)
    until_decided: PlannedLooks | None = None
    workers: int | None = None  # of the run that trained last
