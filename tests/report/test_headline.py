"""The answer in plain sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ablate.record import PlannedControl, PlannedDesign
from ablate.report import build_report
from ablate.report.headline import headline, open_report
from ablate.report.parts import effects_notes


def even(mean: float, n: int = 5, std: float = 0.3) -> dict[int, float | None]:
    return {seed: mean + std / 1.58 * (2 * seed - n + 1) / 2 for seed in range(n)}


def sentences(tree: Any) -> tuple[str, ...]:
    tree.plan()
    return headline(build_report(tree.store, "msa"))


def test_it_tells_what_earned_its_cost_and_what_that_was(msa: Any) -> None:
    first, earned, *others = sentences(msa)
    assert first.startswith(
        "Which parts earned their cost? multi-scale (+1.79 % parameters, +46.67 % MACs) is shown to add "
        "accuracy; channel and spatial bought nothing that counts (less than 0.5 points)."
    )
    assert earned.startswith(
        "multi-scale is shown to add accuracy: +1.18 [+0.90, +1.46] for +5,000 parameters "
    )
    assert earned.endswith("(+1.79 % of 280,000) and +0.70 M MACs (+46.67 % of 1.50 M).")
    assert any(
        sentence.startswith("All together, against baseline, msa: better, +1.17") for sentence in others
    )


def test_levels_of_sweeps_that_beat_the_baseline_are_told_with_what_they_cost(msa: Any) -> None:
    first, *others = sentences(msa)
    assert "Of the sweeps' levels, msa at=all, msa reduction=8, " in first
    assert first.endswith("beat baseline.")
    (levels,) = [sentence for sentence in others if sentence.startswith("Sweeps, each corrected on its own:")]
    assert "6 of 7 levels did better than baseline: msa at=all +1.51 [" in levels
    assert "(+1.07 % parameters, +33.33 % MACs)" in levels
    assert "1 of 7 levels did worse than baseline: msa at=early " in levels
    assert "against msa, where they start: msa at=early " in levels


def test_a_baseline_whose_company_has_not_run_yet_does_not_stand_alone(tree: Any) -> None:
    tree.add_variant("baseline", even(84.0))
    assert sentences(tree)[0] == "baseline stands alone: there is nothing to compare it with."
    tree.add_variant("se", {})
    tree.add_variant("eca", {})
    waiting = "Nothing can be compared with baseline yet: se and eca have no finished trial."
    assert sentences(tree)[0] == waiting


def test_where_nothing_is_shown_it_says_so_first(tree: Any, build_msa: Any) -> None:
    build_msa(tree, std=3.0)
    first = sentences(tree)[0]
    assert first.startswith("Which parts earned their cost? None is shown to have: ")
    assert "after 5 seeds" in first and "shown to add" not in first


def test_an_undecided_part_is_told_with_the_seeds_that_would_decide(tree: Any, build_msa: Any) -> None:
    build_msa(tree, std=1.0)
    undecided = [
        sentence for sentence in headline(build_report(tree.store, "msa")) if " is undecided: " in sentence
    ]
    assert undecided and all(
        "seeds a variant" in sentence and "more than now" in sentence for sentence in undecided
    )


def test_one_run_each_is_undecidable_with_reason_and_seeds(tree: Any) -> None:
    tree.seeds = (0,)
    tree.add_variant("baseline", {0: 84.68})
    tree.add_variant("se", {0: 85.38})
    _, sentence = sentences(tree)
    assert sentence == (
        "se: undecidable, +0.70 (no interval); a single run tells nothing of the spread between seeds: at an "
        "assumed seed sd of "
        "0.3 points a gap of 0.70 arises by chance 9.9 % of the time; 7 seeds per variant would show a "
        "difference of 0.5 "
        "points, or rule it out, 4 times in 5 if seeds scatter by 0.3 points (assumed; after two seeds it is "
        "measured)."
    )


def test_one_run_each_says_how_far_the_test_images_alone_may_mislead(tree: Any) -> None:
    """100·√(.8·.2/2000) = 0.894 points, above the 0.3 that seeds are assumed to scatter by."""
    tree.seeds = (0,)
    tree.add_variant("baseline", {0: 80.0})
    tree.add_variant("se", {0: 85.0})
    tree.plan()
    report = build_report(tree.store, "msa")
    told = "The sampling error of one accuracy on 2,000 test images is larger, up to 0.89 points."
    assert told in open_report(report).basis
    assert told not in open_report(replace(report, data={"test_count": 10**6})).basis


@pytest.mark.parametrize(
    ("control", "said"),
    [
        (85.0, "; whether se adds more than its parameters alone would is undecided."),
        (87.0, "; se adds less than its parameters alone would."),
        (83.0, "baseline? se does."),
    ],
)
def test_the_first_line_says_whether_the_budget_alone_would_do(tree: Any, control: float, said: str) -> None:
    tree.add_variant("baseline", even(83, std=0.6))
    tree.add_variant("se", even(85.2, std=0.6))
    tree.add_variant("wide", even(control, std=0.6), origin="control")
    planned = PlannedControl(
        match="params",
        to="se",
        variant="wide",
        argument="width",
        value=1.1,
        budget=280_000,
        achieved=280_000,
        baseline=280_000,
    )
    tree.store.write_plan(tree.plan().model_copy(update={"controls": (planned,)}))
    first, *_ = headline(build_report(tree.store, "msa"))
    assert first.startswith("Which variants beat baseline? se does") and first.endswith(said)


def test_what_is_post_hoc_says_so_before_anything_else(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    late = replace(report, looks=replace(report.looks, post_hoc="the analysis was changed"))
    assert headline(late)[0] == f"Post hoc: {headline(report)[0]}"


@pytest.mark.parametrize("kind", ["factorial", "chain"])
def test_what_a_design_leaves_on_is_no_none(msa: Any, kind: Any) -> None:
    """Over multi-scale and channel, with spatial on in every cell."""
    cells = ((), "spatial"), (("multi-scale",), "multi-scale+spatial")
    cells += (("channel",), "channel+spatial"), (("multi-scale", "channel"), "msa")
    factors = ("multi-scale", "channel")
    msa.designs = [PlannedDesign(kind=kind, start="msa", factors=factors, cells=cells)]
    msa.plan()
    report = build_report(msa.store, "msa")
    opening, notes = open_report(report), " ".join(effects_notes(report))
    assert "spatial is on throughout, also with every part off." in opening.basis
    if kind == "chain":
        assert any(one.endswith("which is all parts together less spatial alone.") for one in opening.others)
        assert "all parts together less spatial alone" in notes
    else:
        assert "Alone: the part against spatial alone;" in notes and "has no module" not in notes


def test_without_a_design_it_tells_each_verdict_best_first(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("bad", even(83))
    tree.add_variant("good", even(85))
    found = sentences(tree)
    assert found[0] == "Which variants beat baseline? good does; bad does worse."
    assert [sentence.split(",")[0] for sentence in found[1:]] == ["good: better", "bad: worse"]


def test_an_unfinished_study_says_so(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("se", {0: 84.0, 1: None, 2: 10.0})
    found = sentences(tree)
    assert "Incomplete: 7 of 10 trials are finished (1 failed); every row says its n." in found
    assert "Did not learn, yet counted in the means: se (1 of 2)." in found


def test_nothing_finished_and_nothing_to_compare(tree: Any) -> None:
    tree.add_variant("baseline", {})
    assert sentences(tree) == ("None of the 5 trials has finished, so there is nothing to report yet.",)


def test_a_baseline_alone(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    assert sentences(tree) == ("baseline stands alone: there is nothing to compare it with.",)
