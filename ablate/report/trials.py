"""Records and predictions of a plan's trials become rows: a row a trial, a row a variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ablate.record import CostRecord, Environment, PlannedVariant, StudyPlan, TrialRecord
from ablate.report.predictions import Predictions, read_predictions
from ablate.report.rows import TrialRow, VariantRow
from ablate.stats import Procedure, learning_limit, summarise
from ablate.store import Store


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
        self._machines: dict[Environment, tuple[str, Environment]] = {}

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
            key, machine = self._machine(record)
            counts[key] = (machine, counts.get(key, (machine, 0))[1] + 1)
        return tuple(counts[key] for key in sorted(counts))

    def environment_of(self, record: TrialRecord) -> int:
        """Its place among `environments`."""
        if not self._places:
            keys = sorted({self._machine(each)[0] for each in self.records.values()})
            self._places = {key: place for place, key in enumerate(keys)}
        return self._places[self._machine(record)[0]]

    def _machine(self, record: TrialRecord) -> tuple[str, Environment]:
        """Commits and diffs change while one works; they are in the records and no part of the machine."""
        found = self._machines.get(record.environment)
        if found is None:
            machine = record.environment.model_copy(update={"commit": None, "diff": None})
            found = self._machines[record.environment] = (machine.model_dump_json(), machine)
        return found

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
