"""A planned study of two variants and two seeds, and trials in it that go on, end and are cut back."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ablate.record import (
    CostRecord,
    Environment,
    Failure,
    PlannedVariant,
    StudyPlan,
    TrialMetrics,
    TrialRecord,
)
from ablate.store import Lock, Store, TrialPaths
from ablate.track.snapshot import Snapshot, TrackedTrial, cost_of, planned_trials, take

ENVIRONMENT = Environment(
    ablate="0",
    python="3",
    torch="2",
    numpy="2",
    platform="p",
    machine="m",
    cpu="c",
    cpu_count=2,
    threads=1,
    device="cpu",
    device_name="c",
)
METRICS = TrialMetrics(
    accuracy=85.3,
    accuracy_best=86.1,
    best_epoch=1,
    test_loss=0.1,
    validation_accuracy=85.0,
    validation_loss=0.2,
    train_accuracy=84.0,
    train_loss=0.3,
)
SETTINGS = """\
data: {source: digits, augment: {flip: true}}
model:
  backbone: cnn
  args: {width: 0.125}
  attention: {name: se, at: [block2, block3]}
train:
  epochs: 4
  lr: {"attention.*": 0.1}
  stages: []
"""
STEPS_AN_EPOCH = 2
Loss = Callable[[int], float]


def table(rows: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def loss(epoch: int) -> float:
    return 1 / epoch


@dataclass
class Tree:
    store: Store

    def of(self, variant: str = "se", seed: int = 0) -> TrackedTrial:
        plan = self.store.read_plan("tiny")
        assert plan is not None
        return next(one for one in planned_trials(plan) if (one.variant, one.seed) == (variant, seed))

    def train(
        self,
        trial: TrackedTrial,
        epochs: int,
        *,
        loss: Loss = loss,
        images_per_s: float = 10.0,
        paths: TrialPaths | None = None,
    ) -> None:
        """As far as so many epochs of two steps and half a second each."""
        paths = paths or self.store.trial(trial.id)
        paths.folder.mkdir(parents=True, exist_ok=True)
        paths.settings.write_text(SETTINGS)
        rows = [
            {
                "epoch": epoch,
                "lr": 0.1,
                "train_loss": loss(epoch),
                "seconds": 0.5,
                "images_per_s": images_per_s,
                "stage": 1,
            }
            for epoch in range(1, epochs + 1)
        ]
        steps = [
            {"step": step, "epoch": (step + 1) // STEPS_AN_EPOCH, "loss": loss(step)}
            for step in range(1, STEPS_AN_EPOCH * epochs + 1)
        ]
        paths.epochs.write_text(table(rows) if rows else "epoch,train_loss\n")
        paths.steps.write_text(table(steps) if steps else "step,epoch,loss\n")

    def end(
        self, trial: TrackedTrial, *, failed: bool = False, accuracy: float = 85.3, machine: str = "m"
    ) -> TrialRecord:
        return self.store.write_trial(
            TrialRecord(
                id=trial.id,
                variant_id="ab" * 6,
                seed=trial.seed,
                status="failed" if failed else "done",
                identity={},
                metrics=None if failed else METRICS.model_copy(update={"accuracy": accuracy}),
                failure=Failure(kind="timeout", message="60 s are over") if failed else None,
                environment=ENVIRONMENT.model_copy(update={"machine": machine}),
                started="2025-01-01T00:00:00+00:00",
                wall_s=100.0 + accuracy,
            )
        )

    def hold(self, trial: TrackedTrial) -> Lock:
        lock = self.store.take_trial(trial.id)
        assert isinstance(lock, Lock)
        return lock

    def measure(self, trial: TrackedTrial, latency_ms: float, *, day: int = 1) -> None:
        self.store.write_cost(
            CostRecord(
                id=trial.cost_id,
                machine="m",
                settings={},
                input_shape=(1, 8, 8),
                param_count=1234,
                attention_param_count=34,
                macs=5678,
                latency_ms=latency_ms,
                environment=ENVIRONMENT,
                measured=f"2025-01-{day:02d}T00:00:00+00:00",
            )
        )

    def taken(self, trial: TrackedTrial, *, held: bool = False) -> Snapshot:
        """What a tracker is given of it."""
        record = None if held else self.store.read_trial(trial.id)
        cost = None if record is None else cost_of(self.store, trial, record)
        snapshot = take(self.store, trial, record, cost, held=held)
        assert snapshot is not None
        return snapshot


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    store = Store(tmp_path / "results")
    store.write_plan(
        StudyPlan(
            study="tiny",
            baseline="baseline",
            seeds=(0, 1),
            variants=tuple(
                PlannedVariant(
                    name=name,
                    id=mark * 12,
                    settings={},
                    cost_id=f"{mark}0" * 8,
                    trials={seed: f"{mark}{seed}" * 8 for seed in (0, 1)},
                )
                for name, mark in {"baseline": "a", "se": "b"}.items()
            ),
            analysis={},
            analysis_hash="h",
            planned="2025-01-01T00:00:00+00:00",
            data={},
            recipe={},
        )
    )
    return Tree(store)
