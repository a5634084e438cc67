"""The rows of a report: frozen, in full precision, and the only thing that any rendering reads.

Accuracies and differences are in percent and points; an absent figure is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.record import Environment, Failure, TrialMetrics
from ablate.report.costs import NOTHING_COUNTED, CostRows
from ablate.report.looks import NONE_TAKEN, Looks
from ablate.report.pace import UNKNOWN, Pace
from ablate.report.tuning import Promoted, Tuning
from ablate.stats import Estimate, Judgement, Procedure, Summary


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One planned trial. status: done | failed | pending. learned: above chance + 3 standard errors.

    environment: its place among the report's.
    """

    variant: str
    seed: int
    id: str
    status: str
    metrics: TrialMetrics | None = None
    learned: bool | None = None
    failure: Failure | None = None
    started: str | None = None
    wall_s: float | None = None
    images_per_s: float | None = None
    environment: int | None = None


@dataclass(frozen=True, slots=True)
class Against:
    """One judged comparison. family: the comparisons it was corrected with.

    paired: the same difference by a paired t test over the shared seeds, as a sensitivity check.
    new_images: the same difference with the error of other images than this test set's; None where
    predictions are missing.
    """

    variant: str
    judgement: Judgement
    reason: str
    family: str
    paired: Estimate
    new_images: Estimate | None = None


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One variant. trials: in the order of the seeds. against: the comparison with the baseline, None for
    itself.

    mixed: what differs between the environments of the trials compared, among them and with the baseline's.
    """

    name: str
    aliases: tuple[str, ...]
    origin: str
    switches: Mapping[str, bool]
    settings: Mapping[str, Any]
    trials: tuple[TrialRow, ...]
    accuracy: Summary | None
    against: Against | None
    mixed: tuple[str, ...]
    param_count: int | None
    macs: int | None
    attention_param_count: int | None
    attention_macs: int | None
    latency_ms: float | None
    peak_memory_bytes: int | None
    warnings: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[TrialRow, ...]:
        return tuple(trial for trial in self.trials if trial.metrics is not None)

    @property
    def scores(self) -> dict[int, float]:
        """Test accuracy at the last epoch, by seed."""
        return {trial.seed: trial.metrics.accuracy for trial in self.trials if trial.metrics is not None}

    @property
    def n(self) -> int:
        return len(self.done)

    @property
    def planned(self) -> int:
        return len(self.trials)

    @property
    def failed(self) -> int:
        return sum(trial.status == "failed" for trial in self.trials)

    @property
    def did_not_learn(self) -> tuple[int, ...]:
        return tuple(trial.seed for trial in self.trials if trial.learned is False)

    def mean(self, metric: str) -> float | None:
        """Mean over the finished trials of any figure of `TrialMetrics`."""
        values = [float(getattr(trial.metrics, metric)) for trial in self.done]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True, slots=True)
class EffectRow:
    """What a part, or parts together, buy and cost.

    kind: main | interaction (of the factorial) | leave-one-out | add-one | increment | share (of a chain).
    within: the factors that are on throughout. view: read off the cells of a factorial, beside its effects.
    param_delta, macs_delta: the same contrast of the costs. latency: of the latencies in ms, over the rounds
    of one session on `latency_machine`. missing: variants without a finished trial, for want of which the
    effect cannot be estimated. whole: the variant with every factor on. planned: seeds a cell. cells: the
    variants that the effect rests on. always: the switches that are no factors and on in every cell.
    """

    design: str
    kind: str
    factors: tuple[str, ...]
    within: tuple[str, ...]
    judgement: Judgement
    reason: str
    family: str
    missing: tuple[str, ...]
    param_delta: float | None
    macs_delta: float | None
    whole: str | None = None
    planned: int = 0
    view: bool = False
    latency: Estimate | None = None
    latency_machine: str | None = None
    cells: tuple[str, ...] = ()
    always: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " × ".join(self.factors)


@dataclass(frozen=True, slots=True)
class SweepLevel:
    """One level. value: its place on a numeric axis. against: the comparison with the sweep's start."""

    label: str
    value: float | None
    variant: VariantRow
    against: Against | None


@dataclass(frozen=True, slots=True)
class SweepRows:
    """One factor at a time, each level compared with the start."""

    name: str
    setting: str
    start: str
    numeric: bool
    levels: tuple[SweepLevel, ...]
    file_name: str  # of its table and its figure, without the ending


