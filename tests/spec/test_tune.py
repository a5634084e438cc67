"""The section tune: what is wrong in it is told with its line, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.errors import StudyError
from ablate.spec import load_study
from ablate.spec.tune import Constraint, Tune

HEAD = """\
name: s
baseline: base
seeds: [0, 1, 1000]
defaults: {model: {attention: {name: se, at: [block1]}}}
variants: {base: {model.attention: null}, se: {}}
tune:
  from: se
"""
RATIO = "  space: {model.attention.args.reduction: [4, 8]}\n"


def load(folder: Path, lines: str, *overrides: str) -> Tune:
    path = folder / "s.yaml"
    path.write_text(HEAD + lines)
    tune = load_study(path, overrides).tune
    assert tune is not None
    return tune


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("  space: {}\n", "s.yaml:8: tune.space: must not be empty"),
        ("  space: {train.epochs: []}\n", "s.yaml:8: tune.space.train.epochs: must not be empty"),
        (
            "  space: {train.epoch: [1]}\n",
            "s.yaml:8: tune.space: train.epoch: no such setting",
        ),
        (
            "  space: {train.optimizer.lr: {low: 0, high: 1, log: true}}\n",
            "s.yaml:8: tune.space.train.optimizer.lr.low: must be greater than 0 on a log scale, got 0",
        ),
        ("  space: {train.epochs: [1, 2, 1]}\n", "s.yaml:8: tune.space.train.epochs: gives 1 twice"),
        (
            "  space: {train.epochs: {low: 1, high: 3, step: 5}}\n",
            "s.yaml:8: tune.space.train.epochs.step: must be at most 2, the length of the range, got 5",
        ),
        (RATIO + "  objectives: {f1: maximize}\n", "s.yaml:9: tune.objectives.f1: 'f1' is not allowed here"),
        (
            RATIO + "  objectives: {macs: maximize}\n",
            "s.yaml:9: tune.objectives.macs: macs is a cost: it cannot be an objective to maximize",
        ),
        (RATIO + "  objectives: {}\n", "s.yaml:9: tune.objectives: must not be empty"),
        (RATIO + "  seeds: [7, 1]\n", "s.yaml:9: tune.seeds: 1 is among the seeds of the study"),
        (RATIO + "  seeds: 2\n", "s.yaml:9: tune.seeds: 1000 is among the seeds of the study"),
        (RATIO + "  seeds: []\n", "s.yaml:9: tune.seeds: must not be empty, got []"),
        (RATIO + "  sampler: tea\n", "s.yaml:9: tune.sampler: 'tea' is not allowed here"),
        (RATIO + "  pruner: shears\n", "s.yaml:9: tune.pruner: 'shears' is not allowed here"),
        (
            "  space: {train.optimizer.lr: {low: 0.1, high: 1}}\n  sampler: grid\n",
            "s.yaml:8: tune.space.train.optimizer.lr: a grid needs a step",
        ),
        (
            RATIO + "  objectives: {macs: minimize}\n  pruner: median\n",
            "s.yaml:10: tune.pruner: stops trials whose accuracy falls behind, but accuracy is no objective",
        ),
        (
            RATIO + "  constraints: ['macs < 3']\n",
            "s.yaml:9: tune.constraints[0]: must be of the form METRIC <= NUMBER",
        ),
        (
            RATIO + "  constraints: ['macs <= 1.2x baseline', 'accuracy >= 90']\n",
            "s.yaml:9: tune.constraints[1]: 'accuracy' cannot be a constraint: only what can be ",
        ),
        (RATIO + "  set: {train.epoch: 2}\n", "s.yaml:9: tune.set: train.epoch: no such setting"),
        (RATIO + "  set: {train.epochs: 0}\n", "s.yaml:9: tune.set: train.epochs: must be at least 1, got 0"),
        (
            RATIO + "  set: {model.attention.args.reduction: 4}\n",
            "is searched: it cannot be set as well",
        ),
        (RATIO + "  also: [bass]\n", "s.yaml:9: tune.also[0]: there is no variant 'bass'"),
        (RATIO + "  also: [se]\n", "s.yaml:9: tune.also: names a variant twice"),
        (RATIO + "  timeout: 0\n", "s.yaml:9: tune.timeout: must be greater than 0, got 0"),
        (RATIO + "  trials: 0\n", "s.yaml:9: tune.trials: must be at least 1, got 0"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        load(tmp_path, lines)
    [problem] = [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]
    assert said in problem


def test_a_fault_of_the_command_line_is_told_as_its(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"command line: tune.sampler: 'tea' is not allowed here"):
        load(tmp_path, RATIO, "tune.sampler=tea")


def test_tuning_seeds_are_none_of_the_study(tmp_path: Path) -> None:
    tune = load(tmp_path, RATIO)
    assert tune.seeds_beside((0, 1, 1000)) == (1001, 1002)
    assert load(tmp_path, RATIO + "  seeds: [5, 7]\n").seeds_beside((0, 1)) == (5, 7)


@pytest.mark.parametrize(
    ("text", "bound", "kept", "broken"),
    [
        ("macs <= 1.2x baseline", 120, 120, 121),
        ("macs <= 1.2× baseline", 120, 119, 200),
        ("param_count <= 1.5M", 1.5e6, 1_500_000, 1_500_001),
        ("param_count >= 10k", 1e4, 10_000, 9_999),
    ],
)
def test_a_constraint_bounds_what_it_says(
    tmp_path: Path, text: str, bound: float, kept: float, broken: float
) -> None:
    [constraint] = load(tmp_path, RATIO + f"  constraints: ['{text}']\n").constraints
    assert isinstance(constraint, Constraint)
    assert constraint.bound(100) == pytest.approx(bound)
    assert constraint.excess(kept, 100) <= 1e-12 < constraint.excess(broken, 100)
