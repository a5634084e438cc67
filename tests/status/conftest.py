"""A planned study of two variants and two seeds, and what runs may have left of its trials."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from ablate.record import Environment, Failure, PlannedVariant, StudyPlan, TrialMetrics, TrialRecord
from ablate.store import Store, write_text

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
    accuracy_best=85.0,
    best_epoch=1,
    test_loss=0.1,
    validation_accuracy=85.0,
    validation_loss=0.1,
    train_accuracy=85.0,
    train_loss=0.1,
)


CRASH = (
    "a library below Python broke down; its last words are in the log; --retry-failed --executor inline with "
    "--only and --seeds runs this trial alone, under a debugger if need be"
)


def trial_id(variant: str, seed: int) -> str:
    return f"{'abcd'.index(variant) * 16 + seed:016x}"


def plan(study: str, variants: str) -> StudyPlan:
    return StudyPlan(
        study=study,
        baseline="a",
        seeds=(0, 1),
        variants=tuple(
            PlannedVariant(
                name=name,
                aliases=(f"{name}-too",),
                id=name * 12,
                settings={},
                cost_id=f"{name}0" * 8,
                trials={seed: trial_id(name, seed) for seed in (0, 1)},
            )
            for name in variants
        ),
        analysis={},
        analysis_hash="h",
        planned="2025-01-01T00:00:00+00:00",
        data={},
        recipe={},
    )


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "results")
    store.write_plan(plan("msa", "ab"))
    return store


@pytest.fixture
def tree(store) -> SimpleNamespace:
    """What can be put into the tree. now: whole seconds since 1970, when the test began."""
    now = float(int(time.time()))

    def write(variant: str, seed: int, *, failed: bool = False, wall_s: float = 1.0) -> TrialRecord:
        return store.write_trial(
            TrialRecord(
                id=trial_id(variant, seed),
                variant_id=variant * 12,
                seed=seed,
                status="failed" if failed else "done",
                identity={},
                metrics=None if failed else METRICS,
                failure=Failure(kind="crashed", message="died of SIGSEGV\nmore", traceback="Traceback: here")
                if failed
                else None,
                environment=ENVIRONMENT,
                started="2025-01-01T00:00:00+00:00",
                wall_s=wall_s,
            )
        )

    def tear(variant: str, seed: int) -> Path:
        path = store.trial(trial_id(variant, seed)).record
        path.write_text(path.read_text()[:40])
        return path

    def report_progress(
        variant: str, seed: int, *, pid: int, host: str, age_s: float = 0, again: bool = False
    ) -> None:
        said = {"pid": pid, "host": host, "epoch": 2, "epochs": 4, "step": 5, "steps": 10, "loss": 0.5}
        said["updated"] = datetime.fromtimestamp(now - age_s, UTC).isoformat(timespec="seconds")
        of = store.trial_again if again else store.trial
        write_text(of(trial_id(variant, seed)).progress, json.dumps(said))

    def plan_study(study: str, variants: str) -> None:
        store.write_plan(plan(study, variants))

    return SimpleNamespace(
        crash=CRASH,
        tear=tear,
        id=trial_id,
        now=now,
        write=write,
        report_progress=report_progress,
        plan_study=plan_study,
    )


@pytest.fixture
def lock_of_another_machine(store) -> Callable[[str], None]:
    def lock(trial: str) -> None:
        holder = {"host": "far", "pid": 7, "run_pid": 6, "start": "5", "machine": "boot", "token": "aa11"}
        write_text(store.trial_lock(trial), json.dumps(holder))

    return lock
