"""One trial from end to end on real data, and what is known of a variant before it is trained."""

import csv
import json
import os
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

import ablate.trial
from ablate.data import load_images
from ablate.environment import describe
from ablate.errors import AblateError, DataError
from ablate.execute import ExecutionFailure, describe_error
from ablate.record import TrialRecord
from ablate.seeds import derive_seed
from ablate.spec.settings import Settings
from ablate.store import Store
from ablate.train import NonFiniteLoss, evaluate
from ablate.trial import (
    _Data,
    build_for,
    failed_record,
    inspect_variant,
    make_recipe,
    measure_cost,
    measured_step,
    run_trial,
)
from ablate.variants import cost_id, identity_hash, trial_identity, variant_id

USERS_OWN = '''
import numpy as np
import torch
from torch import nn


class Pass(nn.Module):
    """Attention that draws random numbers to be built, has parameters, and changes nothing."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x):
        return x + 0 * self.fc.weight.sum()


def _images(poison):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * 15.9375).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    test_labels = labels[1000:1400].copy()
    if poison:
        test_labels = (test_labels + 1) % 10
    return images[:1000], labels[:1000], images[1000:1400], test_labels


def clean(root):
    return _images(poison=False)


def poisoned(root):
    return _images(poison=True)


def by_class(root):
    images, labels, test, test_labels = _images(poison=False)
    order = np.argsort(test_labels, kind="stable")
    return images, labels, test[order], test_labels[order]
'''


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return describe("cpu", threads=1, cwd=tmp_path_factory.mktemp("no-repository"))


