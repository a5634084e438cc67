"""Plan and records become the rows of a report. Nothing is rendered here.

Families, each corrected on its own: the claims, the effects of a design (those within its first factor
apart, and each view of it), each sweep's levels against the sweep's start, each sweep's levels against the
baseline, variants against their controls, the controls against the baseline, and all other variants against
the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from ablate.errors import StoreError
from ablate.record import CostRecord, Environment, PlannedVariant, StudyPlan, TrialRecord
from ablate.report import looks, tuning
from ablate.report.claims import claim_rows
from ablate.report.comparisons import Comparisons
from ablate.report.controls import FAMILY, control_rows, sides
from ablate.report.costs import CostRows, cost_rows
from ablate.report.curves import curve_rows
from ablate.report.effects import design_effects, without_dunnett
from ablate.report.pace import pace_of
from ablate.report.post_hoc import post_hoc
from ablate.report.predictions import Predictions, read_predictions
from ablate.report.pretraining import pretraining_rows
from ablate.report.rows import (
    Against,
    EffectRow,
    Figure,
    Report,
    SweepLevel,
    SweepRows,
    TrialRow,
    VariantRow,
)
from ablate.stats import Comparison, Estimate, Procedure, learning_limit, summarise
from ablate.store import Store


def build_report(store: Store, study_name: str) -> Report:
    """The report of a planned study from what is in the results tree, finished or not."""
    plan = store.read_plan(study_name)
    if plan is None:
        known = ", ".join(store.studies()) or "none"
        raise StoreError(
            f"{store.study(study_name).plan} does not exist: run the study first (planned here: {known})"
        )
    return report_of(store, plan)


def report_of(store: Store, plan: StudyPlan) -> Report:
    """The report of a plan, which need not be written yet."""
    procedure, per_seed = read_procedure(plan)
    trials = Trials(store, plan)
    rows = {variant.name: variant_row(store, variant, trials, procedure) for variant in plan.variants}
    costs = _costs_of(store, plan)
    predictions = {name: trials.predictions(row) for name, row in rows.items()}
    comparisons = Comparisons(predictions, trials.records, procedure)
    _compare_with_baseline(plan, rows, comparisons)
    rule = looks.until_decided(plan, rows, comparisons, procedure)
    if rule is not None:
        _go_by_rule(rule, rows, comparisons, procedure)
    sweeps = tuple(_sweep(plan, position, rows, comparisons) for position in range(len(plan.sweeps)))
    effects = tuple(
        row
        for design in plan.designs
        for row in design_effects(design, rows, procedure, comparisons.same, costs)
    )
    judged = comparisons.pairs(FAMILY, sides(plan.controls, rows), without_dunnett(procedure))
    if rule is not None:
        sweeps, effects, judged = _exploratory(sweeps, effects, judged)
    variants = tuple(rows.values())
    cost = cost_rows(variants, plan.baseline, procedure, costs)
    tuned = tuning.read_tuning(store, plan.study)
    have_effects, have_curves = any(not row.missing for row in effects), trials.have_curves()
    return Report(
        study=plan.study,
        title=plan.title or plan.study,
        baseline=plan.baseline,
        metric="accuracy",
        seeds=plan.seeds,
        procedure=procedure,
        per_seed_split=per_seed,
        data=_data(plan, trials),
        recipe=plan.recipe,
        variants=variants,
        effects=effects,
        sweeps=tuple(sweeps),
        claims=claim_rows(plan, rows, sweeps, procedure, comparisons, costs, rule),
        environments=trials.environments(),
        planned_at=_to_seconds(plan.planned),
        figures=(
            *_figures(variants, sweeps, cost, have_effects, have_curves),
            *(tuning.figures(tuned) if tuned is not None else ()),
        ),
        controls=control_rows(plan.controls, rows, judged),
        twins=comparisons.twins(variants),
        pretraining=pretraining_rows(store, plan, procedure),
        curves=curve_rows(store, variants, trials.records),
        costs=cost,
        looks=looks.Looks(plan.looks, post_hoc(plan), rule),
        pace=pace_of(plan, rows, trials.records.values()),
        look_page=store.study(plan.study).look_html.is_file(),
        tuning=tuned,
        promoted=tuning.read_promoted(store, plan.study),
    )


def _go_by_rule(
    rule: looks.UntilDecided, rows: dict[str, VariantRow], comparisons: Comparisons, procedure: Procedure
) -> None:
    """Verdicts against the baseline come from the rule that gave the seeds out."""
    base = rows[rule.baseline]
    for found in rule.variants:
        row = rows[found.variant]

        def at_look(n: int, row: VariantRow = row) -> tuple[Comparison, Estimate | None]:
            return comparisons.of_seeds(row, base, rule.seeds[:n])

        if row.against is not None:
            against = looks.judged_by_rule(row.against, found, procedure, at_look)
            rows[row.name] = replace(row, against=against)


def _exploratory(
    sweeps: Sequence[SweepRows], effects: Sequence[EffectRow], judged: Sequence[Against]
) -> tuple[tuple[SweepRows, ...], tuple[EffectRow, ...], list[Against]]:
    """What a rule that gave the seeds out has not decided."""
    return (
        tuple(
            replace(
                sweep,
                levels=tuple(
                    replace(level, against=level.against and looks.unplanned(level.against))
                    for level in sweep.levels
                ),
            )
            for sweep in sweeps
        ),
        tuple(
            replace(
                row,
                judgement=looks.exploratory(row.judgement),
                reason=row.reason if row.missing else looks.UNPLANNED,
            )
            for row in effects
        ),
        [looks.unplanned(against) for against in judged],
    )


def read_procedure(plan: StudyPlan) -> tuple[Procedure, bool]:
    """How the plan says to judge; and whether each seed has a split of its own, which asks for pairs."""
    said, defaults = plan.analysis, Procedure()
    overridden = (variant.settings.get("data.split") for variant in plan.variants)
    per_seed = "per-seed" in (plan.recipe.get("data", {}).get("split"), *overridden)
    procedure = Procedure(
        test="paired" if per_seed else said.get("test", "welch"),
        correction=said.get("correction") or "none",
        margin=float(said.get("margin", defaults.margin)),
        level=float(said.get("level", defaults.level)),
    )
    return procedure, per_seed


class Trials:
    """Records and predictions of a plan's trials, read once each."""

    def __init__(self, store: Store, plan: StudyPlan) -> None:
        self._store = store
        self.plan = plan
        self.records: dict[str, TrialRecord] = {}
        for variant in plan.variants:
            for trial_id in variant.trials.values():
                record = store.read_trial(trial_id)
                if record is not None:
                    self.records[trial_id] = record
        self._predictions: dict[str, Predictions | None] = {}
        self._places: dict[str, int] = {}

    def predictions(self, row: VariantRow) -> dict[int, Predictions]:
        """By seed, of the finished trials that kept them."""
        found = {trial.seed: self._read(trial.id) for trial in row.done}
        return {seed: predictions for seed, predictions in found.items() if predictions is not None}

    def _read(self, trial_id: str) -> Predictions | None:
        if trial_id not in self._predictions:
            self._predictions[trial_id] = read_predictions(self._store, trial_id, self.records.get(trial_id))
        return self._predictions[trial_id]

    def chance(self, record: TrialRecord) -> float | None:
        """The share of the test images that guessing gets right."""
        predictions = self._read(record.id)
        shares = [1 / record.classes] if record.classes else []
        if predictions is not None:
            shares.append(predictions.largest_class)
        return max(shares, default=None)

    def environments(self) -> tuple[tuple[Environment, int], ...]:
        counts: dict[str, tuple[Environment, int]] = {}
        for record in self.records.values():
            key = _machine(record).model_dump_json()
            counts[key] = (_machine(record), counts.get(key, (None, 0))[1] + 1)
        return tuple(counts[key] for key in sorted(counts))

    def environment_of(self, record: TrialRecord) -> int:
        """Its place among `environments`."""
        if not self._places:
            machines = (environment for environment, _ in self.environments())
            self._places = {machine.model_dump_json(): place for place, machine in enumerate(machines)}
        return self._places[_machine(record).model_dump_json()]

    def have_curves(self) -> bool:
        done = (record for record in self.records.values() if record.status == "done")
        return any(self._store.trial(record.id).epochs.is_file() for record in done)


