"""Figures by the rows that they draw; the drawings only for being drawn, and drawn alike."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from ablate.report import build_report, figures
from ablate.report.drawing import draw_cost


def test_every_seed_is_a_dot_and_every_variant_has_its_interval(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    table = figures.accuracy_rows(report)
    assert len(table) == 75
    row = report.variants[4]
    drawn = table[table["variant"] == row.name]
    assert dict(zip(drawn["seed"], drawn["accuracy"], strict=True)) == row.scores
    assert row.accuracy and set(drawn["low"]) == {row.accuracy.low}


def test_one_run_has_no_interval_to_draw(tree: Any) -> None:
    tree.add_variant("baseline", {0: 84.68})
    tree.plan()
    table = figures.accuracy_rows(build_report(tree.store, "msa"))
    assert table["low"].isna().all() and table["high"].isna().all()


def test_a_numeric_sweep_stands_at_its_values_a_named_one_in_its_order(msa: Any) -> None:
    reduction, at = build_report(msa.store, "msa").sweeps
    assert list(dict.fromkeys(figures.sweep_rows(reduction)["value"])) == [4, 8, 16, 32]
    levels = figures.sweep_rows(at).drop_duplicates("level")
    assert list(levels["level"]) == ["msa", "early", "middle", "late", "all"]
    assert list(levels["value"]) == [0, 1, 2, 3, 4]


def test_effects_costs_and_curves(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    assert len(figures.effect_rows(report)) == 10
    costs = figures.cost_rows(report, "macs").set_index("variant")
    assert costs.loc["multi-scale", "macs"] == 2_200_000
    curves = figures.curve_rows(report, msa.store)
    assert len(curves) == 75 * 4 and curves["validation_accuracy"].between(60, 95).all()


def test_every_figure_that_the_report_names_is_drawn_twice_and_equally(tree: Any) -> None:
    tree.add_variant("base$line", {0: 84.0, 1: 84.5, 2: 84.2})
    tree.add_variant("a_very_long_name_{of}_a^variant", {0: 85.0, 1: 85.5})
    tree.baseline = "base$line"
    tree.plan()
    report = build_report(tree.store, "msa")
    first = figures.draw_figures(report, tree.store)
    assert {name.rpartition(".")[0] for name in first} == {figure.name for figure in report.figures}
    assert all(content.startswith((b"<?xml", b"\x89PNG")) for content in first.values())
    assert first == figures.draw_figures(report, tree.store)


def test_names_beside_points_hide_no_other_name(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    canvas = draw_cost(figures.cost_rows(report, "param_count"), "param_count", "baseline")
    canvas.savefig(io.BytesIO(), format="png")
    notes = canvas.axes[0].texts
    assert {note.get_text() for note in notes} == {row.name for row in report.variants}
    # An annotation's own extent holds its leader, too: the text alone is asked for.
    boxes = [type(note).__mro__[1].get_window_extent(note).extents for note in notes]
    for i, first in enumerate(boxes):
        for second in boxes[:i]:
            apart = (
                first[0] >= second[2]
                or second[0] >= first[2]
                or first[1] >= second[3] - 3
                or second[1] >= first[3] - 3
            )
            assert apart


@pytest.mark.parametrize(
    ("values", "geometric"), [([4, 8, 16, 32], True), ([1, 2, 3, 4], False), ([0, 1, 10], False)]
)
def test_an_axis_is_logarithmic_where_values_grow_by_ratio(values: list[float], geometric: bool) -> None:
    from ablate.report.drawing import _is_geometric

    assert _is_geometric(list(np.asarray(values, dtype=float))) is geometric