@pytest.fixture
def users_own(tmp_path, monkeypatch):
    (tmp_path / "users_own_module.py").write_text(USERS_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("users_own_module", None)


def settings(train=None, data=None, **model):
    """A quarter of the S1 network on 8×8 digits, two epochs."""
    chosen = {
        "data": {"source": "digits", "augment": {"crop": 1}, **(data or {})},
        "model": {"backbone": "cnn", "args": {"width": 0.25}, **model},
        "train": {"epochs": 2, "batch_size": 32, "optimizer": {"lr": 3e-3}, **(train or {})},
    }
    return Settings.model_validate(chosen)


SE = {"attention": {"name": "se", "args": {"reduction": 4}, "at": ["block*.relu"]}}


@pytest.fixture
def run(tmp_path, cache, environment):
    """run(settings, seed) -> (record, paths of its files)."""
    store = Store(tmp_path / "results")

    def one(chosen, seed=0, *, identity=None, root="results", on_progress=None):
        where = Store(tmp_path / root)
        if identity is None:
            images = load_images(chosen.data.source, cache=cache)
            precision = make_recipe(chosen, "cpu").precision
            identity = trial_identity(chosen, seed, data_fingerprint=images.fingerprint, precision=precision)
        trial_id = identity_hash(identity)
        record = run_trial(
            chosen,
            seed,
            folder=where.trial(trial_id).folder,
            trial_id=trial_id,
            variant_id=variant_id(chosen),
            identity=identity,
            environment=environment,
            cache=cache,
            on_progress=on_progress,
        )
        return record, where.trial(trial_id)

    one.store = store
    return one


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def learning(path):
    """The columns of epochs.csv that no clock is in."""
    return [{key: row[key] for key in row if key not in ("seconds", "images_per_s")} for row in rows(path)]


# The whole way


def test_a_trial_on_digits_learns_and_leaves_what_the_record_says(run):
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


def test_a_trial_on_the_shipped_images(run):
    chosen = settings(
        train={"epochs": 1, "batch_size": 64},
        data={"source": "fashion-mini", "fraction": 0.05, "augment": {"crop": 2, "flip": True, "rotate": 5}},
        attention={"name": "msa", "args": {"reduction": 4}, "at": ["block3"]},
    )
    record, _ = run(chosen)
    assert (record.train_count, record.validation_count, record.test_count) == (270, 30, 2000)
    assert record.metrics.accuracy > 20


def test_two_runs_leave_the_same_bytes(run):
    chosen = settings(train={"keep": "last"}, **SE)
    (_, first), (_, second) = run(chosen), run(chosen, root="again")
    for name in ("predictions", "weights", "steps", "settings"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes(), name
    assert learning(first.epochs) == learning(second.epochs)
    _, other = run(chosen, seed=1)
    assert other.steps.read_bytes() != first.steps.read_bytes()


def test_deterministic_mode_runs_and_ends(run):
    before = torch.are_deterministic_algorithms_enabled()
    run(
        settings(
            train={"deterministic": True, "epochs": 1},
            data={"augment": {"crop": 2, "jitter": 0.2, "rotate": 9}},
        )
    )
    assert torch.are_deterministic_algorithms_enabled() == before


@pytest.mark.parametrize("keep", ["last", "best"])
def test_kept_weights_give_the_predictions_again(run, cache, keep):
    # A rate that rises until it destroys what the first epochs learnt: the last epoch is not the best.
    rising = {"optimizer": {"lr": 0.3}, "schedule": {"name": "cosine", "warmup": 3.9}}
    chosen = settings(train={"keep": keep, "epochs": 4, **rising})
    record, paths = run(chosen)
    assert record.metrics.best_epoch < 4
    data = _Data.prepare(chosen, 0, make_recipe(chosen, "cpu"), "cpu", load_images("digits", cache=cache))
    network = build_for(chosen, (1, 8, 8), 10, seed=5)
    safetensors.torch.load_model(network, str(paths.weights))
    predicted = evaluate(network, data.test_batches(), device="cpu").predicted
    kept = run.store.read_predictions(record.id)
    assert not np.array_equal(kept["predicted"], kept["predicted_best"])
    np.testing.assert_array_equal(predicted, kept["predicted" if keep == "last" else "predicted_best"])


def test_weights_of_an_earlier_run_do_not_outlive_one_that_keeps_none(run):
    _, paths = run(settings(train={"keep": "last"}))
    assert paths.weights.is_file()
    _, same = run(settings())
    assert same == paths and not paths.weights.exists()


# Hygiene and pairing


def test_test_labels_reach_no_weight_no_rate_and_no_choice(run, users_own):
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


def test_a_module_that_changes_nothing_changes_nothing(run, users_own):
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


def test_every_stream_is_derived_from_the_trials_seed_by_role(run, monkeypatch):
    seen = {}

    def spy(name, *arguments):
        real = getattr(ablate.trial, name)

        def call(*args, **kwargs):
            for argument in arguments:
                if kwargs.get(argument) is not None:
                    seen[argument] = kwargs[argument]
            return real(*args, **kwargs)

        monkeypatch.setattr(ablate.trial, name, call)

    spy("build_network", "backbone_seed", "attention_seed")
    spy("Batches", "order_generator_seed", "augment_seed")
    spy("fit", "dropout_seed")
    run(settings(train={"epochs": 1}), seed=7)
    assert seen == {
        "backbone_seed": derive_seed(7, "backbone"),
        "attention_seed": derive_seed(7, "attention"),
        "order_generator_seed": derive_seed(7, "order"),
        "augment_seed": derive_seed(7, "augment"),
        "dropout_seed": derive_seed(7, "dropout"),
    }
    assert len(set(seen.values())) == 5


def test_the_split_is_the_studys_unless_it_is_to_differ_by_seed(cache):
    digits = load_images("digits", cache=cache)

    def rows_of(seed, **data):
        chosen = settings(data=data)
        return _Data.prepare(
            chosen, seed, make_recipe(chosen, "cpu"), "cpu", digits
        ).split.validation.tolist()

    assert rows_of(0) == rows_of(1) != rows_of(0, split_seed=1)
    assert (
        rows_of(0, split="per-seed")
        != rows_of(1, split="per-seed")
        == rows_of(1, split="per-seed", split_seed=9)
    )
    assert rows_of(3, split="per-seed") == rows_of(0, split_seed=derive_seed(3, "split"))


def test_the_statistics_are_those_of_the_training_part_alone(cache):
    digits = load_images("digits", cache=cache)
    chosen = settings(data={"fraction": 0.2})
    data = _Data.prepare(chosen, 0, make_recipe(chosen, "cpu"), "cpu", digits)
    pixels = digits.train[data.split.train] / 255
    assert (data.mean[0], data.std[0]) == pytest.approx((pixels.mean(), pixels.std()))
    seen = torch.cat([x for x, _ in data.plain_batches(data.split.train).epoch(0)])
    assert (seen.mean().item(), seen.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-5)


# While it runs, and when it breaks


def test_progress_lies_in_the_folder_while_the_trial_runs(run, tmp_path):
    told, found = [], []

    def listen(figures):
        told.append(figures)
        (path,) = (tmp_path / "results").rglob("progress.json")
        found.append(json.loads(path.read_text()))

    run(settings(), on_progress=listen)
    assert told and [{key: said[key] for key in told[0]} for said in found] == told
    assert found[0]["pid"] == os.getpid() and {"host", "updated", "loss", "accuracy"} <= found[0].keys()
    assert (found[0]["epoch"], found[0]["epochs"], found[0]["step"]) == (1, 2, 1)


def test_a_trial_that_breaks_down_leaves_its_log_and_no_progress(run, tmp_path, environment):
    chosen = settings(train={"optimizer": {"name": "sgd", "lr": 1e38}})
    with pytest.raises(NonFiniteLoss) as caught:
        run(chosen)
    (log,) = (tmp_path / "results").rglob("log.txt")
    assert "ended by NonFiniteLoss: the training loss is" in log.read_text()
    assert not list((tmp_path / "results").rglob("*progress*"))

    failure = describe_error(caught.value)
    record = failed_record(
        trial_id="ab12",
        variant_id="cd34",
        seed=3,
        identity={"seed": 3},
        environment=environment,
        started="2026-01-01T00:00:00+00:00",
        wall_s=1.5,
        kind=failure.kind,
        message=failure.message,
        traceback=failure.traceback,
        error=failure.error,
        log=log,
    )
    assert (record.status, record.failure.kind, record.metrics) == ("failed", "non-finite", None)
    assert "fit.py" in record.failure.traceback and "lr 1e+38" in record.failure.message
    assert record.failure.log_tail[-1] == log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("crashed", "crashed"),
        ("timeout", "timeout"),
        ("out-of-memory", "out-of-memory"),
        ("cancelled", "interrupted"),
    ],
)
def test_failures_of_the_executor_become_records(environment, tmp_path, given, kind):
    failure = ExecutionFailure(given, "worker gone")
    record = failed_record(
        trial_id="ab12",
        variant_id="cd34",
        seed=0,
        identity={},
        environment=environment,
        started="2026-01-01T00:00:00+00:00",
        wall_s=0.0,
        kind=failure.kind,
        message=failure.message,
        log=tmp_path / "absent.txt",
    )
    assert (record.failure.kind, record.failure.message, record.failure.log_tail) == (kind, "worker gone", ())


