"""The rows that figures are drawn from, by hand."""

from __future__ import annotations

import pytest

from ablate.report import tuning
from ablate.report.tuning.charts import (
    Point,
    axis_of,
    history_rows,
    parallel_rows,
    pareto_rows,
    slice_rows,
    stopped_rows,
)

REDUCTION, RATE = "model.attention.args.reduction", "train.optimizer.lr"


@pytest.fixture
def search(read, content):
    [search] = read(content()).searches
    return search


def test_places_on_an_axis_follow_its_scale(search):
    rate, ratio = axis_of(search, RATE), axis_of(search, REDUCTION)
    assert [rate.share(value) for value in (0.001, 0.01, 0.1)] == [0.0, pytest.approx(0.5), 1.0]
    assert (ratio.choices, ratio.share(1)) == (("4", "8", "16"), 0.5)
    assert (rate.ends, ratio.ends) == (("0.001", "0.1"), ("4", "16"))


def test_the_best_so_far_follows_the_direction(search):
    assert history_rows(search, "accuracy", "maximize") == [(0, 80.0, 80.0), (2, 82.5, 82.5)]
    assert history_rows(search, "macs", "minimize") == [(0, 80.0, 80.0), (2, 160.0, 80.0)]
    assert stopped_rows(search) == [(1, 60.0)]


def test_a_slice_holds_the_settings_that_ended(search):
    assert slice_rows(search, REDUCTION, "accuracy") == [
        Point(0, 1.0, 80.0, False),
        Point(2, 2.0, 82.5, True),
    ]
    assert slice_rows(search, RATE, "accuracy") == [Point(0, 0.01, 80.0, False), Point(2, 0.1, 82.5, True)]


def test_lines_run_from_the_worst_to_the_best_and_skip_what_does_not_exist(read, content):
    said = content()
    del said["searches"][0]["trials"][0]["choices"][RATE]
    [search] = read(said).searches
    worst, best = parallel_rows(search, "accuracy", "maximize")
    assert (worst.number, worst.shade, worst.points) == (0, 0.0, ((0, 0.5), (2, 0.0)))
    assert (best.number, best.shade, best.points) == (2, 1.0, ((0, 1.0), (1, 1.0), (2, 1.0)))
    assert [line.number for line in parallel_rows(search, "macs", "minimize")] == [2, 0]


def test_the_front_is_what_the_search_says_it_is(search):
    assert pareto_rows(search, "macs", "accuracy") == [
        Point(0, 80.0, 80.0, True),
        Point(2, 160.0, 82.5, True),
    ]


def test_every_figure_that_is_named_can_be_drawn(read, content):
    found = read(content(objectives={"accuracy": "maximize", "macs": "minimize"}))
    names = [figure.name for figure in tuning.figures(found)]
    kinds = ("history", "slices", "parallel", "importances", "pareto")
    assert names == [f"tuning-1-{kind}" for kind in kinds]
    drawn = {name: tuning.draw(found, name) for name in names}
    history, pareto = drawn["tuning-1-history"].axes, drawn["tuning-1-pareto"].axes
    assert list(history[0].lines[0].get_ydata()) == [80.0, 82.5]
    assert [line.get_xydata().tolist() for line in pareto[0].lines[:2]] == [[[80.0, 80.0]], [[160.0, 82.5]]]
    labels = [label.get_text() for label in drawn["tuning-1-importances"].axes[0].get_yticklabels()]
    assert labels == ["lr", "reduction"]