def _trial_row(variant: PlannedVariant, seed: int, trials: Trials) -> TrialRow:
    trial_id = variant.trials[seed]
    record = trials.records.get(trial_id)
    if record is None:
        return TrialRow(variant.name, seed, trial_id, "pending")
    metrics = record.metrics if record.status == "done" else None
    learned = None
    if metrics is not None and record.test_count and (chance := trials.chance(record)):
        learned = metrics.accuracy > learning_limit(chance, record.test_count)
    return TrialRow(
        variant=variant.name,
        seed=seed,
        id=trial_id,
        status=record.status,
        metrics=metrics,
        learned=learned,
        failure=record.failure,
        started=record.started,
        wall_s=record.wall_s,
        images_per_s=record.images_per_s,
        environment=trials.environment_of(record),
    )


def _machine(record: TrialRecord) -> Environment:
    """Commits and diffs change while one works; they are in the records and no part of the machine."""
    return record.environment.model_copy(update={"commit": None, "diff": None})


def variant_row(store: Store, variant: PlannedVariant, trials: Trials, procedure: Procedure) -> VariantRow:
    rows = tuple(_trial_row(variant, seed, trials) for seed in sorted(variant.trials))
    scores = [trial.metrics.accuracy for trial in rows if trial.metrics is not None]
    costs = store.read_costs(variant.cost_id)
    cost = costs[0] if costs else None
    counted = [
        record.param_count for t in rows if (record := trials.records.get(t.id)) and record.param_count
    ]
    return VariantRow(
        name=variant.name,
        aliases=variant.aliases,
        origin=variant.origin,
        switches=variant.switches,
        settings=variant.settings,
        trials=rows,
        accuracy=summarise(scores, procedure.level) if scores else None,
        against=None,
        mixed=(),
        param_count=cost.param_count if cost else next(iter(counted), None),
        macs=cost.macs if cost else None,
        attention_param_count=cost.attention_param_count if cost else None,
        attention_macs=cost.attention_macs if cost else None,
        latency_ms=_measured(costs, lambda record: record.latency_ms),
        peak_memory_bytes=_measured(costs, lambda record: record.peak_memory_bytes),
        warnings=variant.warnings,
    )