def test_a_lone_last_image_is_left_out_and_said(run):
    record, paths = run(settings(train={"batch_size": 646, "epochs": 1}))
    assert record.train_count == 2 * 646 + 1
    assert len(rows(paths.steps)) == 2
    (warning,) = [text for text in record.warnings if "last batch" in text]
    assert warning.startswith("1293 training images in batches of 646 leave a last batch of one image")


def test_a_faster_way_that_cannot_be_taken_is_said_in_log_and_record(run):
    record, paths = run(settings(train={"accelerate": "graphs", "epochs": 1}))
    said = "train.accelerate: graphs: plain steps: CUDA graphs need a CUDA device, this is cpu"
    assert record.warnings == (said,)
    assert said in paths.log.read_text()
    plain, _ = run(settings(train={"epochs": 1}), root="plain")
    assert (plain.id, plain.warnings) == (record.id, ())
    assert plain.metrics == record.metrics


def test_other_data_or_another_precision_than_planned_are_refused(run, cache):
    chosen = settings()
    fingerprint = load_images("digits", cache=cache).fingerprint
    with pytest.raises(AblateError, match="planned in bf16, but cpu runs it in fp32"):
        run(chosen, identity=trial_identity(chosen, 0, data_fingerprint=fingerprint, precision="bf16"))
    with pytest.raises(DataError, match="changed since the study was planned"):
        run(chosen, identity=trial_identity(chosen, 0, data_fingerprint="0" * 64, precision="fp32"))


