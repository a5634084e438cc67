"""Several objectives, constraints, conditional spaces, equal budgets, and the optimum that was planted."""

from __future__ import annotations

import json

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from ablate.errors import StudyError
from ablate.spec import load_study
from ablate.store import Store
from ablate.tune import promote, tune_study

REDUCTION, RATE = "model.attention.args.reduction", "train.optimizer.lr"


def tune(study, root, **how):
    journal = f"journal:{root}/search.journal"
    return tune_study(study, output=root, storage=journal, device="cpu", executor="inline", **how)


def searches(root):
    """Of a journal, where there is one: it is quicker than a database."""
    storage = f"sqlite:///{root}/tiny/tune/search.db"
    if (journal := root / "search.journal").exists():
        storage = JournalStorage(JournalFileBackend(str(journal)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def only(root):
    [found] = searches(root).values()
    return found


PLANTED = f"""space:
  {RATE}: {{low: 1.0e-5, high: 1.0, log: true}}
  {REDUCTION}: [2, 4, 8, 16, 32]
seeds: 1
trials: 40"""


def test_the_planted_optimum_is_found(make, root, training):
    tune(make(PLANTED), root)
    best = only(root).best_trial
    assert best.params[REDUCTION] == 8
    assert 0.004 < best.params[RATE] < 0.025


@pytest.mark.parametrize(("pruner", "share"), [("median", 0.7), ("halving", 0.6), ("hyperband", 0.7)])
def test_a_pruned_search_finds_the_same_with_fewer_epochs(make, root, training, pruner, share):
    """Forty settings of one seed and nine epochs each are 360 epochs without a pruner. The median stops half
    of them at most, and fewer once the search draws near; hyperband has a bracket that it lets run."""
    study = make(f"{PLANTED}\nset: {{train.epochs: 9}}\npruner: {pruner}")
    summary = tune(study, root)
    assert (summary.exit_code, summary.finished) == (0, 40)
    best = only(root).best_trial
    assert best.params[REDUCTION] == 8
    assert 0.002 < best.params[RATE] < 0.05
    assert training.epochs <= share * 40 * 9
    states = [trial.state.name for trial in only(root).get_trials()]
    assert states.count("PRUNED") + states.count("COMPLETE") == 40
    text = summary.report.read_text(encoding="utf-8")
    assert f"stopped early ({pruner}): {training.epochs} of the 360 epochs" in text


def test_a_setting_that_is_stopped_spares_the_other_seeds_and_is_no_failure(make, root, training):
    space = f"space: {{{REDUCTION}: [8, 8.0, 4, 2, 16, 1, 32, 64]}}".replace("8.0, ", "")
    summary = tune(make(f"{space}\nseeds: 2\npruner: median"), root)
    assert summary.exit_code == 0
    pruned = [trial for trial in only(root).get_trials() if trial.state.name == "PRUNED"]
    assert pruned
    store = Store(root)
    for trial in pruned:
        assert trial.user_attrs["stopped"]["seed"] == 1000
        records = {seed: store.read_trial(trial_id) for seed, trial_id in trial.user_attrs["trials"].items()}
        assert records == {"1000": None, "1001": None}


def test_several_objectives_give_a_front_and_nothing_is_pruned(make, root, training):
    lines = (
        f"space: {{{REDUCTION}: [1, 2, 4, 8, 16]}}\nobjectives: {{accuracy: maximize, param_count: minimize}}"
    )
    summary = tune(make(f"{lines}\npruner: median\nseeds: 1"), root)
    study = only(root)
    values = {trial.params[REDUCTION]: tuple(trial.values) for trial in study.get_trials()}
    assert values[1][1] > values[2][1] > values[8][1] > values[16][1], "the smaller the ratio the larger"
    front = {trial.params[REDUCTION] for trial in study.best_trials}
    assert front == {8, 16}, "8 is best, 16 is the smallest, and all others are larger and worse than 8"
    text = summary.report.read_text(encoding="utf-8")
    assert "2 of 5 settings are on the Pareto front, listed by accuracy, best first." in text
    front = [line for line in summary.message.splitlines() if "front, by accuracy: " in line]
    assert ["reduction=8" in front[0], "reduction=16" in front[1]] == [True, True]
    assert "Nothing was stopped early by median: Optuna prunes for one objective only." in text
    assert study.metric_names == ["accuracy", "param_count"]


def test_what_breaks_a_constraint_is_never_trained(make, root, training):
    plain = tune(make(f"space: {{{REDUCTION}: [1, 2, 4, 8]}}\nseeds: 1"), root)
    assert plain.asked == 4
    counts = {t.params[REDUCTION]: t.user_attrs["counts"]["param_count"] for t in only(root).get_trials()}
    trained = len(training.trained)
    limit = f"param_count <= {counts[4] / 1000:.3f}k"
    other = root.with_name("other")
    summary = tune(make(f"space: {{{REDUCTION}: [1, 2, 4, 8]}}\nseeds: 1\nconstraints: ['{limit}']"), other)
    assert summary.asked == 2
    assert {t.params[REDUCTION] for t in only(other).get_trials()} == {4, 8}
    assert len(training.trained) == trained + 2
    said = json.loads(summary.report.with_suffix(".json").read_text(encoding="utf-8"))
    assert said["tuning"]["constraints"] == [limit]


def test_a_constraint_in_multiples_of_the_baseline(make, root, training):
    constraint = "constraints: ['macs <= 1.0x baseline']"
    lines = f"space: {{{REDUCTION}: {{low: 1, high: 16}}}}\nseeds: 1\ntrials: 5\n{constraint}"
    with pytest.raises(
        StudyError, match=r"tiny.yaml:19: tune.constraints: no setting around se keeps"
    ) as caught:
        tune(make(lines), root)
    wider = str(caught.value).rpartition("nearest of the space is macs <= ")[2].partition("x")[0]
    assert 1 < float(wider) < 2
    lines = lines.replace("1.0x", f"{wider}x")
    said = tune(make(lines), root, dry_run=True).message
    assert "rules out" in said and f"nearest to it: macs <= {wider}x baseline" in said
    assert not training.trained


CONDITIONAL = """space:
  model.attention.name: [se, eca, cbam]
  model.attention.args.reduction: [2, 4]
  model.attention.args.kernel: [3, 5]
seeds: 1"""


def test_arguments_exist_only_with_their_mechanism(make, root, training):
    summary = tune(make(CONDITIONAL), root)
    points = [trial.params for trial in only(root).get_trials()]
    by_name = {
        name: [p for p in points if p["model.attention.name"] == name] for name in ("se", "eca", "cbam")
    }
    assert summary.asked == len(points) == 2 + 2 + 4
    assert {tuple(sorted(p)) for p in by_name["se"]} == {(REDUCTION, "model.attention.name")}
    assert {tuple(sorted(p)) for p in by_name["eca"]} == {
        ("model.attention.args.kernel", "model.attention.name")
    }
    assert all(len(p) == 3 for p in by_name["cbam"])
    trained = {
        (each.model.attention.name, tuple(sorted(each.model.attention.args))) for each, _ in training.trained
    }
    assert trained == {("se", ("reduction",)), ("eca", ("kernel",)), ("cbam", ("kernel", "reduction"))}


def test_a_sampled_conditional_space_names_no_argument_of_another_mechanism(make, root, training):
    lines = CONDITIONAL.replace("[2, 4]", "{low: 1, high: 40}")
    tune(make(lines, "tune.trials=12", "tune.sampler=random"), root)
    for trial in only(root).get_trials():
        assert trial.state.name == "COMPLETE", trial.user_attrs
        assert (REDUCTION in trial.params) == (trial.params["model.attention.name"] != "eca")


def test_the_baseline_gets_the_same_budget_over_what_exists_for_it(make, root, training):
    lines = f"""space:
  {REDUCTION}: [2, 4, 8]
  {RATE}: {{low: 1.0e-4, high: 1.0, log: true}}
also: [baseline]
trials: 4
seeds: 1"""
    summary = tune(make(lines), root)
    found = {name.split("/")[1]: study.get_trials() for name, study in searches(root).items()}
    assert {name: len(trials) for name, trials in found.items()} == {"se": 4, "baseline": 4}
    assert {tuple(trial.params) for trial in found["baseline"]} == {(RATE,)}
    assert summary.asked == 8
    assert "was not tuned" not in summary.report.read_text(encoding="utf-8")


def test_the_best_are_promoted_on_fresh_seeds_beside_an_equally_tuned_baseline(make, root, training):
    from ablate.runner import run_study

    lines = (
        f"space: {{{REDUCTION}: [2, 4, 8], {RATE}: [0.01, 0.1]}}\nalso: [baseline]\nset: {{train.epochs: 2}}"
    )
    study = make(lines)
    tune(study, root)
    path = promote(study, 2, output=root)
    promoted = load_study(path)
    assert (promoted.name, promoted.baseline) == ("tiny-tuned", "baseline tuned")
    assert list(promoted.variants) == ["baseline tuned", "se tuned 1", "se tuned 2"]
    seen = {*study.seeds, 1000, 1001}
    assert len(promoted.seeds) == len(study.seeds) and not seen & set(promoted.seeds)
    training.trained.clear()
    summary = run_study(promoted, output=root, device="cpu", executor="inline")
    assert summary.exit_code == 0
    first = next(each for each, _ in training.trained if each.model.attention is not None)
    assert first.model.attention.args["reduction"] == 8 and first.train.epochs == 4
    text = summary.report.read_text(encoding="utf-8")
    assert "Chosen by tuning tiny on validation images and other seeds (1000, 1001)" in text
    assert "The baseline was tuned as well: 2 settings tried." in text


def test_the_front_is_promoted_by_the_first_objective_and_not_by_number(make, root, training):
    """Trial 0 is the smallest and worst of the front."""
    objectives = "objectives: {accuracy: maximize, param_count: minimize}"
    study = make(f"space: {{{REDUCTION}: [32, 16, 8]}}\n{objectives}\nseeds: 1")
    tune(study, root)
    said = json.loads((root / "tiny" / "tune" / "tuning.json").read_text())
    assert said["searches"][0]["best"] == [2, 1, 0]
    name = load_study(promote(study, 1, output=root)).name
    said = json.loads(Store(root).study(name).promoted.read_text())
    assert said["settings"]["se tuned"] == {REDUCTION: 8}


def test_what_was_promoted_is_kept_and_told_in_every_form_of_the_report(make, root, training):
    from ablate.report import render_study
    from ablate.runner import run_study

    study, said = make(f"space: {{{REDUCTION}: [4, 8], {RATE}: [0.01, 0.0123456]}}\nseeds: 1"), []
    tune(study, root)
    path = promote(study, 4, output=root, say=said.append)
    assert said == []
    first = path.read_text()
    promote(study, 2, output=root, say=said.append)
    assert path.with_stem("tiny-tuned.1").read_text() == first != path.read_text()
    assert "that one is kept as tiny-tuned.1.yaml" in said.pop()
    promote(study, 2, output=root, say=said.append)
    assert said == [], "the same again overwrites nothing"
    run_study(load_study(path), output=root, device="cpu", executor="inline")
    for form in ("markdown", "html", "latex"):
        text = render_study(Store(root), "tiny-tuned", form)
        assert "se tuned 2: lr=0.0123 reduction=8" in text
        assert "adam at 0.01" not in text and "learning rate: see the settings" in text


def test_a_promoted_setting_that_is_the_baseline_is_told(make, root, training):
    study, said = make(f"space: {{{REDUCTION}: [2, 4]}}\nseeds: 1"), []
    path = root.parent / "tiny.yaml"
    path.write_text(path.read_text().replace("baseline: baseline\n", "baseline: other\n", 1))
    path.write_text(path.read_text().replace("variants:\n", "variants:\n  other: {}\n"))
    study = load_study(path)
    tune(study, root)
    promote(study, 2, output=root, say=said.append)
    assert said == ["'se tuned 1' has the same settings as 'other': the study has one variant of both names"]


def test_a_tuned_variant_beside_an_untuned_baseline_is_said(make, root, training):
    from ablate.runner import run_study

    study = make(f"space: {{{REDUCTION}: [2, 4, 8]}}")
    tune(study, root)
    promoted = load_study(promote(study, 1, output=root))
    assert list(promoted.variants) == ["baseline", "se tuned"]
    text = run_study(promoted, output=root, device="cpu", executor="inline").report.read_text(
        encoding="utf-8"
    )
    assert "The baseline was NOT tuned" in text.partition("\n## ")[0]


def test_the_next_command_finds_the_tree_and_the_user_s_own_modules(make, write, root, tmp_path, monkeypatch):
    from ablate.tune import run_command

    study, promoted = make(f"space: {{{REDUCTION}: [2, 4, 8]}}"), root / "tiny" / "tune" / "tiny-tuned.yaml"
    assert run_command(study, promoted, "results") == f"ablate run {promoted}"
    assert run_command(study, promoted, root) == f"ablate run {promoted} -o {root}"
    path = write("space: {train.epochs: [1]}")
    path.write_text(
        path.read_text().replace("backbone: cnn", 'backbone: "mine:net"').replace("args: {width: 0.5}", "")
    )
    own = load_study(path)
    assert run_command(own, promoted, root) == f"cd {tmp_path} && ablate run {promoted} -o {root}"
    monkeypatch.chdir(tmp_path)
    assert run_command(own, promoted, "results") == f"ablate run {promoted}"
