"""What is left = plan - store, and every fault before anything runs."""

from __future__ import annotations

import json

import pytest

from ablate.errors import StoreError, StudyError
from ablate.runner import plan_json, plan_study, plan_text, run_study
from ablate.variants import expand

ORDER = [(name, seed) for seed in (0, 1) for name in ("baseline", "se", "se-early")]


def wanted(plan):
    return [(trial.variant.name, trial.job.seed) for trial in plan.wanted]


def test_trials_go_breadth_first(study, root):
    assert wanted(plan_study(study, output=root)) == ORDER


def test_planning_writes_nothing(study, root):
    plan_text(plan_study(study, output=root))
    assert not root.exists()


def test_the_plan_ties_names_to_the_trials_that_run(study, root):
    plan = plan_study(study, output=root)
    assert plan.record.seeds == (0, 1)
    assert {
        (variant.name, seed): trial_id
        for variant in plan.record.variants
        for seed, trial_id in variant.trials.items()
    } == {(trial.variant.name, trial.job.seed): trial.job.trial_id for trial in plan.trials}
    assert len({trial.job.trial_id for trial in plan.trials}) == 6
    assert plan.record.data["train_count"] + plan.record.data["validation_count"] + 360 == 1797
    assert plan.record.recipe["train"]["precision"] == "fp32"


def test_json_keeps_the_contract(study, root):
    said = json.loads(json.dumps(plan_json(plan_study(study, output=root))))
    assert (said["study"], said["trials"], said["pending"]) == ("tiny", 6, 6)
    names = [variant["name"] for variant in said["variants"]]
    assert names == ["baseline", "se", "se-early"]
    keys = {"name", "id", "seeds", "settings", "param_count", "macs", "attention_modules", "warnings"}
    baseline, se, early = said["variants"]
    assert all(keys <= variant.keys() for variant in said["variants"])
    assert baseline["attention_modules"] == []
    assert se["settings"]["model"]["attention"]["args"]["reduction"] == 4
    # Squeeze-and-excitation without biases: two matrices, C x C/r and back.
    channels = se["attention_modules"][0]["channels"]
    assert se["attention_modules"] == [
        {"path": "block2", "channels": channels, "param_count": 2 * channels * (channels // 4)}
    ]
    assert se["param_count"] - baseline["param_count"] == se["attention_modules"][0]["param_count"]
    assert early["attention_modules"][0]["path"] == "block1"


def test_seeds_of_the_command_line_limit_what_is_trained_and_never_hide_the_studys(study, root):
    plan = plan_study(study, output=root, seeds=[1, 7])
    assert plan.record.seeds == (0, 1, 7), "a report of two chosen seeds would look complete"
    assert {trial.job.seed for trial in plan.wanted} == {1, 7}


def test_variants_that_come_to_the_same_trial_here_are_trained_once(make_study, root):
    """On a CPU auto is fp32: two names for one variant."""
    study = make_study(
        replace=("  se: {}", "  se: {}\n  plain: {model.attention: null, train.precision: fp32}")
    )
    plan = plan_study(study, output=root, device="cpu")
    assert next(v for v in plan.variants if v.name == "baseline").aliases == ("plain",)
    assert len(plan.trials) == len(plan.wanted) == 6
    assert (plan_json(plan)["trials"], plan_json(plan)["pending"]) == (6, 6)


def test_a_step_that_fails_leaves_the_plan_and_names_the_variant(study, root, tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "nothing-is-known"))

    def fail(*_, **__):
        raise ValueError("my own mistake")

    monkeypatch.setattr("ablate.trial.measured_step", fail)
    text = plan_text(plan_study(study, output=root), estimate=True)
    assert "se-early" in text
    assert (
        "no estimate of the time: a training step of 'baseline' fails with ValueError: my own mistake" in text
    )


def test_only_and_exclude_limit_what_is_trained_and_not_the_plan(study, root):
    plan = plan_study(study, output=root, only=["se*"], exclude=["*early"])
    assert wanted(plan) == [("se", 0), ("se", 1)]
    assert [variant.name for variant in plan.record.variants] == ["baseline", "se", "se-early"]
    assert any("the baseline 'baseline' is left out" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"only": ["se-erly"]},
            "--only 'se-erly' matches no variant\n    allowed: baseline, se, se-early\n"
            "    did you mean 'se-early'?",
        ),
        ({"exclude": ["x*"]}, "--exclude 'x*' matches no variant"),
        ({"force": ["x*"]}, "--force 'x*' matches no variant"),
        ({"exclude": ["*"]}, "--only and --exclude leave no variant"),
    ],
)
def test_a_glob_that_leaves_nothing_is_an_error(study, root, options, said):
    with pytest.raises(StudyError) as caught:
        plan_study(study, output=root, **options)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_faults_of_all_networks_come_in_one_go_with_their_lines(make_study, root):
    study = make_study(
        replace=(
            "  se-early: {model.attention.at: [block1]}\n",
            "  se-early: {model.attention.at: [blok1]}\n"
            "  se-late: {model.attention.at: [block3, nowhere.conv]}\n"
            "  odd: {model.attention.at: [block2.conv]}\n",
        )
    )
    with pytest.raises(StudyError) as caught:
        plan_study(study, output=root)
    message = str(caught.value)
    assert "2 problems found" in message
    assert "tiny.yaml:15: variant se-early: no module of the backbone matches 'blok1'" in message
    assert "did you mean 'block1'" in message
    assert "tiny.yaml:16: variant se-late: no module of the backbone matches 'nowhere.conv'" in message
    assert not root.exists()


