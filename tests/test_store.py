"""Atomic writes, checked reads, and sentences that say what to do."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ablate.errors import StoreError
from ablate.record import (
    CostRecord,
    Environment,
    Failure,
    Look,
    PlannedVariant,
    StudyPlan,
    TrialMetrics,
    TrialRecord,
)
from ablate.store import Store, write_text

ENVIRONMENT = Environment(
    ablate="0.1.0",
    python="3.11.7",
    torch="2.8.0",
    numpy="2.1.0",
    platform="Linux",
    machine="host-cpu",
    cpu="a processor",
    cpu_count=2,
    threads=1,
    device="cpu",
    device_name="a processor",
)
METRICS = TrialMetrics(
    accuracy=84.123456789012345,
    accuracy_best=84.2,
    best_epoch=3,
    test_loss=0.1 + 0.2,
    validation_accuracy=85.0,
    validation_loss=0.4,
    train_accuracy=90.0,
    train_loss=0.3,
)


def trial_record(trial_id="0123456789abcdef", **changes) -> TrialRecord:
    values = {
        "id": trial_id,
        "variant_id": "0123456789ab",
        "seed": 0,
        "status": "done",
        "identity": {"seed": 0, "settings": {"train": {"epochs": 4}}},
        "metrics": METRICS,
        "environment": ENVIRONMENT,
        "started": "2025-01-01T00:00:00+00:00",
        "wall_s": 1.5,
    }
    return TrialRecord(**{**values, **changes})


def cost_record(machine="host-cpu") -> CostRecord:
    return CostRecord(
        id="0123456789abcdef",
        machine=machine,
        settings={},
        input_shape=(1, 28, 28),
        param_count=10,
        attention_param_count=0,
        macs=100,
        environment=ENVIRONMENT,
        measured="2025-01-01T00:00:00+00:00",
    )


def study_plan(**changes) -> StudyPlan:
    values = {
        "study": "msa",
        "baseline": "baseline",
        "seeds": (0, 1),
        "variants": (
            PlannedVariant(
                name="baseline", id="0" * 12, settings={}, cost_id="1" * 12, trials={0: "a" * 16, 1: "b" * 16}
            ),
        ),
        "analysis": {"test": "welch"},
        "analysis_hash": "hash-1",
        "planned": "2025-01-01T00:00:00+00:00",
        "data": {},
        "recipe": {},
    }
    return StudyPlan(**{**values, **changes})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# What is written comes back


def test_records_come_back_as_they_were_written(store):
    failed = trial_record(
        "f" * 16,
        status="failed",
        metrics=None,
        failure=Failure(kind="crashed", message="…", log_tail=("a", "b")),
    )
    for record in (trial_record(), failed):
        store.write_trial(record)
        assert store.read_trial(record.id) == record
    assert list(store.trials()) == [trial_record(), failed]
    for machine in ("host-cpu", "b-host"):
        store.write_cost(cost_record(machine))
    assert store.read_costs("0123456789abcdef") == (cost_record("b-host"), cost_record("host-cpu"))
    store.write_plan(study_plan())
    assert store.read_plan("msa") == study_plan()
    assert store.studies() == ("msa",)


def test_the_tree_lies_as_the_design_says(store):
    store.write_trial(trial_record())
    store.write_cost(cost_record())
    store.write_plan(study_plan())
    assert files_under(store.root) == [
        "costs/0123456789abcdef/host-cpu.json",
        "msa/plan.json",
        "trials/0123456789abcdef/record.json",
    ]
    trial, study = store.trial("0123456789abcdef"), store.study("msa")
    names = [trial.settings, trial.epochs, trial.steps, trial.predictions, trial.weights, trial.log]
    assert [path.name for path in names] == [
        "settings.yaml",
        "epochs.csv",
        "steps.csv",
        "predictions.npz",
        "weights.safetensors",
        "log.txt",
    ]
    assert [path.name for path in (study.study, study.report_md, study.report_json)] == [
        "study.yaml",
        "report.md",
        "report.json",
    ]


def test_an_absent_tree_holds_nothing_and_stays_absent(store):
    assert store.read_trial("0" * 16) is None
    assert store.read_costs("0" * 16) == ()
    assert store.read_plan("msa") is None
    assert store.read_last() is None
    assert store.read_epochs("0" * 16) == []
    assert store.read_predictions("0" * 16) is None
    assert store.read_progress("0" * 16) is None
    assert list(store.trials()) == []
    assert store.studies() == ()
    assert not store.root.exists()


def test_folders_of_unfinished_trials_and_left_temporaries_count_for_nothing(store):
    store.write_trial(trial_record())
    folder = store.trial("b" * 16).folder
    folder.mkdir()
    (folder / "epochs.csv").write_text("epoch\n1\n")
    (folder / ".record.json.123-abcd.tmp").write_text('{"schema_ver')
    (store.root / "trials" / ".DS_Store").write_text("")
    (store.root / "trials" / "notes").mkdir()
    assert [record.id for record in store.trials()] == [trial_record().id]
    assert store.read_trial("b" * 16) is None


def test_the_study_that_was_run_last(store):
    store.write_plan(study_plan())
    store.write_last("msa")
    assert store.read_last() == "msa"
    store.study("msa").plan.unlink()
    assert store.read_last() is None


# Plans remember


def test_a_plan_keeps_its_date_until_claims_or_analysis_change(store):
    store.write_plan(study_plan())
    later = study_plan(planned="2025-02-02T00:00:00+00:00", seeds=(0, 1, 2))
    written = store.write_plan(later)
    assert (written.planned, written.seeds) == ("2025-01-01T00:00:00+00:00", (0, 1, 2))
    changed = store.write_plan(later.model_copy(update={"analysis_hash": "hash-2"}))
    assert changed.planned == "2025-02-02T00:00:00+00:00"
    assert store.read_plan("msa") == changed


def test_looks_are_never_forgotten(store):
    store.write_plan(study_plan())
    first, second = (Look(date=f"2025-01-0{day}T00:00:00+00:00", finished=day, seeds=1) for day in (2, 3))
    store.add_look("msa", first)
    store.write_plan(study_plan(analysis_hash="hash-2"))
    store.add_look("msa", second)
    assert store.read_plan("msa").looks == (first, second)
    with pytest.raises(StoreError, match="run the study first"):
        store.add_look("other", first)


# Names


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "../msa", "/etc", "MSA", "", "a\n", "trials", "costs", "published"]
)
def test_no_study_name_leaves_its_place(store, name):
    with pytest.raises(StoreError, match="no study"):
        store.study(name)


@pytest.mark.parametrize("trial_id", ["..", "../../etc", "abcdefgh", "0123456789ABCDEF", "", "ab/cd"])
def test_no_id_leaves_its_place(store, trial_id):
    with pytest.raises(StoreError, match="is no trial id"):
        store.trial(trial_id)
    with pytest.raises(StoreError, match="is no cost id"):
        store.read_costs(trial_id)
    with pytest.raises(StoreError, match="is no machine name"):
        store.cost("0" * 16, f"../{trial_id}")


# Refusals


def written(store: Store) -> Path:
    store.write_trial(trial_record())
    return store.trial(trial_record().id).record


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_newer_schema_asks_for_an_upgrade(store):
    path = written(store)
    for changes in ({"schema_version": 3}, {"schema_version": 3, "a_field_of_the_future": 1}):
        edited(path, **changes)
        with pytest.raises(StoreError) as caught:
            store.read_trial(trial_record().id)
        assert str(caught.value) == (
            f"{path} was written by a newer ablate (schema 3, this one reads 1)\n"
            "    upgrade with `pip install --upgrade ablate-bench`, or choose another place with --output DIR"
        )


@pytest.mark.parametrize("version", [0, "one", None])
def test_an_unknown_schema_is_not_guessed_at(store, version):
    path = written(store)
    edited(path, schema_version=version)
    with pytest.raises(StoreError, match=r"which this ablate \(schema 1\) does not read"):
        store.read_trial(trial_record().id)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "torn or was edited by hand"),
        (lambda text: "", "is empty"),
        (
            lambda text: text.replace('"wall_s": 1.5', '"wall_s": "long"'),
            "wall_s: input should be a valid number",
        ),
        (
            lambda text: text.replace('"seed": 0,', '"seed": 0, "sede": 1,', 1),
            "sede: extra inputs are not permitted",
        ),
        (lambda text: text.replace('"done"', '"finished"'), "status: input should be 'done' or 'failed'"),
        (lambda text: text.replace("84.2", "NaN"), "edited by hand"),
        (lambda text: "[]", "edited by hand"),
        (
            lambda text: text.replace("0123456789abcdef", "fedcba9876543210"),
            "its folder says 0123456789abcdef",
        ),
    ],
)
def test_damage_is_named_with_the_way_out_and_nothing_is_overwritten(store, damage, said):
    path = written(store)
    path.write_text(damage(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        store.read_trial(trial_record().id)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "move the file away and run again" in str(caught.value)
    with pytest.raises(StoreError):
        list(store.trials())
    assert path.read_bytes() == before


def test_a_torn_plan_is_not_overwritten(store):
    store.write_plan(study_plan())
    path = store.study("msa").plan
    path.write_text(path.read_text()[:100])
    with pytest.raises(StoreError, match="torn"):
        store.write_plan(study_plan())
    assert len(path.read_text()) == 100


def test_bytes_that_are_no_text(store):
    path = written(store)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(StoreError, match="torn or was edited"):
        store.read_trial(trial_record().id)


# What the disk refuses


def test_a_root_that_is_a_file(tmp_path):
    root = tmp_path / "results"
    root.write_text("not a folder")
    store = Store(root)
    with pytest.raises(StoreError, match=r"a file stands where a folder is needed\n.*--output DIR"):
        store.prepare()
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        store.write_trial(trial_record())
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        store.studies()
    assert root.read_text() == "not a folder"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk or the quota is full\n    free some space and run again"),
        (errno.EDQUOT, "the disk or the quota is full"),
        (errno.EACCES, "permission denied\n    change the permissions"),
        (errno.EROFS, "read-only file system\n    change the permissions"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_disk_refuses_is_a_sentence_and_leaves_the_old_file(store, monkeypatch, number, said):
    path = written(store)
    before = path.read_bytes()

    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError) as caught:
        store.write_trial(trial_record(wall_s=99.0))
    assert f"cannot write {path}: " in str(caught.value)
    assert said in str(caught.value)
    assert path.read_bytes() == before
    assert files_under(path.parent) == ["record.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_write_that_fails_half_way_leaves_no_torn_file(store, monkeypatch):
    """A real full device behind the temporary file."""
    path = written(store)
    before = path.read_bytes()
    real_open = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", **options: (
            real_open(Path("/dev/full"), "w") if "x" in mode else real_open(self, mode, **options)
        ),
    )
    with pytest.raises(StoreError, match="the disk or the quota is full"):
        store.write_trial(trial_record(wall_s=99.0))
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_root_without_permission(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="permission denied"):
        Store(locked / "results").prepare()


def test_preparing_leaves_nothing_but_the_folder(store):
    store.prepare()
    store.prepare()
    assert list(store.root.iterdir()) == []


# Two writers at once


def _write_often(path: str, letter: str) -> None:
    for _ in range(100):
        write_text(Path(path), letter * 50_000, durable=False)


def test_a_reader_beside_two_writers_never_sees_a_torn_file(tmp_path):
    """Forked, since a spawned child could not import this module."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    path = tmp_path / "record.json"
    write_text(path, "a" * 50_000)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(str(path), letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        assert len(text) == 50_000
        assert len(set(text)) == 1
        seen.add(text[0])
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= {"a", "b"}
    assert files_under(tmp_path) == ["record.json"]


# Curves and predictions


def test_curves_come_back_as_numbers(store):
    path = store.trial("0" * 16).epochs
    write_text(path, "epoch,lr,train_loss\n1,0.001,0.5\n2,1e-4,\n")
    assert store.read_epochs("0" * 16) == [
        {"epoch": 1.0, "lr": 0.001, "train_loss": 0.5},
        {"epoch": 2.0, "lr": 0.0001, "train_loss": None},
    ]


@pytest.mark.parametrize("row", ["2,0.1", "2,0.1,0.5,7", "2,0.1,half"])
def test_a_torn_curve_names_its_line(store, row):
    path = store.trial("0" * 16).epochs
    write_text(path, f"epoch,lr,train_loss\n1,0.001,0.5\n{row}\n")
    with pytest.raises(StoreError, match=rf"{path}:3 is torn or was edited by hand"):
        store.read_epochs("0" * 16)


def prediction_arrays(count=5) -> dict[str, np.ndarray]:
    arrays = {name: np.arange(count) for name in ("label", "predicted", "predicted_best", "index")}
    return {**arrays, "probability": np.linspace(0, 1, count, dtype=np.float32)}


def test_predictions_come_back(store):
    path = store.trial("0" * 16).predictions
    path.parent.mkdir(parents=True)
    np.savez(path, **prediction_arrays())
    found = store.read_predictions("0" * 16)
    assert {name: (array.dtype.name, array.tolist()) for name, array in found.items()} == {
        name: (array.dtype.name, array.tolist()) for name, array in prediction_arrays().items()
    }


def test_no_pickle_is_ever_loaded(store):
    path = store.trial("0" * 16).predictions
    path.parent.mkdir(parents=True)
    np.savez(path, **{**prediction_arrays(), "label": np.array([print, 1, 2, 3, 4], dtype=object)})
    with pytest.raises(StoreError, match="torn or was edited by hand"):
        store.read_predictions("0" * 16)


@pytest.mark.parametrize("damage", ["torn", "empty", "missing array", "lengths"])
def test_damaged_predictions_are_named(store, damage):
    path = store.trial("0" * 16).predictions
    path.parent.mkdir(parents=True)
    arrays = prediction_arrays()
    if damage == "missing array":
        del arrays["index"]
    if damage == "lengths":
        arrays["label"] = arrays["label"][:3]
    np.savez(path, **arrays)
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:200])
    if damage == "empty":
        path.write_bytes(b"")
    with pytest.raises(StoreError, match=r"predictions\.npz is torn or was edited by hand"):
        store.read_predictions("0" * 16)