def _measured(costs: Sequence[CostRecord], figure: Callable[[CostRecord], Any]) -> Any:
    """From the first machine that measured it."""
    return next((value for cost in costs if (value := figure(cost)) is not None), None)


def _compare_with_baseline(plan: StudyPlan, rows: dict[str, VariantRow], comparisons: Comparisons) -> None:
    """Levels are corrected with their sweep (the first, where several hold one), all others together.

    But for controls, which are there to be compared with: more of them must not cost the variants power.
    """
    family_of = {name: "controls" if row.origin == "control" else "variants" for name, row in rows.items()}
    for position in reversed(range(len(plan.sweeps))):
        for _, name in plan.sweeps[position].levels:
            if name in rows and rows[name].origin == "sweep":
                family_of[name] = f"sweep {_sweep_name(plan, position)}"
    baseline = rows[plan.baseline]
    for family in dict.fromkeys(family_of.values()):
        members = [rows[name] for name in rows if family_of[name] == family and name != plan.baseline]
        for row, against in zip(members, comparisons.family(family, members, baseline), strict=True):
            rows[row.name] = replace(row, against=against)
    for name, row in rows.items():
        rows[name] = replace(row, mixed=comparisons.mixed([row, baseline]))


def _sweep_name(plan: StudyPlan, position: int) -> str:
    """The word after `as`, told apart by its start where two sweeps share it."""
    sweep = plan.sweeps[position]
    alike = [other for other in plan.sweeps if other.name == sweep.name]
    return sweep.name if len(alike) == 1 else f"{sweep.name} from {sweep.start}"


