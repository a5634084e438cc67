"""A search over the results tree: what is trained, what is not, and what Optuna is told."""

from __future__ import annotations

import optuna
import pytest

from ablate.clean import find_waste
from ablate.errors import StudyError
from ablate.runner import run_study
from ablate.spec import load_study
from ablate.store import Store
from ablate.tune import tune_study

RATIOS = "space: {model.attention.args.reduction: [2, 4, 8, 16]}"


def searched(root, **how):
    """The trials of the one search in the database."""
    url = how.pop("url", f"sqlite:///{root}/tiny/tune/search.db")
    [name] = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url).get_trials()


def tune(study, root, **how):
    return tune_study(study, output=root, device="cpu", executor="inline", **how)


def test_a_finite_space_is_enumerated_whatever_trials_says(make, root, training):
    summary = tune(make(RATIOS, "tune.trials=50"), root)
    assert (summary.exit_code, summary.asked, summary.finished) == (0, 4, 4)
    ratios = [trial.params["model.attention.args.reduction"] for trial in searched(root)]
    assert sorted(ratios) == [2, 4, 8, 16]
    assert [seed for _, seed in training.trained] == [1000, 1001] * 4


def test_the_best_by_validation_is_found_and_the_test_set_is_not_looked_at(make, root, training):
    """The fake's test accuracy is the better the worse its validation accuracy."""
    summary = tune(make(RATIOS), root)
    trials = searched(root)
    best = max(trials, key=lambda trial: trial.value)
    assert best.params == {"model.attention.args.reduction": 8}
    assert best.value == pytest.approx((90 + 0.01 * (1000 % 7) + 90 + 0.01 * (1001 % 7)) / 2, rel=0.02)
    assert "best: reduction=8" in summary.message.splitlines()[1]


def test_each_trial_leads_to_the_records_of_its_trials(make, root, training):
    tune(make(RATIOS), root)
    store = Store(root)
    for trial in searched(root):
        ids = trial.user_attrs["trials"]
        assert set(ids) == {"1000", "1001"}
        found = {seed: store.read_trial(trial_id) for seed, trial_id in ids.items()}
        assert {seed: str(record.seed) for seed, record in found.items()} == {"1000": "1000", "1001": "1001"}
        accuracies = [record.metrics.validation_accuracy for record in found.values()]
        assert trial.value == pytest.approx(sum(accuracies) / 2, abs=1e-9)
        curve = [row["validation_accuracy"] for row in store.read_epochs(ids["1000"])]
        assert [trial.intermediate_values[step] for step in (1, 2, 3, 4)] == curve


def test_what_is_in_the_tree_is_not_trained_again(make, write, root, training):
    study = make(RATIOS)
    run_study(study, output=root, seeds=[1000], only=["se"], device="cpu", executor="inline")
    assert len(training.trained) == 1
    tune(study, root)
    assert len(training.trained) == 8, "four ratios with two seeds, one of which there was"
    tune(study, root)
    assert len(training.trained) == 8, "the search is over"
    (root / "tiny" / "tune" / "search.db").unlink()
    tune(study, root)
    assert len(training.trained) == 8, "a new search of the same settings"
    assert len(searched(root)) == 4
    run_study(study, output=root, seeds=[1001], only=["se"], device="cpu", executor="inline")
    assert len(training.trained) == 8, "a tuned trial serves a run"


def test_more_trials_later_are_more_of_the_same_search(make, root, training):
    space = "space: {train.optimizer.lr: {low: 1.0e-4, high: 1.0, log: true}}"
    tune(make(space, "tune.trials=3"), root)
    first = [trial.params for trial in searched(root)]
    tune(make(space, "tune.trials=5"), root)
    both = [trial.params for trial in searched(root)]
    assert (len(both), both[:3]) == (5, first)
    assert len(training.trained) == 10


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "grid"])
def test_a_part_of_a_finite_space_is_sampled_without_repeating(make, root, training, sampler):
    space = (
        "space: {model.attention.args.reduction: [2, 4, 8], train.batch_size: {low: 32, high: 96, step: 32}}"
    )
    tune(make(space, "tune.trials=8", f"tune.sampler={sampler}", "tune.seeds=1"), root)
    points = [tuple(sorted(trial.params.items())) for trial in searched(root)]
    assert (len(points), len(set(points))) == (8, 8)


def test_a_setting_that_fails_is_counted_and_told(make, root, training):
    training.faults[4] = ValueError("no such luck")
    summary = tune(make(RATIOS), root)
    assert (summary.exit_code, summary.finished) == (1, 4)
    [failed] = [trial for trial in searched(root) if trial.state.name == "FAIL"]
    assert failed.params["model.attention.args.reduction"] == 4
    assert "no such luck" in failed.user_attrs["why"]
    assert "1 failed" in summary.message


def test_what_failed_is_begun_once_more_when_asked_for(make, root, training):
    training.faults[4] = ValueError("no such luck")
    tune(make(RATIOS), root)
    training.faults.clear()
    assert tune(make(RATIOS), root).exit_code == 1, "nothing is begun unasked"
    assert len(training.trained) == 7, "the first seed that fails ends a setting"
    summary = tune(make(RATIOS), root, retry_failed=True)
    assert (summary.exit_code, summary.asked, summary.finished) == (0, 4, 4)
    assert len(training.trained) == 9
    trials = searched(root)
    [failed] = [trial for trial in trials if trial.state.name == "FAIL"]
    again = trials[-1]
    assert (len(trials), again.params, again.user_attrs["replaces"]) == (5, failed.params, failed.number)
    records = [Store(root).read_trial(trial_id) for trial_id in again.user_attrs["trials"].values()]
    assert [record.status for record in records] == ["done", "done"]
    assert tune(make(RATIOS), root, retry_failed=True).exit_code == 0
    assert len(training.trained) == 9, "there is nothing that failed any more"


