"""One trial from end to end on real data."""

import csv
import json
import os

import numpy as np
import pytest
import torch
import yaml

import ablate.trial.data
import ablate.trial.network
import ablate.trial.run
from ablate.data import load_images
from ablate.errors import AblateError, DataError
from ablate.record import TrialRecord
from ablate.seeds import derive_seed
from ablate.spec.settings import Settings
from ablate.trial import inspect_variant
from ablate.variants import trial_identity

SE = {"attention": {"name": "se", "args": {"reduction": 4}, "at": ["block*.relu"]}}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def learning(path):
    """The columns of epochs.csv that no clock is in."""
    return [{key: row[key] for key in row if key not in ("seconds", "images_per_s")} for row in rows(path)]


def test_a_trial_on_digits_learns_and_leaves_what_the_record_says(run, settings):
    record, paths = run(settings(**SE))
    assert record.status == "done" and record.metrics.accuracy > 60, "ten classes: chance is 10"
    assert (record.classes, record.train_count + record.validation_count + record.test_count) == (10, 1797)
    assert record.param_count == inspect_variant(settings(**SE), (1, 8, 8), 10).param_count
    assert record.environment.threads == 1 and record.wall_s > 0 and record.images_per_s > 0
    assert TrialRecord.model_validate_json(record.model_dump_json()) == record

    kept = run.store.read_predictions(record.id)
    digits = load_images("digits", cache=paths.folder.parent / "elsewhere")
    np.testing.assert_array_equal(kept["label"], digits.test_labels[kept["index"]])
    assert 100 * (kept["predicted"] == kept["label"]).sum() / len(kept["label"]) == record.metrics.accuracy
    assert (
        100 * (kept["predicted_best"] == kept["label"]).sum() / len(kept["label"])
        == record.metrics.accuracy_best
    )
    assert {name: array.dtype for name, array in kept.items()} == {
        "label": np.int64,
        "predicted": np.int64,
        "predicted_best": np.int64,
        "probability": np.float32,
        "index": np.int64,
    }
    assert ((kept["probability"] >= 0.1) & (kept["probability"] <= 1)).all()

    epochs, steps = run.store.read_epochs(record.id), run.store.read_steps(record.id)
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert epochs[-1]["validation_accuracy"] == record.metrics.validation_accuracy
    assert epochs[-1]["train_loss"] == record.metrics.train_loss
    per_epoch = -(-record.train_count // 32)
    assert [row["step"] for row in steps] == list(range(1, 2 * per_epoch + 1))

    assert Settings.model_validate(yaml.safe_load(paths.settings.read_text())) == settings(**SE)
    log = paths.log.read_text()
    assert "epoch 2:" in log and f"test accuracy {record.metrics.accuracy:.2f} %" in log
    assert not paths.record.exists() and not paths.progress.exists() and not paths.weights.exists()
    assert {path.name for path in paths.folder.iterdir()} == {
        path.name for path in (paths.settings, paths.epochs, paths.steps, paths.predictions, paths.log)
    }


def test_a_trial_on_the_shipped_images(run, settings):
    chosen = settings(
        train={"epochs": 1, "batch_size": 64},
        data={"source": "fashion-mini", "fraction": 0.05, "augment": {"crop": 2, "flip": True, "rotate": 5}},
        attention={"name": "msa", "args": {"reduction": 4}, "at": ["block3"]},
    )
    record, _ = run(chosen)
    assert (record.train_count, record.validation_count, record.test_count) == (270, 30, 2000)
    assert record.metrics.accuracy > 20


def test_two_runs_leave_the_same_bytes(run, settings):
    chosen = settings(train={"keep": "last"}, **SE)
    (_, first), (_, second) = run(chosen), run(chosen, root="again")
    for name in ("predictions", "weights", "steps", "settings"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes(), name
    assert learning(first.epochs) == learning(second.epochs)
    _, other = run(chosen, seed=1)
    assert other.steps.read_bytes() != first.steps.read_bytes()


def test_deterministic_mode_runs_and_ends(run, settings):
    before = torch.are_deterministic_algorithms_enabled()
    run(
        settings(
            train={"deterministic": True, "epochs": 1},
            data={"augment": {"crop": 2, "jitter": 0.2, "rotate": 9}},
        )
    )
    assert torch.are_deterministic_algorithms_enabled() == before


def test_a_trial_in_stages_is_told_from_its_curves_and_its_log(run, settings, stages):
    record, paths = run(settings(train=stages, **SE))
    assert record.status == "done"
    assert [(row["epoch"], row["stage"]) for row in rows(paths.epochs)] == [
        ("1", "1"),
        ("2", "2"),
        ("3", "2"),
    ]
    assert "stage 2 of 2, epoch 3" in paths.log.read_text()


def test_a_lone_last_image_is_left_out_and_said(run, settings):
    record, paths = run(settings(train={"batch_size": 646, "epochs": 1}))
    assert record.train_count == 2 * 646 + 1
    assert len(rows(paths.steps)) == 2
    (warning,) = [text for text in record.warnings if "last batch" in text]
    assert warning.startswith("1293 training images in batches of 646 leave a last batch of one image")


def test_a_faster_way_that_cannot_be_taken_is_said_in_log_and_record(run, settings):
    record, paths = run(settings(train={"accelerate": "graphs", "epochs": 1}))
    said = "train.accelerate: graphs: plain steps: CUDA graphs need a CUDA device, this is cpu"
    assert record.warnings == (said,)
    assert said in paths.log.read_text()
    plain, _ = run(settings(train={"epochs": 1}), root="plain")
    assert (plain.id, plain.warnings) == (record.id, ())
    assert plain.metrics == record.metrics


def test_a_trial_starts_from_the_weights_of_another(run, settings):
    first, paths = run(settings(train={"epochs": 3, "keep": "last"}))
    still = settings(train={"epochs": 1, "optimizer": {"lr": 1e-12}}, weights=str(paths.weights))
    scratch = settings(train={"epochs": 1, "optimizer": {"lr": 1e-12}})
    again, _ = run(still, seed=1)
    assert first.metrics.accuracy > 50 > run(scratch, seed=1)[0].metrics.accuracy
    assert abs(again.metrics.accuracy - first.metrics.accuracy) < 5


# Hygiene and pairing


def test_test_labels_reach_no_weight_no_rate_and_no_choice(run, users_own, settings):
    left = {}
    for kind in ("clean", "poisoned"):
        chosen = settings(
            train={
                "keep": "best",
                "schedule": {"name": "plateau", "patience": 0, "factor": 0.5},
                "epochs": 4,
            },
            data={"source": f"users_own_module:{kind}"},
        )
        left[kind] = run(chosen)
    (clean, clean_paths), (poisoned, poisoned_paths) = left["clean"], left["poisoned"]
    assert clean.metrics.accuracy - poisoned.metrics.accuracy > 50
    assert clean_paths.weights.read_bytes() == poisoned_paths.weights.read_bytes()
    assert clean_paths.steps.read_bytes() == poisoned_paths.steps.read_bytes()
    assert learning(clean_paths.epochs) == learning(poisoned_paths.epochs)
    assert clean.metrics.best_epoch == poisoned.metrics.best_epoch


def test_a_module_that_changes_nothing_changes_nothing(run, users_own, settings):
    """The baseline's initialisation, order, augmentation and dropout, though the module drew numbers."""
    attention = {"name": "users_own_module:Pass", "at": ["block1", "block3.relu"]}
    augment = {"augment": {"crop": 1, "flip": True, "jitter": 0.2, "rotate": 10}}
    (_, plain), (record, passed) = (
        run(settings(data=augment)),
        run(settings(data=augment, attention=attention)),
    )
    assert record.param_count > inspect_variant(settings(), (1, 8, 8), 10).param_count
    assert plain.steps.read_bytes() == passed.steps.read_bytes()
    assert plain.predictions.read_bytes() == passed.predictions.read_bytes()


def test_every_stream_is_derived_from_the_trials_seed_by_role(run, monkeypatch, settings):
    seen = {}

    def spy(module, name, *arguments):
        real = getattr(module, name)

        def call(*args, **kwargs):
            for argument in arguments:
                if kwargs.get(argument) is not None:
                    seen[argument] = kwargs[argument]
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    spy(ablate.trial.network, "build_network", "backbone_seed", "attention_seed")
    spy(ablate.trial.data, "Batches", "order_generator_seed", "augment_seed")
    spy(ablate.trial.run, "fit", "dropout_seed")
    run(settings(train={"epochs": 1}), seed=7)
    assert seen == {
        "backbone_seed": derive_seed(7, "backbone"),
        "attention_seed": derive_seed(7, "attention"),
        "order_generator_seed": derive_seed(7, "order"),
        "augment_seed": derive_seed(7, "augment"),
        "dropout_seed": derive_seed(7, "dropout"),
    }
    assert len(set(seen.values())) == 5


# While it runs, and when it breaks


def test_progress_lies_in_the_folder_while_the_trial_runs(run, tmp_path, settings):
    told, found = [], []

    def listen(figures):
        told.append(figures)
        (path,) = (tmp_path / "results").rglob("progress.json")
        found.append(json.loads(path.read_text()))

    run(settings(), on_progress=listen)
    assert told and [{key: said[key] for key in told[0]} for said in found] == told
    assert found[0]["pid"] == os.getpid() and {"host", "updated", "loss", "accuracy"} <= found[0].keys()
    assert (found[0]["epoch"], found[0]["epochs"], found[0]["step"]) == (1, 2, 1)


def test_other_data_or_another_precision_than_planned_are_refused(run, cache, settings):
    chosen = settings()
    fingerprint = load_images("digits", cache=cache).fingerprint
    with pytest.raises(AblateError, match="planned in bf16, but cpu runs it in fp32"):
        run(chosen, identity=trial_identity(chosen, 0, data_fingerprint=fingerprint, precision="bf16"))
    with pytest.raises(DataError, match="changed since the study was planned"):
        run(chosen, identity=trial_identity(chosen, 0, data_fingerprint="0" * 64, precision="fp32"))


def test_weights_that_are_not_there_are_said_before_training(run, tmp_path, settings):
    absent = settings(weights=str(tmp_path / "absent.pth"))
    with pytest.raises(AblateError, match=r"absent\.pth': there is no such file"):
        run(absent, identity={})
    with pytest.raises(AblateError, match=r"absent\.pth': there is no such file"):
        inspect_variant(absent, (3, 32, 32), 10)
    with pytest.raises(AblateError, match="'pretraining:first' comes with no file of its trial"):
        run(settings(weights="pretraining:first"), identity={})
