"""The section on budget controls against scipy on the raw records, and its sentence for every verdict."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.record import PlannedControl
from ablate.report import build_report, render_study, write_report
from ablate.report.controls import answer

WIDE = "baseline params=msa"
SPREAD = (-0.3, -0.1, 0.0, 0.15, 0.25)


def scores(mean: float, n: int = 5) -> dict[int, float]:
    return {seed: mean + SPREAD[seed] for seed in range(n)}


@pytest.fixture
def controlled(tree: Any) -> Callable[..., Any]:
    """(accuracies by variant, its own control or not) -> a tree with one study, two controls planned."""

    def make(means: Mapping[str, float], n: int = 5, off: float = 0.0005, **kinds: Any) -> Any:
        tree.add_variant("baseline", scores(85.0, n), params=280_000)
        tree.add_variant("msa", scores(means["msa"], n), params=320_000, macs=1_900_000)
        achieved = round(320_000 * (1 + off))
        tree.add_variant(WIDE, scores(means["wide"], n), params=achieved, origin="control", **kinds)
        tree.add_variant("baseline macs=msa", scores(means["deep"], n), macs=1_901_000, origin="control")
        tree.plan()
        return plan_controls(tree, achieved)

    return make


def plan_controls(tree: Any, achieved: int) -> Any:
    known = {"to": "msa", "argument": "width", "baseline": 280_000}
    controls = (
        PlannedControl(match="params", variant=WIDE, value=1.07, budget=320_000, achieved=achieved, **known),
        PlannedControl(
            match="macs",
            variant="baseline macs=msa",
            value=1.2,
            budget=1_900_000,
            achieved=1_901_000,
            **known,
        ),
    )
    tree.store.write_plan(tree.plan().model_copy(update={"controls": controls}))
    return tree


@pytest.mark.parametrize(("wide", "deep"), [(85.2, 86.9), (87.0, 87.02), (88.0, 86.6)])
def test_each_control_is_judged_as_scipy_judges_it(
    controlled: Callable[..., Any], wide: float, deep: float
) -> None:
    means = {"msa": 87.0, "wide": wide, "deep": deep}
    tree = controlled(means)
    of, others = list(scores(87.0).values()), [list(scores(m).values()) for m in (wide, deep)]
    tests = [stats.ttest_ind(of, other, equal_var=False) for other in others]
    reject, adjusted, _, _ = multipletests([test.pvalue for test in tests], 0.05, "holm")
    equivalent = multipletests(
        [
            max(
                stats.ttest_ind(np.add(of, 0.5), other, equal_var=False, alternative="greater").pvalue,
                stats.ttest_ind(np.subtract(of, 0.5), other, equal_var=False, alternative="less").pvalue,
            )
            for other in others
        ],
        0.05,
        "holm",
    )[0]
    told = json.loads(render_study(tree.store, "msa", "json"))
    order = np.argsort([test.pvalue for test in tests], kind="stable")
    for i, row in enumerate(told["controls"]):
        difference = float(np.mean(of) - np.mean(others[i]))
        divisor = 2 - list(order).index(i) if reject[i] else 2 - reject.sum()
        assert row["delta"] == pytest.approx(difference)
        assert row["p_value"] == pytest.approx(tests[i].pvalue, rel=1e-9)
        assert row["p_adjusted"] == pytest.approx(adjusted[i], rel=1e-9)
        assert row["delta_ci"] == pytest.approx(tuple(tests[i].confidence_interval(1 - 0.05 / divisor)))
        side = "better" if difference > 0 else "worse"
        if reject[i]:
            expected = f"{side} but within the margin" if equivalent[i] else side
        else:
            expected = "equivalent" if equivalent[i] else "undecided"
        assert row["verdict"] == expected
        assert row["family"] == "variants against their controls"
        assert (row["to"], row["baseline_accuracy_mean"]) == ("msa", pytest.approx(85.0))
        assert row["control_accuracy_mean"] == pytest.approx((wide, deep)[i])


def test_controls_cost_the_other_variants_no_power(controlled: Callable[..., Any], tree: Any) -> None:
    controlled({"msa": 85.5, "wide": 85.2, "deep": 85.3})
    rows = {row["name"]: row for row in json.loads(render_study(tree.store, "msa", "json"))["variants"]}
    assert rows["msa"]["p_adjusted"] == rows["msa"]["p_value"]
    assert rows["msa"]["family"] == "variants" and rows[WIDE]["family"] == "controls"
    nearer = rows["baseline macs=msa"]
    assert nearer["p_adjusted"] == pytest.approx(2 * nearer["p_value"])


@pytest.mark.parametrize(
    ("wide", "n", "kinds", "expected"),
    [
        (85.2, 5, {}, "Not only more parameters: msa does better than baseline with width 1.07 (+0.05 % "
         "parameters), by +1.80 ["),
        (88.0, 5, {}, "Better spent otherwise: msa does worse than baseline with width 1.07 (+0.05 % "
         "parameters): −1.00 ["),
        (87.0, 5, {}, "No more than its parameters: msa and baseline with width 1.07 (+0.05 % parameters) "
         "are equivalent, 0.00 ["),
        (86.8, 5, {}, "Whether it is only more parameters is undecided: msa against baseline with width 1.07 "
         "(+0.05 % parameters), +0.20 ["),
        (86.8, 3, {}, "Whether it is only more parameters is exploratory: msa against"),
        (87.0, 5, {"twin_of": "msa"}, "msa and baseline with width 1.07 (+0.05 % parameters) gave identical "
         "predictions on every shared seed."),
    ],
)  # fmt: skip
def test_the_answer_is_one_plain_sentence(
    controlled: Callable[..., Any], wide: float, n: int, kinds: dict[str, Any], expected: str
) -> None:
    tree = controlled({"msa": 87.0, "wide": wide, "deep": 85.0}, n, **kinds)
    report = build_report(tree.store, "msa")
    sentence = answer(report, report.controls[0])
    assert sentence.startswith(expected) and sentence.endswith(".") and ".." not in sentence
    assert sentence in json.loads(render_study(tree.store, "msa", "json"))["headline"]


def test_the_section_sets_baseline_control_and_variant_side_by_side(controlled: Callable[..., Any]) -> None:
    tree = controlled({"msa": 87.0, "wide": 85.2, "deep": 86.0}, off=0.02)
    page = render_study(tree.store, "msa", "markdown")
    section = page.split("## Is it attention, or only more parameters or MACs?\n")[1].split("\n## ")[0]
    lines = [line for line in section.split("\n") if line.startswith("| ")][2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == [
        "baseline",
        f"{WIDE} (width 1.07)",
        f"msa − {WIDE}",
        "baseline",
        "baseline macs=msa (width 1.2)",
        "msa − baseline macs=msa",
    ]
    assert lines[1].startswith(f"| {WIDE} (width 1.07) | 5 | 85.20 ± 0.22 | 326,400 | 1.50 M |")
    assert "baseline params=msa is +2.00 % off msa's 320,000 parameters, more than 1 %." in section
    assert f"| {WIDE} | 5 | 85.20" in page.split("## Results")[1].split("## Is it")[0]
    write_report(tree.store, "msa")
    with (tree.store.study("msa").tables / "controls.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["match"], row["control"], row["verdict"]) for row in rows] == [
        ("params", WIDE, "better"),
        ("macs", "baseline macs=msa", "better"),
    ]
    assert float(rows[0]["percent_off"]) == pytest.approx(2.0)


def test_the_baseline_may_be_its_own_control(tree: Any) -> None:
    tree.add_variant("baseline", scores(85.0))
    tree.add_variant("gate", scores(86.0), params=280_001)
    own = PlannedControl(
        match="params", to="gate", variant="baseline", argument="width", value=None,
        budget=280_001, achieved=280_000, baseline=280_000,
    )  # fmt: skip
    tree.store.write_plan(tree.plan().model_copy(update={"controls": (own,)}))
    report = build_report(tree.store, "msa")
    assert answer(report, report.controls[0]).startswith(
        "Not only more parameters: gate does better than baseline, which nothing comes nearer to in "
        "parameters, by +1.00 ["
    )


def test_one_control_for_parameters_and_macs_is_one_comparison(tree: Any) -> None:
    tree.add_variant("baseline", scores(85.0))
    tree.add_variant("se", scores(85.7))
    tree.add_variant("baseline params=se", scores(85.4), origin="control")
    known = {"to": "se", "variant": "baseline params=se", "argument": "width", "value": 1.002}
    both = tuple(
        PlannedControl(match=match, budget=1000, achieved=1001, baseline=900, **known)
        for match in ("params", "macs")
    )
    tree.store.write_plan(tree.plan().model_copy(update={"controls": both}))
    rows = json.loads(render_study(tree.store, "msa", "json"))["controls"]
    assert [row["match"] for row in rows] == ["params", "macs"]
    assert all(row["p_adjusted"] == row["p_value"] for row in rows)


def test_without_controls_there_is_no_section(msa: Any) -> None:
    assert "Is it attention" not in render_study(msa.store, "msa", "markdown")
    assert json.loads(render_study(msa.store, "msa", "json"))["controls"] == []


def test_dunnett_leaves_controls_to_welch_and_pairs_keep_to_pairs(controlled: Callable[..., Any]) -> None:
    tree = controlled({"msa": 87.0, "wide": 86.0, "deep": 86.0})
    plan = tree.store.read_plan("msa")
    for test in ("dunnett", "welch", "paired"):
        analysis = plan.analysis | {"test": test}
        tree.store.write_plan(plan.model_copy(update={"analysis": analysis}))
        (first, _) = json.loads(render_study(tree.store, "msa", "json"))["controls"]
        if test == "dunnett":
            by_dunnett = first["p_value"]
        elif test == "welch":
            assert first["p_value"] == by_dunnett
        else:  # the same spread on both sides: no pair differs from another, so there is no error
            assert first["p_value"] is None


def test_twins_are_named_with_what_set_them_apart(tree: Any) -> None:
    tree.add_variant("baseline", scores(85.0))
    settings = {"name": "msa", "args": {"reduction": 16}}
    tree.add_variant("msa", scores(87.0), settings={"model.attention": settings})
    other = {"name": "msa", "args": {"reduction": 32}}
    tree.add_variant(
        "twin", scores(87.0, 3), twin_of="msa", params=299_000, settings={"model.attention": other}
    )
    tree.add_variant("same accuracy", scores(87.0))
    tree.plan()
    told = json.loads(render_study(tree.store, "msa", "json"))
    assert told["identical"] == [
        {"variants": ["msa", "twin"], "seeds": [0, 1, 2], "settings": ["model.attention.args.reduction"]}
    ]
    sentence = (
        "msa and twin gave identical predictions on every shared seed (3): model.attention.args.reduction "
        "had no effect."
    )
    assert sentence in told["headline"]
    page = render_study(tree.store, "msa", "markdown")
    assert page.count(sentence) == 2  # at the top, and below the table of results