def _sweep(
    plan: StudyPlan, position: int, rows: Mapping[str, VariantRow], comparisons: Comparisons
) -> SweepRows:
    sweep = plan.sweeps[position]
    name = _sweep_name(plan, position)
    labels = [(label, variant) for label, variant in sweep.levels if variant in rows]
    if sweep.start in rows and all(variant != sweep.start for _, variant in labels):
        labels.insert(0, (_start_label(plan, position), sweep.start))
    others = [(label, rows[variant]) for label, variant in labels if variant != sweep.start]
    found: dict[str, Against] = {}
    if sweep.start in rows:
        judged = comparisons.family(
            f"sweep {name} against {sweep.start}", [row for _, row in others], rows[sweep.start]
        )
        found = {label: against for (label, _), against in zip(others, judged, strict=True)}
    levels = [
        SweepLevel(label, _number(label) if sweep.numeric else None, rows[variant], found.get(label))
        for label, variant in labels
    ]
    numeric = sweep.numeric and all(level.value is not None for level in levels)
    if numeric:
        levels.sort(key=lambda level: level.value or 0.0)
    file_name = f"sweep-{position + 1}-{_slug(name)}"
    return SweepRows(name, sweep.setting, sweep.start, numeric, tuple(levels), file_name)


def _start_label(plan: StudyPlan, position: int) -> str:
    """The start's own value of the swept setting, where the plan tells it; else the start's name."""
    sweep = plan.sweeps[position]
    settings = next(variant.settings for variant in plan.variants if variant.name == sweep.start)
    parts = sweep.setting.split(".")
    for length in range(len(parts), 0, -1):
        value: Any = settings.get(".".join(parts[:length]))
        for part in parts[length:]:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return sweep.start


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _to_seconds(date: str) -> str:
    """2025-01-01T00:00:00.123+00:00 without its thousandths."""
    return re.sub(r"(?<=:\d\d)\.\d+", "", date)


def _costs_of(store: Store, plan: StudyPlan) -> Callable[[str], Sequence[CostRecord]]:
    ids = {variant.name: variant.cost_id for variant in plan.variants}
    return cache(lambda name: store.read_costs(ids[name]))


def _data(plan: StudyPlan, trials: Trials) -> dict[str, Any]:
    """The plan's account of the data, with the counts of a finished trial where the plan leaves them out."""
    ids = next(variant.trials for variant in plan.variants if variant.name == plan.baseline)
    record = next((trials.records[i] for i in ids.values() if i in trials.records), None)
    counts = ("train_count", "validation_count", "test_count")
    counted = {key: getattr(record, key) for key in counts if record is not None}
    return counted | {key: value for key, value in plan.data.items() if value is not None}


def _figures(
    variants: Sequence[VariantRow],
    sweeps: Sequence[SweepRows],
    costs: CostRows,
    effects: bool,
    curves: bool,
) -> tuple[Figure, ...]:
    """Which figures the finished trials can fill; the renderings and the drawing both go by this."""
    if not any(row.n for row in variants):
        return ()
    found = [Figure("accuracy", "Test accuracy: each dot a seed, the bar the mean with its interval")]
    if effects:
        found.append(Figure("effects", "Effects with intervals after correction; shaded: the margin"))
    for sweep in sweeps:
        if any(level.variant.n for level in sweep.levels):
            found.append(Figure(sweep.file_name, f"Test accuracy by {sweep.name}"))
    for front in costs.fronts:
        where = f" on {front.machine}" if front.machine else ""
        caption = f"Test accuracy against {front.noun}{where}; the line: the Pareto front by the means"
        found.append(Figure(front.file_name, caption))
    if curves:
        found.append(Figure("curves", "Validation accuracy by epoch: mean and range over the seeds"))
    return tuple(found)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "sweep"
