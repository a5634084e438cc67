"""Atomic writes, checked reads, and sentences that say what to do."""

from __future__ import annotations

import json
import os
import shutil
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
from ablate.store import Store, find_damage, naming_all_damage, write_text

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
    written = store.write_plan(study_plan())
    assert store.read_plan("msa") == written
    assert written.model_copy(update={"first_written": {}}) == study_plan()
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


def written(store: Store, trial_id: str = "0123456789abcdef") -> Path:
    store.write_trial(trial_record(trial_id))
    return store.trial(trial_id).record


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


def test_all_that_is_damaged_is_named_in_one_error_and_left_as_it_is(store):
    plan = store.write_plan(study_plan())
    torn, edited = written(store, "a" * 16), written(store, "b" * 16)
    torn.write_text(torn.read_text()[:100])
    edited.write_text(edited.read_text().replace('"done"', '"finished"'))
    store.write_cost(cost_record().model_copy(update={"id": "1" * 12}))
    cost = store.cost("1" * 12, "host-cpu")
    cost.write_text(json.dumps({**json.loads(cost.read_text()), "schema_version": 99}))
    before = [path.read_bytes() for path in (torn, edited, cost)]
    assert [damage.path for damage in find_damage(store, plan)] == [torn, edited, cost]
    with pytest.raises(StoreError) as caught, naming_all_damage(store, "msa"):
        store.read_trial("a" * 16)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 files of the results tree cannot be taken as they are:"
    assert lines[1].startswith(f"  {torn} is torn or was edited by hand")
    assert lines[2].startswith(f"  {edited} was edited by hand or is not ours: status")
    assert lines[3].startswith("    nothing was overwritten; move each of these files away and run again")
    assert lines[4].startswith(f"  {cost} was written by a newer ablate")
    assert "upgrade" in lines[5]
    assert [path.read_bytes() for path in (torn, edited, cost)] == before


def test_one_damaged_file_is_named_as_ever(store):
    store.write_plan(study_plan())
    torn = written(store, "a" * 16)
    torn.write_text("")
    with pytest.raises(StoreError) as caught, naming_all_damage(store, "msa"):
        store.read_trial("a" * 16)
    assert str(caught.value).startswith(f"{torn} is empty\n    nothing was overwritten; move the file away")


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


def test_bytes_gone_wrong_anywhere_in_predictions_never_end_in_anything_but_a_sentence(store):
    """Every byte of a small archive turned over, one after another."""
    path = store.trial("0" * 16).predictions
    path.parent.mkdir(parents=True)
    np.savez_compressed(path, **prediction_arrays())
    content = path.read_bytes()
    refused = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            store.read_predictions("0" * 16)
        except StoreError:
            refused += 1
    assert refused > len(content) / 2


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"schema_version": 1' + b"0" * 5000 + b"}", b"\x00"])
def test_what_no_parser_should_be_given(store, content):
    path = written(store)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"torn|edited"):
        store.read_trial(trial_record().id)
    store.trial(trial_record().id).progress.write_bytes(content)
    assert store.read_progress(trial_record().id) is None


def test_progress_of_infinite_numbers_is_none(store):
    progress = store.trial("0" * 16).progress
    write_text(progress, '{"pid": 1e999, "host": "h"}')
    assert store.read_progress("0" * 16) is None


# Folders of two machines over one another


def finished(store: Store, shift: int) -> TrialRecord:
    """A trial with its files; another shift, other predictions."""
    paths = store.trial(trial_record().id)
    paths.folder.mkdir(parents=True)
    arrays = prediction_arrays()
    np.savez(paths.predictions, **{**arrays, "predicted": arrays["predicted"] + shift})
    write_text(paths.epochs, f"epoch,train_loss\n1,{shift}\n")
    return store.write_trial(trial_record(wall_s=1.0 + shift))


def test_a_record_vouches_for_the_files_beside_it(store):
    record = finished(store, 0)
    assert sorted(record.files) == ["epochs.csv", "predictions.npz"]
    assert store.read_trial(record.id) == record
    store.check_files(record.id)
    assert store.read_epochs(record.id) == [{"epoch": 1.0, "train_loss": 0.0}]
    store.trial(record.id).epochs.unlink()  # what was left away is no contradiction
    store.check_files(record.id)


