"""What was planted is found, what does nothing is no winner, and test labels reach nothing but the score."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

GATED = "  gated: {}\n"
# The same gates, learned once for all images: they have not seen the patch.
STATIC = "  static: {model.attention.gate: static}\n"
TIMES_ZERO = '  zero: {model.attention: {name: "planted_task:TimesZero", at: ["1"]}}\n'


def test_a_task_that_only_channel_gating_can_solve_is_won_by_channel_gating(
    planted: Callable[..., Any],
) -> None:
    rows = planted(GATED, "train.epochs=10").rows
    assert rows["gated"]["verdict"] == "better" and rows["gated"]["accuracy_mean"] > 90
    assert rows["baseline"]["accuracy_mean"] < 65


@pytest.mark.slow
def test_gates_that_are_the_same_for_every_image_do_not_solve_it(planted: Callable[..., Any]) -> None:
    rows = planted(STATIC).rows
    assert rows["static"]["verdict"] != "better" and rows["static"]["accuracy_mean"] < 65


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_is_found_in_nine_of_ten_studies_of_five_seeds(planted: Callable[..., Any]) -> None:
    verdicts = []
    for study in range(10):
        seeds = tuple(range(100 + 5 * study, 105 + 5 * study))
        verdicts.append(planted(GATED, name=f"planted-{study}", seeds=seeds).rows["gated"]["verdict"])
    assert verdicts.count("better") >= 9, verdicts


def test_a_twin_whose_attention_is_multiplied_by_zero_is_the_baseline_bit_for_bit_and_a_no_op(
    planted: Callable[..., Any],
) -> None:
    found = planted(TIMES_ZERO, "train.epochs=1", "train.keep=last")
    assert found.rows["zero"]["verdict"] == "no-op"
    assert not any("zero beats" in line or "zero does" in line for line in found.told["headline"])
    assert any("zero changed no prediction" in line for line in found.told["headline"])
    for seed in range(5):
        base, twin = found.trials["baseline", seed], found.trials["zero", seed]
        weights, of_twin = (load_file(folder / "weights.safetensors") for folder in (base, twin))
        assert weights.keys() < of_twin.keys()  # the gate was there, and trained
        assert all(weights[key].tobytes() == of_twin[key].tobytes() for key in weights)
        ours, theirs = (np.load(folder / "predictions.npz") for folder in (base, twin))
        assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours.files)


def test_poisoned_test_labels_change_no_weight_no_learning_rate_and_no_chosen_epoch(
    planted: Callable[..., Any],
) -> None:
    """The plateau schedule and the best epoch both follow a score: that of the validation images alone."""
    settings = (
        "train.epochs=8",
        "train.schedule={name: plateau, factor: 0.1, patience: 0}",
        "train.keep=best",
    )
    clean = planted(GATED, *settings, name="clean", seeds=(0, 1))
    poisoned = planted(GATED, *settings, name="poisoned", seeds=(0, 1), data="poisoned")
    scores = [
        [found.rows[name]["accuracy_by_seed"] for name in ("baseline", "gated")]
        for found in (clean, poisoned)
    ]
    assert scores[0] != scores[1]  # the poison was there
    epochs: set[int] = set()
    rates: set[str] = set()
    for key, folder in clean.trials.items():
        other = poisoned.trials[key]
        assert folder != other
        weights, again = (load_file(f / "weights.safetensors") for f in (folder, other))
        assert weights.keys() == again.keys()
        assert all(weights[name].tobytes() == again[name].tobytes() for name in weights)
        for name in ("epochs.csv", "steps.csv"):
            assert rows(folder / name) == rows(other / name)
        chosen = [best_epoch(found, key) for found in (clean, poisoned)]
        assert chosen[0] == chosen[1]
        epochs.add(chosen[0])
        rates |= {row["lr"] for row in rows(folder / "epochs.csv")}
    assert len(rates) > 1  # the schedule did act
    assert epochs != {8}  # and the best epoch was not merely the last


def rows(path: Path) -> list[dict[str, str]]:
    """Of a table of a trial, without what it took in time."""
    with path.open() as file:
        timed = ("seconds", "images_per_s", "step_s", "wait_s", "wall_s")
        return [{key: cell for key, cell in row.items() if key not in timed} for row in csv.DictReader(file)]


def best_epoch(found: Any, key: tuple[str, int]) -> int:
    (trial,) = [trial for trial in found.told["trials"] if (trial["variant"], trial["seed"]) == key]
    return int(trial["best_epoch"])
