"""Latency as an objective, measured: a module that sleeps is as slow as it says, and the front shows it."""

from __future__ import annotations

import optuna
import pytest

from ablate.errors import MachineError
from ablate.spec import load_study
from ablate.tune import tune_study

REDUCTION = "model.attention.args.reduction"
# Milliseconds by ratio. By the made-up accuracies 8 is best, then 4 and 16: the larger two cost more than 8
# and gain nothing, so that no front has them.
SLEEPS_MS = {2: 0, 4: 40, 8: 80, 16: 120, 32: 160}
MODULE = f"""import time

from torch import nn

SLEEPS_MS = {SLEEPS_MS}


class Sleeper(nn.Module):
    def __init__(self, channels, *, reduction):
        super().__init__()
        self.sleep_s = SLEEPS_MS[reduction] / 1000
        self.scale = nn.Conv2d(channels, channels // reduction or 1, 1)

    def forward(self, x):
        time.sleep(self.sleep_s)
        return x * self.scale(x).mean()
"""


@pytest.fixture
def make_sleeping(write, tmp_path, monkeypatch):
    """The study with the sleeping module as its attention -> the study."""
    (tmp_path / "sleepers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(tune):
        path = write(tune)
        path.write_text(
            path.read_text().replace(
                "name: se, args: {reduction: 4}", 'name: "sleepers:Sleeper", args: {reduction: 4}'
            )
        )
        return load_study(path)

    return make


def trials_of(root):
    url = f"sqlite:///{root}/tiny/tune/search.db"
    [name] = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    return study.get_trials(), {trial.params[REDUCTION] for trial in study.best_trials}


LINES = f"""space: {{{REDUCTION}: {list(SLEEPS_MS)}}}
objectives: {{accuracy: maximize, latency_ms: minimize}}
seeds: 1"""


def test_the_front_holds_what_is_slower_only_where_it_is_better(make_sleeping, root, training):
    summary = tune_study(make_sleeping(LINES), output=root, device="cpu", executor="inline")
    assert summary.exit_code == 0
    trials, front = trials_of(root)
    measured = {trial.params[REDUCTION]: trial.values[1] for trial in trials}
    assert all(measured[ratio] >= sleep for ratio, sleep in SLEEPS_MS.items())
    assert front == {2, 4, 8}
    text = summary.report.read_text(encoding="utf-8")
    assert "3 of 5 settings are on the Pareto front" in text
    assert (root / "tiny" / "report.html").read_text(encoding="utf-8").count(
        "Validation accuracy, % against latency, ms"
    ) == 1


def test_a_constraint_spares_measuring_and_training(make_sleeping, root, training):
    """The smaller the ratio, the more parameters: here only 2 breaks it, which is the fastest."""
    lines = LINES.replace(str(list(SLEEPS_MS)), "[2, 8, 32]")
    study = make_sleeping(f"{lines}\nconstraints: ['param_count <= 1.01x baseline']")
    tune_study(study, output=root, device="cpu", executor="inline")
    trials, front = trials_of(root)
    assert {trial.params[REDUCTION] for trial in trials} == {8, 32}
    assert front == {8}
    assert len(training.trained) == 2


def test_nothing_else_may_run_beside_a_measurement(make_sleeping, root, training):
    with pytest.raises(MachineError, match="measured while nothing else runs: leave -j out, or say 1"):
        tune_study(make_sleeping(LINES), output=root, device="cpu", jobs=2)
    assert not training.trained