def test_weights_that_are_not_there_are_said_before_training(run, tmp_path):
    absent = settings(weights=str(tmp_path / "absent.pth"))
    with pytest.raises(AblateError, match=r"absent\.pth': there is no such file"):
        run(absent, identity={})
    with pytest.raises(AblateError, match=r"absent\.pth': there is no such file"):
        inspect_variant(absent, (3, 32, 32), 10)
    with pytest.raises(AblateError, match="'pretraining:first' comes with no file of its trial"):
        run(settings(weights="pretraining:first"), identity={})


def test_a_trial_starts_from_the_weights_of_another(run):
    first, paths = run(settings(train={"epochs": 3, "keep": "last"}))
    still = settings(train={"epochs": 1, "optimizer": {"lr": 1e-12}}, weights=str(paths.weights))
    scratch = settings(train={"epochs": 1, "optimizer": {"lr": 1e-12}})
    again, _ = run(still, seed=1)
    assert first.metrics.accuracy > 50 > run(scratch, seed=1)[0].metrics.accuracy
    assert abs(again.metrics.accuracy - first.metrics.accuracy) < 5


# Recipes


STAGES = {
    "optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 1e-3, "args": {"momentum": 0.9}},
    "schedule": {"name": "step", "step_size": 1, "gamma": 0.5},
    "stages": [
        {"epochs": 1, "train": ["head", "attention"]},
        {
            "epochs": 2,
            "lr": {"block*": 1e-3, "attention": 1e-2},
            "optimizer": {"name": "adamw", "decay_on": "weights"},
            "schedule": {"name": "cosine"},
        },
    ],
}


def test_every_setting_of_a_recipe_reaches_it():
    more = {"steps": 7, "lr": {"head": 0.5}, "accumulate": 2, "gradient_checkpointing": True}
    whole = make_recipe(settings(train=more), "cpu")
    assert (whole.steps, whole.lr_by, whole.accumulate, whole.gradient_checkpointing) == (
        7,
        {"head": 0.5},
        2,
        True,
    )
    first, second = make_recipe(settings(train=STAGES), "cpu").of_stages()
    assert (first.train, first.optimizer, first.lr, first.lr_by) == (("head", "attention"), "sgd", 0.05, {})
    assert (first.optimizer_args["momentum"], first.weight_decay, first.decay_on) == (0.9, 1e-3, "all")
    assert (first.schedule, first.schedule_args) == ("step", {"step_size": 1, "gamma": 0.5})
    assert (second.epochs, second.train, second.lr_by) == (2, ("*",), {"block*": 1e-3, "attention": 1e-2})
    assert (second.optimizer, second.lr, second.decay_on) == ("adamw", 1e-3, "weights")
    assert second.schedule == "cosine" and second.schedule_args == {"warmup": 0.0, "floor": 0.0}


def test_a_trial_in_stages_is_told_from_its_curves_and_its_log(run):
    record, paths = run(settings(train=STAGES, **SE))
    assert record.status == "done"
    assert [(row["epoch"], row["stage"]) for row in rows(paths.epochs)] == [
        ("1", "1"),
        ("2", "2"),
        ("3", "2"),
    ]
    assert "stage 2 of 2, epoch 3" in paths.log.read_text()


def test_a_glob_of_the_recipe_that_names_nothing_is_found_before_training():
    train = {"lr": {"blok1": 0.1, "attention.block9": 0.1}}
    with pytest.raises(AblateError, match=r"train.lr: 'blok1' names no(.|\n)*'attention.block9' names no"):
        inspect_variant(settings(train=train, **SE), (1, 8, 8), 10)
    for ways in (STAGES, {"lr": {"attention": 1e-4}}):
        assert inspect_variant(settings(train=ways), (1, 8, 8), 10).attached == (), "without attention"


