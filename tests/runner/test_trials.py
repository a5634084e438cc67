"""Networks trained first: what starts from them, in which order, and what happens when one is not there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from ablate.errors import StudyError
from ablate.record import TrialMetrics, TrialRecord
from ablate.report import build_report, render_study
from ablate.runner import plan_json, plan_study, plan_text, run_study
from ablate.spec import load_study
from ablate.status import read_status
from ablate.store import Store, TrialPaths, write_text
from ablate.trial import dump_settings

STUDY = """\
name: fine
baseline: scratch
seeds: [0, 1]
defaults:
  data: {source: digits, classes: [5, 6, 7, 8, 9], fraction: 0.2}
  model: {args: {width: 0.125}, attention: {name: se, args: {reduction: 4}, at: [block2]}}
  train: {epochs: 1}
pretraining:
  base: {data.classes: [0, 1, 2, 3, 4], train.epochs: 2}
variants:
  scratch: {}
  tuned: {model.weights: pretraining:base}
  tuned-no-se: {model.weights: pretraining:base, model.attention: null}
"""
WAVES = [
    ("pretraining base", 0),
    ("pretraining base", 1),
    *((name, seed) for seed in (0, 1) for name in ("scratch", "tuned", "tuned-no-se")),
]


@pytest.fixture
def make(tmp_path):
    def make(*replacements, overrides=()):
        text = STUDY
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "fine.yaml"
        path.write_text(text)
        return load_study(path, overrides)

    return make


INSPECTED = {}


@pytest.fixture(autouse=True)
def inspected_once(monkeypatch):
    """The networks here are few, and planned often; those that read a file are inspected each time."""
    import ablate.trial

    def remember(name):
        real = getattr(ablate.trial, name)

        def inspect(settings, *others, **named):
            if "/" in (settings.model.weights or ""):
                return real(settings, *others, **named)
            parts = [getattr(other, "classes", other) for other in others]
            key = (name, settings.model_dump_json(), str(parts))
            if key not in INSPECTED:
                INSPECTED[key] = real(settings, *others, **named)
            return INSPECTED[key]

        monkeypatch.setattr(ablate.trial, name, inspect)

    remember("inspect_variant")
    remember("check_start")


@pytest.fixture
def run(root, recording, monkeypatch):
    """Runs for real, without drawing; gives the summary and (name, seed, status) as the trials ended."""
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda *_: {})

    def run(study, **options):
        recording.told.finished.clear()
        summary = run_study(study, output=root, executor="inline", device="cpu", display=recording, **options)
        return summary, list(recording.told.finished)

    return run


@pytest.fixture
def faults(monkeypatch):
    """{trial id: exception} to be raised; other trials leave their files at once, and no cost is measured."""
    planted = {}

    def run_trial(settings, seed, *, folder, trial_id, variant_id, identity, environment, **_):
        if trial_id in planted:
            raise planted[trial_id]
        write_text(TrialPaths(folder).settings, dump_settings(settings))
        if settings.train.keep != "none":
            write_text(TrialPaths(folder).weights, settings.train.keep)
        accuracies = {"accuracy": 90.0, "accuracy_best": 90.0, "validation_accuracy": 90.0}
        losses = {"test_loss": 0.1, "validation_loss": 0.1, "train_loss": 0.1, "train_accuracy": 90.0}
        return TrialRecord(
            id=trial_id, variant_id=variant_id, seed=seed, status="done", identity=identity, classes=5,
            test_count=180, metrics=TrialMetrics(best_epoch=1, **accuracies, **losses),
            environment=environment, started="2025-01-01T00:00:00+00:00", wall_s=1.0,
        )  # fmt: skip

    monkeypatch.setattr("ablate.trial.run_trial", run_trial)
    monkeypatch.setattr("ablate.runner.run.measure_costs", lambda *_: None)
    return planted


def trial(plan, name, seed):
    return next(each for each in plan.trials if (each.variant.name, each.job.seed) == (name, seed))


def names(trials):
    return [(each.variant.name, each.job.seed) for each in trials]


def test_pretrained_first_then_tuned_from_the_weights_of_the_same_seed(make, run, root, monkeypatch):
    """With a rate near nothing the tuned backbone stays what the pretraining left, seed by seed."""
    study = make(("train: {epochs: 1}", "train: {epochs: 1, keep: last}"),
                 ("tuned: {", "tuned: {train.optimizer.lr: 1.0e-12, "))  # fmt: skip
    summary, ended = run(study)
    assert (summary.exit_code, summary.total, summary.trained) == (0, 8, 8)
    assert [each[:2] for each in ended] == WAVES
    plan, store = plan_study(study, output=root), Store(root)
    for seed in (0, 1):
        base, tuned, other = (
            load_file(store.trial(trial(plan, name, of).job.trial_id).weights)
            for name, of in (("base", seed), ("tuned", seed), ("base", 1 - seed))
        )
        for part in ("backbone.block1.conv.weight", "attention.block2.squeeze.weight"):
            part = part if part in base else next(name for name in base if name.startswith(part[:16]))
            assert np.allclose(base[part], tuned[part], atol=1e-6)
            assert not np.allclose(other[part], tuned[part], atol=1e-3)
        head = "backbone.head.output.weight"
        assert base[head].shape == tuned[head].shape
        assert not np.allclose(base[head], tuned[head], atol=1e-3), "five classes, but five others"
    assert plan.wanted == ()


def test_identities_are_known_before_anything_is_trained_and_follow_the_pretraining(make, root):
    plan = plan_study(make(), output=root)
    base, tuned = trial(plan, "base", 1), trial(plan, "tuned", 1)
    assert tuned.job.identity["weights_sha256"] == f"trial:{base.job.trial_id}"
    assert (tuned.job.after, tuned.job.weights) == (base.job.trial_id, base.job.paths.weights)
    assert base.job.identity["settings"]["data"]["classes"] == [0, 1, 2, 3, 4]
    assert base.job.identity["data_fingerprint"] == tuned.job.identity["data_fingerprint"]

    renamed = plan_study(make(("pretraining:base", "pretraining:low"), ("  base:", "  low:")), output=root)
    longer = plan_study(make(("train.epochs: 2", "train.epochs: 3")), output=root)
    for name in ("scratch", "tuned", "tuned-no-se"):
        same = trial(renamed, name, 0).job.trial_id == trial(plan, name, 0).job.trial_id
        assert same, "the name is not in the identity"
    assert trial(longer, "tuned", 0).job.trial_id != trial(plan, "tuned", 0).job.trial_id
    assert trial(longer, "tuned", 0).variant.id != trial(plan, "tuned", 0).variant.id
    assert trial(longer, "scratch", 0).job.trial_id == trial(plan, "scratch", 0).job.trial_id


def test_the_plan_the_status_and_the_report_show_pretrainings_apart(make, run, root):
    study = make(("pretraining:\n", "pretraining:\n  idle: {data.classes: [0, 1]}\n"))
    plan = plan_study(study, output=root)
    said = json.loads(json.dumps(plan_json(plan)))
    assert (said["trials"], said["pending"]) == (8, 8)
    assert [each["name"] for each in said["variants"]] == ["scratch", "tuned", "tuned-no-se"]
    assert [(each["name"], each["seeds"]) for each in said["pretraining"]] == [("base", [0, 1])]
    page = plan_text(plan)
    assert "3 variants × 2 seeds = 6 trials, after 2 of pretraining: 0 done, 8 to train" in page
    assert "trained first: base, 5 classes of digits: 0/2 seeds done, 2 to train" in page
    assert "note: the pretraining 'idle' is not trained: no variant starts from it" in page

    run(study)
    store = Store(root)
    status = read_status(store, "fine")
    assert [(each.variant, each.seed) for each in status] == WAVES
    assert {each.state for each in status} == {"done"}
    report = build_report(store, "fine")
    assert [row.name for row in report.variants] == ["scratch", "tuned", "tuned-no-se"]
    (row,) = report.pretraining
    scores = [store.read_trial(trial(plan, "base", seed).job.trial_id).metrics.accuracy for seed in (0, 1)]
    assert (row.name, row.n, row.classes, row.epochs) == ("base", 2, 5, 2)
    assert row.accuracy.mean == pytest.approx(sum(scores) / 2)
    document = json.loads(render_study(store, "fine", "json"))
    assert [each["name"] for each in document["pretraining"]] == ["base"]
    assert "\n## Pretraining\n" in render_study(store, "fine", "markdown")


def test_predictions_keep_the_rows_of_the_whole_test_set(make, run, root):
    from ablate.data import load_images

    study = make()
    run(study, only=["tuned"], seeds=[0])
    job = trial(plan_study(study, output=root), "tuned", 0).job
    arrays, whole = Store(root).read_predictions(job.trial_id), load_images("digits")
    assert np.array_equal(whole.test_labels[arrays["index"]], arrays["label"] + 5)
    assert len(arrays["index"]) == (whole.test_labels >= 5).sum()
    assert Store(root).read_trial(job.trial_id).classes == 5


def test_what_was_asked_for_brings_the_pretraining_it_needs_and_no_more(make, run, faults):
    study = make()
    summary, ended = run(study, only=["scratch"])
    assert [each[0] for each in ended] == ["scratch", "scratch"]
    summary, ended = run(study, only=["tuned"], seeds=[1])
    assert [each[:2] for each in ended] == [("pretraining base", 1), ("tuned", 1)]
    assert (summary.total, summary.done, summary.exit_code) == (2, 2, 0)
    _, ended = run(study, only=["base"])
    assert [each[:2] for each in ended] == [("pretraining base", 0)]
    _, ended = run(study, force=["base"], seeds=[1])
    assert [each[:2] for each in ended] == [("pretraining base", 1), ("tuned-no-se", 1)]


def test_a_pretraining_that_starts_from_another_comes_after_it(make, root):
    study = make(
        ("  base:", "  far: {model.weights: pretraining:base, data.classes: [0, 5]}\n  base:"),
        ("tuned: {model.weights: pretraining:base}", "tuned: {model.weights: pretraining:far}"),
    )
    plan = plan_study(study, output=root, only=["tuned"])
    assert [names(wave) for wave in plan.waves] == [
        [("base", 0), ("base", 1)],
        [("far", 0), ("far", 1)],
        [("tuned", 0), ("tuned", 1)],
    ]


def test_a_failed_pretraining_fails_what_starts_from_it_until_it_is_mended(make, run, root, faults):
    study = make()
    base = trial(plan_study(study, output=root), "base", 0).job
    faults[base.trial_id] = RuntimeError("planted")
    summary, ended = run(study)
    assert [each[0] for each in ended if each[2] == "failed"] == ["pretraining base", "tuned", "tuned-no-se"]
    assert (summary.exit_code, summary.failed, summary.done) == (1, 3, 5)
    tuned = trial(plan_study(study, output=root), "tuned", 0).job
    failure = Store(root).read_trial(tuned.trial_id).failure
    assert (failure.kind, failure.message) == (
        "exception",
        f"the pretraining 'base' with seed 0, which this trial starts from, failed (trial {base.trial_id}); "
        "mend it, then run with --retry-failed",
    )
    assert run(study)[1] == []
    assert "seed 0: exception: planted" in render_study(Store(root), "fine", "markdown")
    faults.clear()
    summary, ended = run(study, retry_failed=True)
    assert ended == [(name, 0, "done") for name in ("pretraining base", "tuned", "tuned-no-se")]
    assert summary.exit_code == 0


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_within_and_between_the_waves_is_resumed_where_it_was(make, run, root, faults, at):
    study = make()
    name, seed = WAVES[at]
    stopped = trial(plan_study(study, output=root), name.removeprefix("pretraining "), seed).job.trial_id
    faults[stopped] = KeyboardInterrupt()
    summary, ended = run(study)
    assert (summary.exit_code, [each[:2] for each in ended]) == (130, WAVES[:at])
    faults.clear()
    summary, ended = run(study)
    assert [each[:2] for each in ended] == WAVES[at:]
    assert (summary.exit_code, summary.done, summary.total) == (0, 8, 8)


@pytest.mark.parametrize("keep", ["none", "best"])
def test_a_pretraining_whose_last_weights_were_not_kept_is_trained_again_for_them(
    make, run, root, faults, keep
):
    """Another study may have trained the same, as a variant of its own."""
    alone = make(
        ("name: fine", "name: other"),
        (STUDY[STUDY.index("pretraining:") :],
         f"variants: {{scratch: {{data.classes: [0, 1, 2, 3, 4], train.epochs: 2, train.keep: {keep}}}}}"),
    )  # fmt: skip
    run(alone)
    study = make()
    assert names(plan_study(study, output=root, only=["scratch"]).wanted) == [("scratch", 0), ("scratch", 1)]
    plan = plan_study(study, output=root)
    assert trial(plan, "base", 0).state == "done"
    assert (
        "the pretraining 'base' was trained without keeping the weights of its last epoch, and is trained "
        "again for them: seeds 0, 1"
    ) in plan.warnings
    summary, ended = run(study)
    assert [each[:2] for each in ended] == WAVES
    assert summary.exit_code == 0
    for seed in (0, 1):
        trial(plan, "base", seed).job.paths.weights.unlink()
    assert plan_study(study, output=root).wanted == (), "all that needs them is done"


def test_a_variant_that_is_the_pretraining_itself_is_trained_once_and_keeps_its_weights(
    make, run, root, faults
):
    study = make(("  scratch: {}", "  scratch: {}\n  same: {data.classes: [0, 1, 2, 3, 4], train.epochs: 2}"))
    plan = plan_study(study, output=root)
    assert trial(plan, "same", 0).job.trial_id == trial(plan, "base", 0).job.trial_id
    assert trial(plan, "same", 0).job.settings.train.keep == "last"
    summary, ended = run(study)
    assert (summary.exit_code, summary.total, len(ended)) == (0, 8, 8)
    assert run(study, force=["same"])[0].exit_code == 0
    assert names(plan_study(study, output=root, force=["tuned"]).wanted) == [("tuned", 0), ("tuned", 1)]


def test_weights_that_will_not_fit_are_a_fault_of_the_study_and_not_of_the_night(make, root):
    study = make(("tuned: {model.w", "tuned: {model.args: {width: 0.25}, model.w"))
    with pytest.raises(StudyError) as caught:
        plan_study(study, output=root)
    (problem,) = caught.value.problems
    assert (problem.where[-12:], problem.field) == ("fine.yaml:12", "tuned")
    assert "'pretraining:base' does not fit the backbone" in problem.message


def test_classes_that_are_not_there_are_a_fault_with_their_line(make, root):
    with pytest.raises(StudyError) as caught:
        plan_study(make(("[5, 6, 7, 8, 9]", "[5, six]"), ("[0, 1, 2, 3, 4]", "[0, 12]")), output=root)
    lines = {problem.where.rpartition(":")[2]: problem.message for problem in caught.value.problems}
    assert lines.keys() == {"5", "9"}
    assert lines["5"].startswith("data.classes: digits has no class 'six'; by number and name, it has: 0 0, ")


def test_weights_from_a_file_count_by_their_content(make, run, root, tmp_path):
    run(make(), only=["base"], seeds=[0, 1])
    plan = plan_study(make(), output=root)
    files = [trial(plan, "base", seed).job.paths.weights for seed in (0, 1)]
    ids = []
    for source in (files[0], files[0], files[1]):
        path = tmp_path / f"weights-{len(ids)}.safetensors"
        path.write_bytes(source.read_bytes())
        study = make(("tuned: {model.weights: pretraining:base}", f"tuned: {{model.weights: {path}}}"))
        job = trial(plan_study(study, output=root), "tuned", 0).job
        assert (job.weights, job.after) == (path, None)
        ids.append(job.trial_id)
    assert ids[0] == ids[1] != ids[2]
    summary, _ = run(study, only=["tuned"], seeds=[0])
    assert summary.exit_code == 0
    write_text(path, "not weights")
    with pytest.raises(StudyError, match=r"fine\.yaml:12"):
        plan_study(study, output=root)