def test_an_interrupt_keeps_what_is_finished_and_the_next_goes_on(make, root, training):
    training.faults[8] = KeyboardInterrupt()
    summary = tune(make(RATIOS), root)
    assert summary.exit_code == 130
    assert [trial.state.name for trial in searched(root)] == ["COMPLETE", "COMPLETE", "RUNNING"]
    training.faults.clear()
    assert tune(make(RATIOS), root).exit_code == 0
    trials = searched(root)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len(training.trained) == 9, "the one that was cut short begins again"


def test_a_timeout_begins_nothing_further(make, root, training):
    training.seconds = 1.0
    summary = tune(make(RATIOS, "tune.timeout=1.5"), root)
    assert (summary.exit_code, summary.finished, len(training.trained)) == (1, 1, 2)
    assert "run the same command again" in summary.message


def test_settings_while_tuning_are_not_those_of_the_study(make, root, training):
    tune(make(f"{RATIOS}\nset: {{train.epochs: 2, data.fraction: 0.5}}"), root)
    assert {(each.train.epochs, each.data.fraction) for each, _ in training.trained} == {(2, 0.5)}


def test_an_edited_space_is_another_search(make, root, training):
    tune(make(RATIOS), root)
    tune(make("space: {model.attention.args.reduction: [4, 8, 32]}"), root)
    url = f"sqlite:///{root}/tiny/tune/search.db"
    assert len(optuna.get_all_study_names(url)) == 2
    assert len(training.trained) == 10, "of the three ratios only one is new"


def test_no_section_is_an_error_with_the_way_out(write, root):
    path = write("")
    path.write_text(path.read_text().replace("tune:\n  from: se\n", ""))
    with pytest.raises(StudyError, match=r"tune: is missing: nothing says what to search"):
        tune(load_study(path), root)


def test_what_no_network_bears_is_an_error_before_training(make, root, training):
    with pytest.raises(StudyError) as caught:
        tune(make("space: {model.attention.at: [[block2], [block9]]}"), root)
    [problem] = caught.value.problems
    assert problem.where.endswith("tiny.yaml:16") and "block9" in problem.message
    assert not training.trained and not (root / "tiny").exists()


ENDLESS = "train.optimizer.lr: {low: 0.01, high: 1.0, log: true}"


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_misspelt_place_in_an_endless_space_is_an_error_before_training(make, root, training, dry_run):
    lines = f"""space:
  model.attention.args.reduction: [2, 4]
  {ENDLESS}
  model.attention.at:
    - [block2]
    - [blok3]"""
    with pytest.raises(StudyError) as caught:
        tune(make(lines), root, dry_run=dry_run)
    [problem] = caught.value.problems
    assert problem.where.endswith("tiny.yaml:21") and "matches 'blok3'" in problem.message
    assert "did you mean 'block3'" in problem.hint
    assert not training.trained and not (root / "tiny").exists()


def test_a_place_that_goes_with_another_backbone_alone_is_none(make, root):
    lines = f"space: {{model.backbone: [cnn, resnet18], model.attention.at: [[block2], [layer2]], {ENDLESS}}}"
    lines += "\nset: {model.args: {}}"
    assert tune(make(lines), root, dry_run=True).exit_code == 0


def test_a_failed_setting_is_told_at_once_under_its_number_and_with_q(make, root, training, capsys):
    from ablate.display import make_display

    training.faults[4] = ValueError("no such luck")
    summary = tune(make(RATIOS), root, display=make_display(quiet=True))
    told = capsys.readouterr().err
    assert "2/4] se, trial 1: reduction=4: FAILED" in told and "no such luck" in told
    assert "trial 0" not in told
    assert "1 of 4 settings FAILED." in summary.report.read_text(encoding="utf-8")


def test_a_search_that_is_not_this_file_s_any_more_is_told(make, root, training):
    tune(make(RATIOS), root)
    study = make("space: {model.attention.args.reduction: [4, 8]}")
    kept = "another search (4 settings, over reduction of 2, 4, 8, 16) is kept"
    assert f"{kept}; this file's search has 0 of 2" in tune(study, root, dry_run=True).message
    report = tune(study, root).report.read_text(encoding="utf-8")
    assert f"{kept} beside this one, which has 2 of 2" in report
    assert f"{kept}; this file's search has 2 of 2" in tune(study, root, dry_run=True).message
    assert tune(make(RATIOS), root, dry_run=True).message.count("4 of 4") == 1


def test_nothing_is_written_by_a_dry_run(make, root, training):
    summary = tune(make(RATIOS), root, dry_run=True)
    assert "se: 4 trials of 2 seeds (1000, 1001) over model.attention.args.reduction" in summary.message
    assert not root.exists()


def test_clean_keeps_what_a_search_rests_on(make, root, training):
    tune(make(RATIOS), root)
    waste = find_waste(Store(root)).waste
    assert not [each.path for each in waste if each.trial_id is not None]
