"""Learning curves as rows: what epochs.csv says, thinned out evenly."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ablate.report import build_report
from ablate.report.curves import POINTS, thinned


def test_a_curve_is_that_of_its_trial(tree: Any) -> None:
    tree.add_variant("baseline", {0: 84.0, 1: None})
    tree.plan()
    text = tree.store.trial(tree.variants[0].trials[0]).epochs.read_text().splitlines()
    (curve,) = build_report(tree.store, "msa").curves
    assert (curve.variant, curve.seed, curve.id) == ("baseline", 0, tree.variants[0].trials[0])
    assert curve.epochs == (1, 2, 3, 4)
    assert [f"{value:.2f}" for value in curve.validation_accuracy] == [
        line.split(",")[5] for line in text[1:]
    ]


def test_a_long_curve_keeps_its_ends_and_its_shape(tree: Any) -> None:
    tree.add_variant("baseline", {0: 84.0})
    tree.plan()
    epochs = tree.store.trial(tree.variants[0].trials[0]).epochs
    header = epochs.read_text().splitlines()[0]
    lines = [f"{epoch},0.1,1,50,1,{epoch / 10:.1f},1,100" for epoch in range(1, 1001)]
    epochs.write_text("\n".join([header, *lines]) + "\n")
    (curve,) = build_report(tree.store, "msa").curves
    assert len(curve.epochs) == POINTS
    assert (curve.epochs[0], curve.epochs[-1]) == (1, 1000)
    assert all(
        abs(value - epoch / 10) < 1e-9
        for epoch, value in zip(curve.epochs, curve.validation_accuracy, strict=True)
    )


@pytest.mark.parametrize(("length", "most"), [(1, 48), (48, 48), (49, 48), (97, 48), (10_000, 48), (3, 2)])
def test_thinning_is_even(length: int, most: int) -> None:
    places = list(thinned(length, most))
    assert len(places) == min(length, most) == len(set(places))
    assert places[0] == 0 and places[-1] == length - 1
    steps = [b - a for a, b in itertools.pairwise(places)]
    assert not steps or max(steps) - min(steps) <= 1


def test_a_trial_without_epochs_has_no_curve(tree: Any) -> None:
    tree.add_variant("baseline", {0: 84.0, 1: 84.5}, predictions=False)
    tree.plan()
    report = build_report(tree.store, "msa")
    assert report.baseline_row.n == 2 and report.curves == ()
