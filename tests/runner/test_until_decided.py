"""`--until-decided`: who gets which seeds, that a killed run decides the same, where the rule is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

import ablate.trial
from ablate.errors import StudyError
from ablate.record import TrialMetrics, TrialRecord
from ablate.report import build_report, render_study
from ablate.runner import plan_study, run_study
from ablate.stats import THRESHOLDS, Comparison, Procedure, replay
from ablate.store import Store

# Points above the baseline at a seed sd of 0.3: one is plain at the first look, the other is worth nothing.
WORTH = {"baseline": 0.0, "se": 2.0, "se-early": 0.0}
NAMES = tuple(WORTH)


def accuracy(name: str, seed: int) -> float:
    noise = np.random.default_rng([seed, sum(map(ord, name))]).normal(scale=0.3)
    return float(90 + WORTH[name] + noise)


@dataclass
class Training:
    """In place of training. order: (name, seed) as they came. faults: what to raise, by the same."""

    order: list[tuple[str, int]] = field(default_factory=list)
    faults: dict[tuple[str, int], BaseException] = field(default_factory=dict)

    def run_trial(self, settings, seed, *, trial_id, variant_id, identity, environment, **_):
        attention = settings.model.attention
        name = "baseline" if attention is None else {"block2": "se", "block1": "se-early"}[attention.at[0]]
        if (name, seed) in self.faults:
            raise self.faults[name, seed]
        self.order.append((name, seed))
        score = accuracy(name, seed)
        rest = dict.fromkeys(("accuracy_best", "validation_accuracy", "train_accuracy"), score)
        losses = dict.fromkeys(("test_loss", "validation_loss", "train_loss"), 0.1)
        return TrialRecord(
            id=trial_id,
            variant_id=variant_id,
            seed=seed,
            status="done",
            identity=identity,
            classes=10,
            test_count=360,
            metrics=TrialMetrics(accuracy=score, best_epoch=1, **rest, **losses),
            environment=environment,
            started="2025-01-01T00:00:00+00:00",
            wall_s=3.0,
        )


INSPECTED = {}


@pytest.fixture
def trained(monkeypatch) -> Training:
    """Trials end at once, networks are inspected once, and no cost is measured and nothing drawn."""
    real = ablate.trial.inspect_variant

    def inspect(settings, *others):
        key = (settings.model_dump_json(), str(others))
        if key not in INSPECTED:
            INSPECTED[key] = real(settings, *others)
        return INSPECTED[key]

    training = Training()
    monkeypatch.setattr("ablate.trial.inspect_variant", inspect)
    monkeypatch.setattr("ablate.trial.run_trial", training.run_trial)
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda *_: {})
    monkeypatch.setattr("ablate.runner.run.measure_costs", lambda *_: None)
    return training


@pytest.fixture
def go(root) -> Callable:
    def go(study, output=root, **options):
        options = {"until_decided": True} | options
        return run_study(study, output=output, executor="inline", device="cpu", **options)

    return go


def seeds_of(root, name: str) -> tuple[int, ...]:
    variants = Store(root).read_plan("tiny").variants
    return next(tuple(each.trials) for each in variants if each.name == name)


def rule_of(root):
    return build_report(Store(root), "tiny").looks.until_decided


def expected() -> dict[str, tuple[str, int]]:
    """By the rule itself, over all scores there could be."""
    scores = {name: {seed: accuracy(name, seed) for seed in range(10)} for name in NAMES}
    family = {name: Comparison(scores[name], scores["baseline"]) for name in NAMES[1:]}
    procedure = Procedure(margin=1.0)
    return {one.variant: (one.verdict, one.n) for one in replay(family, range(10), procedure)[-1]}


def test_what_is_decided_gets_no_more_seeds(make_study, root, trained, go):
    summary = go(make_study())
    assert summary.exit_code == 0
    decided = {one.variant: (one.decided.verdict, one.decided.n) for one in rule_of(root).variants}
    assert decided == expected()
    assert decided["se"] == ("better", 3), "two points at a seed sd of 0.3 show at the first look"
    n = decided["se-early"][1]
    assert n > 3, "what is worth nothing is not decided by three seeds"
    assert seeds_of(root, "baseline") == seeds_of(root, "se-early") == tuple(range(n))
    wanted = [("se", seed) for seed in range(3)]
    wanted += [(name, seed) for name in ("baseline", "se-early") for seed in range(n)]
    assert sorted(trained.order) == sorted(wanted), "no trial twice, and none beyond"
    for earlier, later in pairwise(sorted({0, *THRESHOLDS})):
        stage = [seed for _, seed in trained.order if earlier <= seed < later]
        before = (
            [seed for _, seed in trained.order[: trained.order.index(("baseline", earlier))]] if stage else []
        )
        assert all(seed < earlier for seed in before), "a stage begins when the one before it has ended"
    trained.order.clear()
    assert go(make_study()).exit_code == 0
    assert trained.order == []


def test_the_report_goes_by_the_rule_and_says_what_it_saved(make_study, root, trained, go):
    go(make_study())
    report = build_report(Store(root), "tiny")
    rule = report.looks.until_decided
    for row in report.variants[1:]:
        found = next(one for one in rule.variants if one.variant == row.name).decided
        assert row.against.judgement.verdict == found.verdict
        assert (row.against.judgement.low, row.against.judgement.high) == (found.low, found.high)
        assert row.against.family == "variants, by the rule of --until-decided"
    text = render_study(Store(root), "tiny", "markdown")
    assert f"{rule.runs} runs instead of 30 with 10 seeds for everyone: {30 - rule.runs} saved" in text
    assert "runs high" in text and "0.15 points at a true 0.3" in text
    assert report.looks.post_hoc is None
    assert [look.seeds for look in report.looks.taken][:2] == [3, 5], "each stage is a look"


@pytest.mark.parametrize("killed_at", [("baseline", 1), ("se", 2), ("se-early", 3), ("baseline", 4)])
def test_a_run_that_is_killed_goes_on_with_the_same_decisions(make_study, root, trained, go, killed_at):
    trained.faults[killed_at] = KeyboardInterrupt()
    assert go(make_study()).exit_code == 130
    trained.faults.clear()
    assert go(make_study(), until_decided=False).exit_code == 0, "a study that was begun so goes on so"
    assert len(trained.order) == len(set(trained.order))
    assert {one.variant: (one.decided.verdict, one.decided.n) for one in rule_of(root).variants} == expected()


def test_what_was_trained_before_counts_and_stays_somebodys(make_study, root, trained, go):
    """Five seeds a variant lie there: the rule looks at three of them first, and leaves two of `se` aside."""
    go(make_study("seeds=5"), until_decided=False)
    trained.order.clear()
    go(make_study("seeds=5"))
    n = expected()["se-early"][1]
    assert sorted(trained.order) == [
        (name, seed) for name in ("baseline", "se-early") for seed in range(5, n)
    ]
    assert seeds_of(root, "se") == (0, 1, 2)
    plan = Store(root).read_plan("tiny")
    assert {trial.id for trial in Store(root).trials()} <= set(_ids(plan.model_dump_json(), root))
    assert "was settled after the results had been read" in build_report(Store(root), "tiny").looks.post_hoc


def _ids(text: str, root) -> list[str]:
    return [trial_id for trial_id in Store(root).trial_ids() if trial_id in text]


def test_a_look_waits_for_what_only_leaves_out(make_study, root, trained, go):
    assert go(make_study(), only=["baseline", "se"]).exit_code == 0
    assert sorted(trained.order) == [(name, seed) for name in ("baseline", "se") for seed in range(3)]
    assert [one.looks for one in rule_of(root).variants] == [(), ()], "no look at half a family"
    assert go(make_study()).exit_code == 0
    assert {one.variant: (one.decided.verdict, one.decided.n) for one in rule_of(root).variants} == expected()


def test_a_trial_that_fails_leaves_its_look_with_fewer(make_study, root, trained, go):
    trained.faults["se", 1] = RuntimeError("planted")
    assert go(make_study()).exit_code == 1
    found = next(one for one in rule_of(root).variants if one.variant == "se")
    assert found.looks[0].evidence.n == 2
    trained.faults.clear()
    assert go(make_study(), retry_failed=True).exit_code == 0
    assert {one.variant: (one.decided.verdict, one.decided.n) for one in rule_of(root).variants} == expected()


@pytest.mark.parametrize(
    ("overrides", "options", "said"),
    [
        ((), {"seeds": [0, 1, 2]}, "gives out up to 10 seeds, and 3 are listed by hand: 0, 1, 2"),
        (("seeds=[3, 1, 4]",), {}, "gives out up to 10 seeds, and 3 are listed by hand: 3, 1, 4"),
        (("analysis.level=0.01",), {}, "made for a level of 0.05, not 0.01"),
        ((), {"force": ["se"]}, "--force does not go with --until-decided"),
    ],
)
def test_where_the_rule_cannot_apply_it_says_so(make_study, root, trained, overrides, options, said):
    with pytest.raises(StudyError, match=said):
        plan_study(make_study(*overrides), output=root, device="cpu", until_decided=True, **options)
    assert not root.exists()


def test_other_seeds_amid_the_rule_are_refused(make_study, root, trained, go):
    go(make_study(), only=["baseline"])
    ten = list(range(20, 30))
    with pytest.raises(
        StudyError, match=r"has begun with the seeds 0, 1, 2, .* and cannot go on with 20, 21"
    ):
        go(make_study(), seeds=ten)


def test_a_study_with_ten_seeds_of_its_own_gives_these_out(make_study, root, trained):
    study = make_study("seeds=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11]")
    plan = plan_study(study, output=root, device="cpu", until_decided=True)
    assert plan.record.until_decided.seeds == (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    assert {trial.job.seed for trial in plan.wanted} == {9, 8, 7}