def test_one_step_of_a_recipe_of_stages_is_measured(cache):
    chosen = settings(train=STAGES | {"gradient_checkpointing": True, "accumulate": 2}, **SE)
    assert measured_step(chosen, load_images("digits", cache=cache), "cpu", steps=2) > 0


# Before training


def s1(**attention):
    return Settings.model_validate({"model": {"attention": attention or None}})


def test_the_known_answers_of_s1():
    plain = inspect_variant(s1(), (3, 32, 32), 10)
    assert (plain.param_count, plain.macs, plain.attached) == (1_147_914, 11_375_616, ())
    se = inspect_variant(s1(name="se", at=["block*.relu"]), (3, 32, 32), 10)
    added = [2 * channels**2 // 16 for channels in (32, 64, 128)]
    assert se.param_count == 1_150_602 == plain.param_count + sum(added)
    assert se.macs - plain.macs == se.attention_macs == se.attention_param_count == sum(added)
    assert [(module.path, module.channels, module.param_count) for module in se.attached] == [
        (f"block{number}.relu", channels, count)
        for number, (channels, count) in enumerate(zip((32, 64, 128), added, strict=True), start=1)
    ]


def test_inspection_leaves_the_random_state():
    before = torch.get_rng_state()
    inspect_variant(settings(**SE), (1, 8, 8), 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_place_that_matches_nothing_is_found_before_training():
    with pytest.raises(
        AblateError, match=r"no module of the backbone matches 'block4'(.|\n)*did you mean 'block"
    ):
        inspect_variant(s1(name="se", at=["block4"]), (3, 32, 32), 10)


def test_a_cost_record_holds_what_inspection_found(environment):
    chosen = s1(name="msa", args={"reduction": 8}, at=["block2", "block3"])
    cost, found = (
        measure_cost(chosen, image_shape=(3, 32, 32), classes=10, environment=environment),
        inspect_variant(chosen, (3, 32, 32), 10),
    )
    assert cost.id == cost_id(chosen, input_shape=(3, 32, 32), classes=10)
    assert (cost.param_count, cost.macs, cost.attention_macs) == (
        found.param_count,
        found.macs,
        found.attention_macs,
    )
    assert cost.attention_modules == found.attached and cost.machine == environment.machine
    assert (cost.latency_ms, cost.peak_memory_bytes) == (None, None)


def test_one_step_is_measured_even_where_an_epoch_has_one(cache):
    digits = load_images("digits", cache=cache)
    for batch_size in (32, 5000):
        seconds = measured_step(settings(train={"batch_size": batch_size}), digits, "cpu", steps=2)
        assert np.isfinite(seconds) and seconds > 0


def test_a_shuffled_gate_meets_other_classes_where_test_images_lie_class_by_class(
    run, users_own, monkeypatch
):
    """It takes the gate of the image before; the predictions still stand in the order of the source."""
    read = []

    def evaluate_and_tell(network, batches, **how):
        read.append(next(iter(batches.epoch(0)))[1].numpy())
        return evaluate(network, batches, **how)

    monkeypatch.setattr("ablate.trial.evaluate", evaluate_and_tell)
    data = {"source": "users_own_module:by_class"}
    se = SE["attention"]
    neighbours = {}
    for gate in ("own", "shuffled"):
        _, paths = run(settings(data=data, attention={**se, "gate": gate}))
        neighbours[gate] = np.mean(read[-1][1:] == read[-1][:-1])
        with np.load(paths.predictions) as saved:
            assert list(saved["label"]) == sorted(saved["label"])
            accuracy = np.mean(saved["predicted"] == saved["label"])
        assert accuracy > 0.3  # a label beside another image's prediction would be right one time in ten
    assert neighbours["own"] > 0.9
    assert neighbours["shuffled"] < 0.4