@pytest.mark.parametrize("name", ["record.json", "predictions.npz", "epochs.csv"])
def test_a_folder_of_two_runs_is_told(tmp_path, name):
    """The same trial trained on two machines, and one file of the one copied over that of the other."""
    ours, theirs = Store(tmp_path / "ours"), Store(tmp_path / "theirs")
    trial_id = finished(ours, 0).id
    finished(theirs, 1)
    folder = ours.trial(trial_id).folder
    (folder / name).write_bytes((theirs.trial(trial_id).folder / name).read_bytes())
    with pytest.raises(StoreError, match="holds files of two runs") as caught:
        ours.check_files(trial_id)
    assert f"copy the whole folder {trial_id} again" in str(caught.value)
    if name != "epochs.csv":
        with pytest.raises(StoreError, match=r"predictions\.npz is not the file that record\.json"):
            ours.read_predictions(trial_id)


def test_trees_of_two_machines_merge_by_copying(tmp_path):
    ours, theirs = Store(tmp_path / "ours"), Store(tmp_path / "theirs")
    finished(ours, 0)
    other = theirs.write_trial(trial_record("f" * 16))
    theirs.write_cost(cost_record("b-host"))
    ours.write_cost(cost_record("host-cpu"))
    shutil.copytree(theirs.root, ours.root, dirs_exist_ok=True)
    assert [record.id for record in ours.trials()] == [trial_record().id, other.id]
    assert [cost.machine for cost in ours.read_costs("0123456789abcdef")] == ["b-host", "host-cpu"]


def test_records_from_before_vouch_for_nothing_and_are_read(store):
    path = written(store)
    document = json.loads(path.read_text())
    del document["files"]
    path.write_text(json.dumps(document))
    write_text(store.trial(trial_record().id).epochs, "epoch\n1\n")
    assert store.read_epochs(trial_record().id) == [{"epoch": 1.0}]


def test_a_study_folder_that_was_renamed_is_not_taken_for_another_study(store):
    store.write_plan(study_plan())
    store.study("msa").folder.rename(store.root / "msa-old")
    with pytest.raises(StoreError, match="is the plan of study 'msa', but its folder is named 'msa-old'"):
        store.read_plan("msa-old")


# Links


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_nothing_is_read_or_written_through_a_link_out_of_the_tree(store, tmp_path):
    outside = tmp_path / "home"
    outside.mkdir()
    (store.root / "trials").mkdir(parents=True)
    (store.root / "costs").mkdir()
    trial_id = trial_record().id
    for link in (store.trial(trial_id).folder, store.study("msa").folder, store.root / "costs" / trial_id):
        link.symlink_to(outside, target_is_directory=True)
    attempts = (
        lambda: store.read_trial(trial_id),
        lambda: store.write_trial(trial_record()),
        lambda: store.read_predictions(trial_id),
        lambda: store.take_trial(trial_id),
        lambda: store.write_plan(study_plan()),
        lambda: store.write_cost(cost_record()),
    )
    for attempt in attempts:
        with pytest.raises(StoreError, match="a symbolic link that leads out of the results tree"):
            attempt()
    assert list(outside.iterdir()) == []
    assert files_under(store.root) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("place", ["trial", "again", "tables"])
def test_a_link_among_the_files_that_are_written_is_refused_first(store, tmp_path, place):
    """Else the log of a trial would be written over what it points to."""
    victim = tmp_path / "profile"
    victim.write_text("precious")
    trial_id = trial_record().id
    folder = {
        "trial": store.trial(trial_id).folder,
        "again": store.trial_again(trial_id).folder,
        "tables": store.study("msa").tables,
    }[place]
    folder.mkdir(parents=True)
    (folder / "log.txt").symlink_to(victim)
    with pytest.raises(StoreError, match="leads out of the results tree"):
        store.write_plan(study_plan()) if place == "tables" else store.take_trial(trial_id)
    assert store.look_at_lock(trial_id) is None


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "scratch", target_is_directory=True)
    store = Store(tmp_path / "results")
    store.write_trial(trial_record())
    assert store.read_trial(trial_record().id) == trial_record()
