"""What was trained before the variants: a small table of its own, compared with nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ablate.record import PlannedVariant, StudyPlan, TrialRecord
from ablate.report import numbers
from ablate.report.rows import PretrainingRow
from ablate.stats import Procedure, summarise
from ablate.store import Store

NOTE = (
    "Trained first, once with each seed; a variant that starts from one takes the weights of its last epoch "
    "with the same seed. Accuracy is that on the test images of its own classes."
)
HEADER = ("Pretraining", "n", "Classes", "Epochs", "Accuracy, %", "Failed")


def pretraining_rows(store: Store, plan: StudyPlan, procedure: Procedure) -> tuple[PretrainingRow, ...]:
    return tuple(_row(store, variant, procedure) for variant in plan.pretraining)


def _row(store: Store, variant: PlannedVariant, procedure: Procedure) -> PretrainingRow:
    found = [store.read_trial(trial_id) for trial_id in variant.trials.values()]
    records = [record for record in found if record is not None]
    done = [record for record in records if record.status == "done"]
    scores = [record.metrics.accuracy for record in done if record.metrics is not None]
    return PretrainingRow(
        name=variant.name,
        planned=len(variant.trials),
        accuracy=summarise(scores, procedure.level) if scores else None,
        classes=done[0].classes if done else None,
        epochs=len(store.read_epochs(done[0].id)) if done else None,
        failures=tuple(_failure(record) for record in records if record.failure is not None),
    )


def _failure(record: TrialRecord) -> str:
    failure = record.failure
    return "" if failure is None else f"seed {record.seed}: {failure.kind}: {failure.message}"


def table(rows: Sequence[PretrainingRow]) -> tuple[Sequence[str], list[Sequence[str]]]:
    return HEADER, [
        (
            row.name,
            str(row.n) if row.n == row.planned else f"{row.n}/{row.planned}",
            numbers.count(row.classes),
            numbers.count(row.epochs),
            numbers.mean_and_std(row.accuracy),
            "; ".join(row.failures) or "–",
        )
        for row in rows
    ]


def document(row: PretrainingRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "n": row.n,
        "planned": row.planned,
        "failed": len(row.failures),
        "classes": row.classes,
        "epochs": row.epochs,
        "accuracy_mean": row.accuracy.mean if row.accuracy else None,
        "accuracy_std": row.accuracy.std if row.accuracy else None,
    }
