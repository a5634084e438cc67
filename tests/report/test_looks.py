"""Post hoc, each for itself; and a study whose seeds were given out by the looks at its results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ablate.record import Look, PlannedLooks
from ablate.report import build_report, render_json, render_markdown
from ablate.report.build import report_of
from ablate.report.looks import UNPLANNED
from ablate.report.post_hoc import post_hoc
from ablate.stats import THRESHOLDS

HELPS = {
    "id": "C1",
    "say": "it helps",
    "kind": "difference",
    "metric": "accuracy",
    "of": "se",
    "against": ["baseline"],
    "at_least": 0.0,
}
MUCH = HELPS | {"id": "C2", "at_least": 0.5}
SMALL = HELPS | {"id": "C3", "metric": "param_count", "kind": "ratio", "at_least": None, "at_most": 1.1}
SMALL = {key: value for key, value in SMALL.items() if value is not None}


def even(mean: float, n: int = 5, step: float = 0.19) -> dict[int, float]:
    return {seed: round(mean + step * (2 * seed - n + 1) / 2, 4) for seed in range(n)}


@pytest.fixture
def pair(tree: Any) -> Any:
    tree.add_variant("baseline", even(84))
    tree.add_variant("se", even(85))
    return tree


def looked_at(tree: Any, *claims: dict[str, Any]) -> Any:
    tree.claims = claims
    plan = tree.plan()
    tree.store.add_look("msa", Look(date="2025-01-02T00:00:00.000+00:00", finished=10, seeds=5))
    return plan


def written_later(tree: Any, plan: Any, **changes: Any) -> dict[str, Any]:
    changed = plan.model_copy(
        update={"planned": "2025-01-03T00:00:00.000+00:00", "analysis_hash": "1", **changes}
    )
    tree.store.write_plan(changed)
    return {row.id: row.post_hoc for row in build_report(tree.store, "msa").claims}


def test_a_claim_that_came_after_the_first_look_is_post_hoc_alone(pair: Any) -> None:
    plan = looked_at(pair, HELPS, SMALL)
    assert written_later(pair, plan, claims=(HELPS, MUCH, SMALL)) == {
        "C1": None,
        "C2": "the claim was first written after the results had been read",
        "C3": None,
    }
    page = render_markdown(build_report(pair.store, "msa"))
    assert "Post hoc, C2: the claim was first written after the results had been read." in page
    assert "supported, post hoc" in page and "| supported |" in page


def test_another_sentence_for_the_same_claim_is_none(pair: Any) -> None:
    plan = looked_at(pair, HELPS)
    assert written_later(pair, plan, claims=(HELPS | {"say": "SE helps", "id": "H"},)) == {"H": None}


def test_a_changed_bound_is_another_claim(pair: Any) -> None:
    plan = looked_at(pair, HELPS)
    assert written_later(pair, plan, claims=(HELPS | {"at_least": 0.1},))["C1"] is not None


def test_claims_taken_away_make_the_rest_post_hoc_where_they_shared_its_level(pair: Any) -> None:
    plan = looked_at(pair, HELPS, MUCH, SMALL)
    assert written_later(pair, plan, claims=(HELPS, SMALL)) == {
        "C1": "1 of the claims that it shares the level with were taken away after the results had been read",
        "C3": None,
    }


def test_a_changed_analysis_makes_everything_post_hoc(pair: Any) -> None:
    plan = looked_at(pair, HELPS)
    analysis = {**plan.analysis, "margin": 1.0}
    said = "the analysis was changed after the results had been read"
    assert written_later(pair, plan, analysis=analysis) == {"C1": said}
    report = build_report(pair.store, "msa")
    assert report.looks.post_hoc == said
    assert said in render_markdown(report)
    assert written_later(pair, plan) == {"C1": None}, "what was promised before the look still holds"


def test_another_number_of_seeds_makes_everything_post_hoc(pair: Any) -> None:
    looked_at(pair, HELPS)
    plan = pair.store.read_plan("msa")
    more = plan.model_copy(update={"seeds": tuple(range(10))})
    assert post_hoc(more) == "the number of seeds was changed, to 10, after a look at results of 5"
    rule = PlannedLooks(seeds=tuple(range(10)), family=("se",))
    assert "was settled after the results had been read" in post_hoc(
        more.model_copy(update={"until_decided": rule, "planned": "2025-01-03T00:00:00.000+00:00"})
    )


# Under the rule


def under_the_rule(tree: Any, **given: dict[int, float | None]) -> Any:
    for name, scores in given.items():
        tree.seeds = tuple(scores)
        tree.add_variant(name, scores)
    tree.seeds = tuple(range(max(map(len, given.values()))))
    plan = tree.plan()
    rule = PlannedLooks(seeds=tuple(range(10)), family=tuple(name for name in given if name != "baseline"))
    return plan.model_copy(update={"until_decided": rule})


def test_the_looks_decide_and_no_test_of_a_fixed_number_of_seeds(tree: Any) -> None:
    """Half a point at five seeds: Welch at .05 would call it better, the second look does not yet."""
    scores = {"baseline": even(84, step=0.12), "se": even(84.5, step=0.25)}
    plan = under_the_rule(tree, **scores)
    fixed = report_of(tree.store, plan.model_copy(update={"until_decided": None})).variants[1].against
    assert fixed.judgement.verdict == "better" and 0.010 < fixed.judgement.p_adjusted < 0.05
    report = report_of(tree.store, plan)
    against = report.variants[1].against
    assert against.judgement.verdict == "undecided"
    assert against.reason == "look at 5 seeds: still open, so that it goes on to 7 seeds"
    assert against.judgement.level == THRESHOLDS[5]
    low, high = fixed.judgement.evidence.estimate.interval(THRESHOLDS[5])
    assert (against.judgement.low, against.judgement.high) == pytest.approx((low, high))
    assert report.looks.until_decided.given()["se"] == tuple(range(7))


def test_a_look_is_held_once_the_baseline_and_all_that_are_open_are_there(tree: Any) -> None:
    plan = under_the_rule(tree, baseline=even(84), se=even(84.5, step=0.3), eca=even(84.2, 2))
    rule = report_of(tree.store, plan).looks.until_decided
    assert [one.looks for one in rule.variants] == [(), ()]
    assert rule.given() == dict.fromkeys(("se", "eca", "baseline"), (0, 1, 2))


def test_what_was_decided_keeps_its_three_seeds_while_the_baseline_goes_on(tree: Any) -> None:
    plan = under_the_rule(tree, baseline=even(84), se=even(88, 3), eca=even(84.3))
    report = report_of(tree.store, plan)
    judgement = report.variants[1].against.judgement
    assert judgement.verdict == "better"
    assert (judgement.evidence.n, judgement.evidence.n_against) == (3, 3), "and not three against five"
    assert report.variants[1].against.new_images is not None
    assert report.looks.until_decided.given()["se"] == (0, 1, 2)
    assert report.looks.until_decided.runs == 13


def test_other_families_are_exploratory_and_say_why(msa: Any) -> None:
    plan = msa.store.read_plan("msa")
    names = tuple(variant.name for variant in plan.variants if variant.name != "baseline")
    ruled = plan.model_copy(update={"until_decided": PlannedLooks(seeds=tuple(range(10)), family=names)})
    report = report_of(msa.store, ruled)
    assert {row.judgement.verdict for row in report.effects} == {"exploratory"}
    levels = [level.against for sweep in report.sweeps for level in sweep.levels if level.against]
    assert {against.judgement.verdict for against in levels} == {"exploratory"}
    assert {against.reason for against in levels} == {UNPLANNED}
    assert "better" in {row.against.judgement.verdict for row in report.variants if row.against}


def test_only_claims_that_ask_what_the_rule_decides_are_decided(tree: Any) -> None:
    tree.claims = (HELPS, MUCH)
    plan = under_the_rule(tree, baseline=even(84), se=even(88, 3))
    report = report_of(tree.store, plan)
    helps, much = report.claims
    decision = report.looks.until_decided.variants[0].decided
    assert (helps.verdict, helps.figures[0].low) == ("supported", decision.low)
    assert (much.verdict, much.reason) == ("exploratory", UNPLANNED)


def test_json_tells_every_look(tree: Any) -> None:
    plan = under_the_rule(tree, baseline=even(84), se=even(84.3))
    said = json.loads(render_json(report_of(tree.store, plan)))["looks"]["until_decided"]
    (se,) = said["variants"]
    assert [look["n"] for look in se["looks"]] == [3, 5]
    assert (said["over"], said["runs"], said["runs_at_most"]) == (False, 10, 20)