def test_a_fault_that_variants_share_is_said_once_with_the_line_of_the_defaults(make_study, root):
    lines = "at: [block2]}\n  train: {epochs: 1}\nvariants:\n"
    wrong = lines.replace("block2", "blck2") + "  wide: {model.args: {width: 0.25}}\n"
    with pytest.raises(StudyError) as caught:
        plan_study(make_study(replace=(lines, wrong)), output=root)
    assert [problem.where[-12:] for problem in caught.value.problems] == ["tiny.yaml:10"]
    assert caught.value.problems[0].field == "variants wide, se"
    assert "did you mean 'block2'" in caught.value.problems[0].message


def test_faults_of_every_kind_come_in_one_go(make_study, root):
    study = make_study(
        "defaults.data.root=nowhere",
        replace=(
            "  se: {}",
            "  se: {model.attention.at: [block7]}\n"
            "  own: {model.backbone: no_such_module:network, model.args: {}}\n"
            "  elsewhere: {data.source: image-folder, model.attention: null}",
        ),
    )
    with pytest.raises(StudyError) as caught:
        plan_study(study, output=root, only=["nothing like it"])
    said = str(caught.value)
    assert len(caught.value.problems) == 4
    for expected in (
        "command line: --only 'nothing like it' matches no variant",
        "tiny.yaml:14: variant se: no module of the backbone matches 'block7'",
        "tiny.yaml:15: model.backbone: there is no module 'no_such_module' on Python's path",
        "tiny.yaml:16: data.root: ",
    ):
        assert expected in said


def test_places_of_the_defaults_are_checked_though_no_variant_uses_them(make_study, root):
    study = make_study(
        "defaults.model.attention.at=[block9]", replace=("  se: {}", "  se: {model.attention.at: [block1]}")
    )
    with pytest.raises(StudyError, match="the defaults: no module of the backbone matches 'block9'"):
        plan_study(study, output=root)


def test_done_trials_are_left_alone_and_failed_ones_too_unless_asked(study, root, training):
    training.faults = {("se", 1): RuntimeError("planted")}
    run_study(study, output=root, executor="inline")
    again = plan_study(study, output=root)
    assert wanted(again) == []
    assert [trial.state for trial in again.trials] == ["done"] * 4 + ["failed", "done"]
    assert wanted(plan_study(study, output=root, retry_failed=True)) == [("se", 1)]
    assert wanted(plan_study(study, output=root, force=["baseline"])) == [("baseline", 0), ("baseline", 1)]
    assert wanted(plan_study(study, output=root, seeds=[0, 1, 2])) == [(name, 2) for name, _ in ORDER[:3]]


def test_what_changed_is_known_though_another_plan_lay_between(make_study, root, training):
    """A plan is written before its trials: one that trained nothing must not hide what was done before it."""
    run_study(make_study(), output=root, executor="inline")
    between = plan_study(make_study("defaults.train.epochs=2"), output=root)
    between.store.write_plan(between.record)
    third = plan_study(make_study("defaults.train.epochs=3"), output=root)
    assert {trial.changes for trial in third.trials} == {("train.epochs: 1 -> 3",)}


def test_a_trial_that_must_run_again_says_which_field_changed(make_study, root, training):
    run_study(make_study(), output=root, executor="inline")
    changed = make_study("defaults.train.epochs=2")
    plan = plan_study(changed, output=root)
    assert wanted(plan) == ORDER
    assert {trial.changes for trial in plan.trials} == {("train.epochs: 1 -> 2",)}
    said = "6 trials that were done run anew (the old stay), since this changed: train.epochs: 1 -> 2"
    assert said in plan_text(plan)
    assert plan_json(plan)["again"][0] == {
        "variant": "baseline",
        "seed": 0,
        "changes": ["train.epochs: 1 -> 2"],
    }


def test_torn_records_are_all_named_and_stay(study, root, training):
    run_study(study, output=root, executor="inline")
    plan = plan_study(study, output=root)
    torn = [trial.job.paths.record for trial in plan.trials[:2]]
    for path in torn:
        path.write_text(path.read_text()[:50])
    with pytest.raises(StoreError) as caught:
        plan_study(study, output=root, force=["*"])
    assert all(str(path) in str(caught.value) for path in torn)
    assert all(len(path.read_text()) == 50 for path in torn)


def test_the_text_lists_what_each_variant_changes_and_costs(study, root):
    text = plan_text(plan_study(study, output=root), estimate=True)
    assert "3 variants × 2 seeds = 6 trials: 0 done, 6 to train" in text
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "block1(" in lines["se-early"]
    assert "se(reduction=4)" in lines["se"]
    assert "0/2" in lines["baseline"]
    assert "of training with" in text


def test_the_study_and_its_expansion_agree(study, root):
    plan = plan_study(study, output=root)
    assert [variant.id for variant in plan.record.variants] == [v.id for v in expand(study).variants]
