"""The names and times of curves, and which points a tracker lacks."""

from __future__ import annotations

import math

import pytest

from ablate.track.curves import Point, curves_of, missing, same
from ablate.track.parameters import flat, word

EPOCHS = [
    {"epoch": 1.0, "train_loss": 2.0, "validation_loss": None, "seconds": 10.0, "stage": 1.0},
    {"epoch": 2.0, "train_loss": 1.0, "validation_loss": 3.0, "seconds": 4.0, "stage": 2.0},
]
STEPS = [{"step": float(step), "epoch": (step + 1) // 2, "loss": step / 10} for step in (1, 2, 3, 4)]


def test_rows_become_curves_at_the_times_that_their_lengths_tell():
    found = curves_of(EPOCHS, STEPS, ended_s=100.0, stages=False)
    assert found == {
        "epoch/train_loss": {1: (2.0, 96.0), 2: (1.0, 100.0)},
        "epoch/validation_loss": {2: (3.0, 100.0)},
        "epoch/seconds": {1: (10.0, 96.0), 2: (4.0, 100.0)},
        "step/loss": {1: (0.1, 91.0), 2: (0.2, 96.0), 3: (0.3, 98.0), 4: (0.4, 100.0)},
    }
    assert curves_of(EPOCHS, [], ended_s=0.0, stages=True)["epoch/stage"][2].value == 2.0


def curve(*values: float, name: str = "epoch/train_loss") -> dict[str, dict[int, Point]]:
    return {name: {step: Point(value, 0.0) for step, value in enumerate(values, start=1)}}


def logged(*values: float, name: str = "epoch/train_loss") -> dict[str, dict[int, float]]:
    return {name: dict(enumerate(values, start=1))}


@pytest.mark.parametrize(
    ("known", "ended", "steps"),
    [
        (logged(), False, [1, 2]),
        (logged(2.0), False, [2]),
        (logged(2.0, 1.0), True, []),
        # cut back to a checkpoint: the third epoch will come again
        (logged(2.0, 1.0, 0.5), False, []),
        # it has ended, and the third epoch did not come: it is of a longer training
        (logged(2.0, 1.0, 0.5), True, None),
        (logged(2.0, 1.1), False, None),
        # another curve, which this training does not have
        (logged(2.0, 1.0) | logged(9.0, name="final/accuracy"), True, None),
        (logged(2.0, 1.0) | logged(9.0, name="final/accuracy"), False, []),
    ],
    ids=["new", "grown", "whole", "cut-back", "too-long", "other-value", "other-curve", "other-curve-yet"],
)
def test_what_is_missing(known, ended, steps):
    gap = missing(known, curve(2.0, 1.0), ended=ended)
    if steps is None:
        assert gap is None
    else:
        assert gap is not None
        assert [step for points in gap.values() for step in points] == steps


def test_numbers_are_the_same_as_far_as_a_database_keeps_them():
    assert same(math.nan, math.nan)
    assert not same(math.nan, 1.0)
    assert same(math.inf, 1.7976931348623157e308)
    assert not same(-math.inf, math.inf)
    assert same(0.1 + 0.2, 0.3)
    assert not same(0.3, 0.3 + 1e-9)


def test_settings_become_flat_parameters():
    settings = {
        "model": {"args": {"width": 0.5}, "attention": None, "weights": {}},
        "train": {"epochs": 3, "compile": True, "lr": {"attention.*": 0.1, "head": 1}},
        "at": ["block2", "Größe"],
    }
    found = flat(settings)
    assert found == {
        "model.args.width": 0.5,
        "model.attention": "null",
        "model.weights": "{}",
        "train.epochs": 3,
        "train.compile": True,
        "train.lr": '{"attention.*": 0.1, "head": 1}',
        "at": '["block2", "Größe"]',
    }
    assert word(found["train.compile"]) == "true"
