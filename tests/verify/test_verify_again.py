"""A trial that is whole comes out the same; whatever is planted in it is found."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

import ablate.trial
from ablate.cli import main
from ablate.errors import AblateError
from ablate.execute import ExecutionFailure
from ablate.runner import plan_study, run_job
from ablate.runner.job import write_failure
from ablate.spec import load_study
from ablate.store import Store
from ablate.verify import again, render_verification, verify_trial

OWN = '''
from pathlib import Path

import numpy as np
from torch import nn


class Scale(nn.Module):
    """Draws from torch's generator in the forward pass, as dropout does."""

    def __init__(self, channels):
        super().__init__()
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        return self.drop(x)


def images(root):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images * 15.9375).astype(np.uint8), digits.target.astype(np.int64)
    other = Path(__file__).with_name("other_labels")
    labels = (labels + other.exists()) % 10
    return images[:300], labels[:300], images[300:400], labels[300:400]
'''
STUDY = """\
name: tiny
baseline: baseline
seeds: [0]
defaults:
  data: {source: "verified_own:images", augment: {crop: 1}}
  model:
    backbone: cnn
    args: {width: 0.125}
    attention: {name: "verified_own:Scale", at: [block2]}
  train: {epochs: 2, batch_size: 32, keep: last}
pretraining:
  first: {data.classes: [0, 1, 2]}
variants:
  baseline: {}
  started: {model.weights: 'pretraining:first', train.epochs: 1, train.keep: none}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the user's module and a results tree in which every trial is done."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "verified_own.py").write_text(OWN)
    (folder / "tiny.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_CACHE", str(folder / "cache"))
        patch.syspath_prepend(folder)
        plan = plan_study(load_study(folder / "tiny.yaml"), output=folder / "results", device="cpu")
        plan.store.write_plan(plan.record)
        for wave in plan.waves:
            for trial in wave:
                assert run_job(trial.job).status == "done"
        sys.modules.pop("verified_own", None)
    return folder


@pytest.fixture
def tree(finished, tmp_path, monkeypatch):
    """A copy of it, where one can write; the cache is shared."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("cache", "__pycache__"))
    monkeypatch.setenv("ABLATE_CACHE", str(finished / "cache"))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    yield Store(folder / "results")
    sys.modules.pop("verified_own", None)


def paths_of(tree, name="baseline/0"):
    return tree.trial(again.find_trial(name, tree))


def edit_record(paths, **changes):
    """By hand: dotted keys, `__` for the dot."""
    record = json.loads(paths.record.read_text())
    for key, value in changes.items():
        *parents, last = key.split("__")
        at = record
        for parent in parents:
            at = at[parent]
        at[last] = value
    paths.record.write_text(json.dumps(record))


def vouch(paths, *names):
    """The forger edits the digests as well."""
    for name in names:
        path = paths.folder / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        record = json.loads(paths.record.read_text())
        record["files"][name] = f"sha256:{digest}"
        paths.record.write_text(json.dumps(record))


def content(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()
    }


def verified(tree, name="baseline/0", **options):
    return verify_trial(name, output=tree.root, **options)


def test_a_trial_comes_out_the_same_and_its_tree_is_not_touched(tree, capsys):
    before, threads = content(tree.root), torch.get_num_threads()
    with pytest.raises(SystemExit) as left:
        main(["verify", "tiny/baseline/0", "-o", str(tree.root)])
    out, err = capsys.readouterr()
    assert left.value.code == 0, out
    trial_id = paths_of(tree).folder.name
    assert out.startswith(f"identical: trial {trial_id}: ")
    assert "epoch 1 of 2, step 1 of" in err
    assert content(tree.root) == before
    assert torch.get_num_threads() == threads


def test_one_that_starts_from_a_pretraining_comes_out_the_same(tree, capsys):
    with pytest.raises(SystemExit) as left:
        main(["verify", "started/0", "-o", str(tree.root), "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert (left.value.code, found["outcome"], found["differences"]) == (0, "identical", [])


# Planted: without training it is found that file and record do not belong together


@pytest.mark.parametrize(
    "name", ["settings.yaml", "epochs.csv", "steps.csv", "predictions.npz", "weights.safetensors"]
)
def test_a_file_that_the_record_does_not_vouch_for(tree, monkeypatch, name):
    path = paths_of(tree).folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"#")
    monkeypatch.setattr(ablate.trial, "run_trial", None)
    found = verified(tree)
    assert (found.outcome, found.exit_code) == ("differs", 1)
    assert found.differences[0].startswith(f"{name} is not the file that record.json vouches for")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics__accuracy": 99.0}, "record.json: accuracy was 99.0, predictions.npz gives "),
        ({"identity__settings__train__epochs": 3}, "record.json: the identity in it is not that of this"),
        ({"seed": 4}, "record.json: it says seed 4, its identity 0"),
    ],
)
def test_a_record_that_contradicts_itself(tree, monkeypatch, change, said):
    edit_record(paths_of(tree), **change)
    monkeypatch.setattr(ablate.trial, "run_trial", None)
    found = verified(tree)
    assert found.outcome == "differs"
    assert found.differences[0].startswith(said)


# Planted so well that only training it again can tell


def forge_steps(paths):
    lines = paths.steps.read_text().splitlines()
    step, epoch, loss, accuracy = lines[13].split(",")
    lines[13] = f"{step},{epoch},{float(loss) + 1e-6},{accuracy}"
    paths.steps.write_text("\n".join(lines) + "\n")
    vouch(paths, "steps.csv")
    return "steps.csv: epoch 2, step 13: loss was "


def forge_epochs(paths):
    lines = paths.epochs.read_text().splitlines()
    values = lines[2].split(",")
    values[lines[0].split(",").index("validation_loss")] = "0.5"
    lines[2] = ",".join(values)
    paths.epochs.write_text("\n".join(lines) + "\n")
    vouch(paths, "epochs.csv")
    return "epochs.csv: epoch 2: validation loss was 0.5, is "


def forge_predictions(paths):
    """To be right once more, in the record as well."""
    with np.load(paths.predictions) as file:
        arrays = dict(file)
    wrong = int((arrays["predicted"] != arrays["label"]).nonzero()[0][0])
    arrays["predicted"][wrong] = arrays["label"][wrong]
    np.savez_compressed(paths.predictions, **arrays)
    vouch(paths, "predictions.npz")
    edit_record(paths, metrics__accuracy=100 * float((arrays["predicted"] == arrays["label"]).mean()))
    return "record.json: accuracy was "


def forge_probabilities(paths):
    with np.load(paths.predictions) as file:
        arrays = dict(file)
    arrays["probability"][7] = 0.5
    np.savez_compressed(paths.predictions, **arrays)
    vouch(paths, "predictions.npz")
    return "predictions.npz: probability: 1 of 100 images differ, the first in row 7: was 0.5, is "


def forge_weights(paths):
    tensors = safetensors.torch.load_file(paths.weights)
    last = sorted(tensors)[-1]
    tensors[last] = tensors[last].clone()
    tensors[last].view(-1)[0] += 0.25 if tensors[last].is_floating_point() else 1
    safetensors.torch.save_file(tensors, paths.weights)
    vouch(paths, "weights.safetensors")
    return f"weights.safetensors: 1 of {len(tensors)} tensors differ, by name the first is {last}: by at most"


def forge_loss(paths):
    edit_record(paths, metrics__test_loss=0.125)
    return "record.json: test loss was 0.125, is "


def forge_count(paths):
    edit_record(paths, param_count=7)
    return "record.json: param count was 7, is "


def shorten_steps(paths):
    paths.steps.write_text("\n".join(paths.steps.read_text().splitlines()[:-1]) + "\n")
    vouch(paths, "steps.csv")
    return "steps.csv: it has 17 rows, the new training 18"


@pytest.mark.parametrize(
    "forge",
    [
        forge_steps,
        forge_epochs,
        forge_predictions,
        forge_probabilities,
        forge_weights,
        forge_loss,
        forge_count,
        shorten_steps,
    ],
)
def test_what_only_training_it_again_can_tell(tree, forge):
    said = forge(paths_of(tree))
    found = verified(tree)
    assert (found.outcome, found.exit_code) == ("differs", 1)
    assert found.differences[0].startswith(said)
    assert render_verification(found).startswith(f"differs: trial {found.trial}: {said}")


def test_weights_that_were_removed_to_save_room_are_said(tree):
    paths_of(tree).weights.unlink()
    found = verified(tree)
    assert (found.outcome, found.missing) == ("identical", ("weights.safetensors",))


# What cannot be trained again


def refused(tree, name="baseline/0"):
    with pytest.raises(AblateError) as caught:
        verified(tree, name)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_source_that_changed_is_named_and_nothing_is_trained(tree, monkeypatch):
    monkeypatch.setattr(ablate.trial, "run_trial", None)
    Path("verified_own.py").write_text("raise SystemExit('changed code must not run')")
    said = refused(tree)
    assert "nothing was trained" in said
    assert "\n  source of verified_own:Scale: " in said
    assert "data fingerprint" not in said


def test_data_that_changed_are_named(tree, monkeypatch):
    monkeypatch.setattr(ablate.trial, "run_trial", None)
    Path("other_labels").touch()
    said = refused(tree)
    assert "\n  data fingerprint: " in said
    assert "source" not in said


def test_settings_that_are_another_trials_are_named(tree):
    paths = paths_of(tree)
    settings = yaml.safe_load(paths.settings.read_text())
    settings["train"]["epochs"] = 3
    paths.settings.write_text(yaml.safe_dump(settings))
    vouch(paths, "settings.yaml")
    assert "\n  train.epochs: 2 -> 3\n" in refused(tree)
    paths.settings.unlink()
    assert "nothing says how the trial was trained" in refused(tree)


def test_a_failed_trial_and_one_that_has_not_ended_are_refused(tree):
    job = (
        plan_study(load_study("tiny.yaml"), output=tree.root, force=["baseline"], device="cpu").wanted[0].job
    )
    assert job.trial_id == paths_of(tree).folder.name
    paths_of(tree).record.unlink()
    assert "has not ended" in refused(tree)
    write_failure(job, ExecutionFailure("timeout", "60 s are over"), 60.0)
    said = refused(tree)
    assert "failed (timeout): it has no result to verify" in said
    assert "--retry-failed" in said


def test_a_pretraining_that_left_nothing(tree):
    paths_of(tree, "first/0").weights.unlink()
    said = refused(tree, "started/0")
    assert said.startswith("the weights of the pretraining 'first' (trial ")


# Another machine


def test_other_versions_are_said_and_compared_within_a_tolerance(tree, monkeypatch):
    edit_record(paths_of(tree), environment__torch="1.0.0")
    found = verified(tree)
    assert (found.outcome, found.exit_code) == ("agrees within tolerance", 0)
    assert found.conditions == (f"torch: 1.0.0 then, {torch.__version__} now",)
    text = render_verification(found)
    assert "identical" not in text
    assert "the first step's loss was" in text


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda paths: _first_loss(paths, 1.01), "the first step's loss was "),
        (lambda paths: _all_right(paths), "test accuracy at the last epoch was 100.00 %, is "),
        (shorten_steps, "steps.csv: it has 17 rows, the new training 18"),
    ],
)
def test_on_another_machine_what_is_beyond_the_tolerance_differs(tree, forge, said):
    forge(paths_of(tree))
    edit_record(paths_of(tree), environment__numpy="1.0.0")
    found = verified(tree)
    assert found.outcome == "differs"
    assert found.differences[0].startswith(said)


def _first_loss(paths, factor):
    lines = paths.steps.read_text().splitlines()
    step, epoch, loss, accuracy = lines[1].split(",")
    lines[1] = f"{step},{epoch},{float(loss) * factor},{accuracy}"
    paths.steps.write_text("\n".join(lines) + "\n")
    vouch(paths, "steps.csv")


def _all_right(paths):
    with np.load(paths.predictions) as file:
        arrays = dict(file)
    arrays["predicted"] = arrays["label"]
    np.savez_compressed(paths.predictions, **arrays)
    vouch(paths, "predictions.npz")
    edit_record(paths, metrics__accuracy=100.0)


def test_dropout_of_another_kind_of_device_begins_otherwise(tree):
    """Its first step draws other numbers, so its loss is not compared."""
    edit_record(paths_of(tree), environment__device="cuda:0", environment__device_name="NVIDIA H100")
    found = verified(tree)
    assert found.conditions[0] == "device: cuda:0 then, cpu now"
    assert not any("first step" in sentence for sentence in found.agreements)


def test_a_training_that_breaks_down_now_differs(tree, monkeypatch):
    from ablate.train import NonFiniteLoss

    def broken(*args, **options):
        raise NonFiniteLoss("the training loss is nan at epoch 1, step 3")

    monkeypatch.setattr(ablate.trial, "run_trial", broken)
    temporary = tree.root.parent / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    found = verified(tree)
    assert (found.outcome, found.exit_code) == ("differs", 1)
    assert "the training loss is nan" in found.differences[0]
    assert not list(temporary.iterdir())
