"""What stands in the tree of a study that runs, ran, or was killed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from ablate.errors import StoreError
from ablate.record import Environment, Failure, PlannedVariant, StudyPlan, TrialMetrics, TrialRecord
from ablate.status import find_study, read_status, render_status
from ablate.store import Store, write_text

NOW = float(int(time.time()))
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


def trial_id(variant: str, seed: int) -> str:
    return f"{'ab'.index(variant) * 16 + seed:016x}"


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "results")
    variants = tuple(
        PlannedVariant(
            name=name,
            id=name * 12,
            settings={},
            cost_id="0" * 16,
            trials={seed: trial_id(name, seed) for seed in (0, 1)},
        )
        for name in "ab"
    )
    store.write_plan(
        StudyPlan(
            study="msa",
            baseline="a",
            seeds=(0, 1),
            variants=variants,
            analysis={},
            analysis_hash="h",
            planned="2025-01-01T00:00:00+00:00",
            data={},
            recipe={},
        )
    )
    return store


def write(store: Store, variant: str, seed: int, *, failed: bool = False) -> None:
    store.write_trial(
        TrialRecord(
            id=trial_id(variant, seed),
            variant_id=variant * 12,
            seed=seed,
            status="failed" if failed else "done",
            identity={},
            metrics=None if failed else METRICS,
            failure=Failure(kind="crashed", message="died of SIGSEGV\nmore") if failed else None,
            environment=ENVIRONMENT,
            started="2025-01-01T00:00:00+00:00",
            wall_s=1.0,
        )
    )


def report_progress(store: Store, variant: str, seed: int, *, pid: int, host: str, age_s: float = 0) -> None:
    said = {"pid": pid, "host": host, "epoch": 2, "epochs": 4, "step": 1, "steps": 10, "loss": 0.5}
    said["updated"] = datetime.fromtimestamp(NOW - age_s, UTC).isoformat(timespec="seconds")
    write_text(store.trial(trial_id(variant, seed)).progress, json.dumps(said))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def states(store: Store) -> dict[tuple[str, int], str]:
    return {(trial.variant, trial.seed): trial.state for trial in read_status(store, "msa", now=lambda: NOW)}


def test_every_state_in_the_order_of_running(store):
    write(store, "a", 0)
    write(store, "b", 0, failed=True)
    report_progress(store, "a", 1, pid=os.getpid(), host=platform.node())
    assert list(states(store).items()) == [
        (("a", 0), "done"),
        (("b", 0), "failed"),
        (("a", 1), "running"),
        (("b", 1), "pending"),
    ]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"pid": 1, "host": platform.node(), "age_s": 58}, "running"),
        ({"pid": 1, "host": platform.node(), "age_s": 70}, "pending"),
        ({"pid": dead_pid(), "host": platform.node()}, "pending"),
        ({"pid": dead_pid(), "host": "another-machine"}, "running"),
        ({"pid": 1, "host": "another-machine", "age_s": 70}, "pending"),
    ],
)
def test_what_a_killed_run_left_is_not_running(store, said, state):
    report_progress(store, "b", 1, **said)
    assert states(store)["b", 1] == state


def test_a_process_that_only_got_the_number_later_is_not_the_trial(store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        report_progress(store, "b", 1, pid=process.pid, host=platform.node(), age_s=50)
        assert states(store)["b", 1] == "pending"
        process.stdin.close()


def test_a_record_outweighs_old_progress(store):
    report_progress(store, "a", 0, pid=os.getpid(), host=platform.node())
    write(store, "a", 0)
    assert states(store)["a", 0] == "done"


def test_the_page(store):
    write(store, "a", 0)
    write(store, "b", 0, failed=True)
    assert render_status(store, "msa").splitlines() == [
        "msa: 1 done, 0 running, 1 failed, 2 pending of 4 trials",
        f"  failed   b seed 0: crashed: died of SIGSEGV ({trial_id('b', 0)})",
        "",
        "  a  1 done, 1 pending",
        "  b  1 failed, 1 pending",
    ]


def test_a_study_is_found_by_name_folder_file_and_as_the_last_one(store, tmp_path, monkeypatch):
    assert find_study("msa", store.root)[1] == "msa"
    found, name = find_study(str(store.root / "msa"), tmp_path / "elsewhere")
    assert (found.root, name) == (store.root, "msa")
    monkeypatch.chdir(store.root / "msa")
    assert find_study(".", "nowhere")[1] == "msa"
    study = tmp_path / "file.yaml"
    study.write_text("name: msa\nbaseline: a\nvariants: {a: {model.attention: null}}\n")
    assert find_study(str(study), store.root)[1] == "msa"
    store.write_last("msa")
    assert find_study(None, store.root)[1] == "msa"


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ("mas", "no study 'mas' was run under .*\n    did you mean 'msa'"),
        ("other", "no study 'other' was run under .*\n    there is: msa"),
        ("../msa", "no study '../msa' was run"),
        (None, "no study was run under .*\n    there is: msa"),
    ],
)
def test_what_is_not_there_names_what_is(store, study, said):
    with pytest.raises(StoreError, match=said):
        find_study(study, store.root)


def test_an_empty_tree_says_how_to_begin(tmp_path):
    with pytest.raises(StoreError, match="run one with `ablate run STUDY`"):
        find_study("msa", tmp_path)
    with pytest.raises(StoreError, match="run the study first"):
        read_status(Store(tmp_path), "msa")
