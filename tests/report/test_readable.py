"""What the figures of a large study show, what they say of the rest, and that a small one is shown whole."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from ablate.record import PlannedSweep
from ablate.report import build_report, figures, readable, render_markdown
from ablate.report.drawn import draw_all

COUNT = readable.MOST + 20


@pytest.fixture
def wide(tree: Any) -> Any:
    """A variant for each place: v0 the worst of all, each the dearer and the better for its number."""
    tree.add_variant("baseline", {0: 80.0, 1: 80.5}, params=100_000, macs=1_000_000)
    for number in range(1, COUNT):
        score = 81.0 + number / 10
        costs = {"params": 100_000 + 1_000 * number, "macs": 3_000_000 - 10_000 * number}
        tree.add_variant(f"v{number}", {0: score, 1: score + 0.5}, **costs)
    tree.claims = (
        {
            "id": "C1",
            "say": "the third helps",
            "kind": "difference",
            "metric": "accuracy",
            "of": "v3",
            "against": ("baseline",),
            "at_least": 0,
        },
    )
    tree.plan()
    return tree


def test_a_large_study_shows_the_baseline_the_claimed_and_the_best_and_says_so(wide: Any) -> None:
    report = build_report(wide.store, "msa")
    best = [f"v{number}" for number in range(COUNT - readable.MOST + 2, COUNT)]
    for table in (figures.accuracy_rows(report), figures.curve_rows(report, wide.store)):
        assert list(dict.fromkeys(table["variant"])) == ["baseline", "v3", *best]
    captions = {figure.name: figure.caption for figure in report.figures}
    said = f"{readable.MOST} of {COUNT} variants (baseline, those in claims and the best by mean accuracy)"
    assert captions["accuracy"].endswith(f"; {said}; all are in tables/variants.csv")
    assert captions["curves"].endswith(f"; {said}; all are in report.html")
    assert captions["accuracy"].replace("_", "\\_") in render_markdown(report)


def test_a_front_keeps_every_point_and_names_those_on_it_first(wide: Any) -> None:
    report = build_report(wide.store, "msa")
    table = figures.cost_rows(report, "macs")
    named = set(table.loc[table["named"], "variant"])
    assert len(table) == COUNT and len(named) == readable.MOST_NAMES
    assert {"baseline", "v3", *table.loc[table["on_front"], "variant"]} <= named
    [note] = [figure.note for figure in report.figures if figure.name == "accuracy-macs"]
    assert note.startswith(f"{readable.MOST_NAMES} of {COUNT} variants with name and interval (baseline,")


def test_the_figure_itself_says_what_it_leaves_out(wide: Any) -> None:
    report = build_report(wide.store, "msa")
    for figure in report.figures:
        drawing = figures._drawing(report, wide.store, figure)
        canvas = drawing.draw(*drawing.arguments)
        assert " ".join(canvas.get_suptitle().split()) == figure.note != ""


def test_of_many_effects_the_parts_and_the_largest_interactions_are_drawn(
    msa: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readable, "MOST_EFFECTS", 6)
    report = build_report(msa.store, "msa")
    shown = readable.readable_effects(report.effects)
    drawn = [row for row in report.effects if not row.view]
    parts = [row for row in drawn if len(row.factors) == 1]
    others = sorted(
        (row for row in drawn if len(row.factors) > 1),
        key=lambda row: -abs(row.judgement.evidence.estimate.value),
    )
    assert [row for row in shown.kept if row.kind != "interaction"] == parts and len(parts) == 5
    assert [(row.name, row.within) for row in shown.kept if row.kind == "interaction"] == [
        (others[0].name, others[0].within)
    ]
    assert shown.note == (
        "6 of 10 effects (the parts and the largest interactions); all are in tables/effects.csv"
    )


def test_a_small_study_is_shown_whole_and_says_nothing(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    assert {figure.note for figure in report.figures} == {""}
    assert figures.cost_rows(report, "macs")["named"].all()


def test_long_names_leave_room_for_the_axes(tree: Any, tmp_path: Path) -> None:
    tree.add_variant("baseline", {0: 84.0, 1: 84.5})
    names = [f"v{number} {'of a very long name ' * 7}" for number in range(4)]
    for name in names:
        tree.add_variant(name, {0: 85.0, 1: 85.5})
    tree.sweeps = [
        PlannedSweep(
            name="width",
            setting="model.args.width",
            start="baseline",
            levels=tuple((name, name) for name in names),
            numeric=False,
        )
    ]
    tree.plan()
    report = build_report(tree.store, "msa")
    drawn = [
        figures._drawing(report, tree.store, figure)
        for figure in report.figures
        if figure.name == "accuracy" or figure.name.startswith("sweep")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "constrained_layout not applied because axes sizes collapsed"
        assert len(draw_all(drawn, tmp_path)) == 4