@dataclass(frozen=True, slots=True)
class ControlRow:
    """A variant beside the baseline given its budget. against: `of` compared with `control`.

    match: params | macs, what budget (of the variant) and achieved (by the control) count. argument, value:
    of the backbone; value is None where the baseline is its own control.
    """

    match: str
    argument: str
    value: float | None
    budget: int
    achieved: int
    of: VariantRow
    control: VariantRow
    against: Against


@dataclass(frozen=True, slots=True)
class TwinRow:
    """A variant that predicted as an earlier one did on every shared seed. settings: dotted, that differ."""

    variant: str
    twin_of: str
    seeds: tuple[int, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PretrainingRow:
    """A network that was trained before the variants. accuracy: of its own classes, over the finished seeds.

    classes, epochs: None before the first seed is finished. failures: a sentence each.
    """

    name: str
    planned: int
    accuracy: Summary | None
    classes: int | None
    epochs: int | None
    failures: tuple[str, ...]

    @property
    def n(self) -> int:
        return self.accuracy.n if self.accuracy else 0


@dataclass(frozen=True, slots=True)
class ClaimFigure:
    """One figure that a claim speaks of: "se − baseline". value: in `unit`; None where it cannot be had.

    low, high, level: its interval, missing the truth with probability `level`; None for costs, which are
    counted. position: of the interval (of the value) against what is claimed: inside | outside | across.
    sides: what went into it, by variant: the mean accuracy, or the cost.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    level: float | None
    position: str | None
    sides: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A claim and its verdict.

    verdict: supported | refuted | undecided | exploratory | undecidable | not measured. claimed: the range in
    words. trials: ids by variant, of the finished trials behind an accuracy. machine: that a measured cost
    comes from. seeds: per variant, to decide. post_hoc: why, if the claim is. remarks: sentences, on what
    went into the figures.
    """

    id: str
    say: str
    kind: str
    metric: str
    unit: str
    claimed: str
    bounds: tuple[float | None, float | None]
    verdict: str
    reason: str
    figures: tuple[ClaimFigure, ...]
    trials: Mapping[str, tuple[str, ...]]
    p_value: float | None = None
    p_adjusted: float | None = None
    seeds: int | None = None
    machine: str | None = None
    post_hoc: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def is_ratio(self) -> bool:
        return self.kind == "ratio"


@dataclass(frozen=True, slots=True)
class CurveRow:
    """How a finished trial learned: validation accuracy in percent after each of `epochs`, 1-based.

    A long curve is thinned out; its first and its last epoch stay.
    """

    variant: str
    seed: int
    id: str
    epochs: tuple[int, ...]
    validation_accuracy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that the report refers to: `figures/<name>.svg` and `.png`.

    note: what of a large study it leaves out, and where that stands; also part of the caption.
    """

    name: str
    caption: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the renderings of one study say. environments: distinct ones, with their number of trials.

    scope: what the study's scale can and cannot decide, in its author's words; empty where nothing is said.
    look_page: whether images of what the networks attend to lie beside the report.
    """

    study: str
    title: str
    baseline: str
    metric: str
    seeds: tuple[int, ...]
    procedure: Procedure
    per_seed_split: bool
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    variants: tuple[VariantRow, ...]
    effects: tuple[EffectRow, ...]
    sweeps: tuple[SweepRows, ...]
    claims: tuple[ClaimRow, ...]
    environments: tuple[tuple[Environment, int], ...]
    planned_at: str
    figures: tuple[Figure, ...]
    controls: tuple[ControlRow, ...] = ()
    twins: tuple[TwinRow, ...] = ()
    pretraining: tuple[PretrainingRow, ...] = ()
    looks: Looks = NONE_TAKEN
    pace: Pace = UNKNOWN
    curves: tuple[CurveRow, ...] = ()
    costs: CostRows = NOTHING_COUNTED
    look_page: bool = False
    tuning: Tuning | None = None
    promoted: Promoted | None = None
    scope: str = ""

    @property
    def baseline_row(self) -> VariantRow:
        return next(row for row in self.variants if row.name == self.baseline)

    @property
    def costs_alone(self) -> bool:
        """The study has no seeds: nothing is trained, and nothing but costs is compared."""
        return not self.trials

    @property
    def incomplete(self) -> tuple[VariantRow, ...]:
        return tuple(row for row in self.variants if row.n < row.planned)

    @property
    def trials(self) -> tuple[TrialRow, ...]:
        return tuple(trial for row in self.variants for trial in row.trials)
