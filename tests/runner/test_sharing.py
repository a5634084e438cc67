"""Trials that several processes train: what is refused before anything runs, and real runs (slow)."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from ablate.errors import MachineError, StudyError
from ablate.record import Environment
from ablate.report.comparisons import mixed_among
from ablate.runner import plan_study, plan_text, run_study
from ablate.runner.sharing import refuse_device
from ablate.store import Store

PATIENCE_S = 120  # how long a test waits for what must happen; none asserts how fast it does


# Planning


def refusal(study, processes, **how):
    with pytest.raises(StudyError) as caught:
        plan_study(study, device="cpu", gpus_per_trial=processes, **how)
    return str(caught.value)


def test_too_few_images_for_so_many_processes(make_study, root):
    found = refusal(make_study("train.batch_size=8", "train.accumulate=4"), 3, output=root, only=["se"])
    assert found == (
        "1 problem found; nothing was run\n"
        "  command line: train.batch_size: 8 images in 4 parts are too few to share among 3 processes\n"
        "    at least 12 images, or --gpus-per-trial 1"
    )


def test_what_looks_at_other_images_or_is_compiled_is_refused_where_it_is_asked_for(make_study, root):
    study = make_study("train.compile=true", replace=("  se: {}", "  se: {model.attention.gate: shuffled}"))
    found = refusal(study, 2, output=root, only=["se"])
    assert "train.compile: true: a compiled network is trained by one process" in found
    assert "tiny.yaml:14: model.attention.gate: 'shuffled' takes the gates of other images" in found
    study = make_study(replace=("  se: {}", "  se: {model.attention.gate: shuffled}"))
    plan_study(study, output=root, device="cpu", gpus_per_trial=2, exclude=["se"])


@pytest.mark.parametrize(
    ("device", "asked", "processes", "said"),
    [
        ("cuda:0", "auto", 3, "--gpus-per-trial 3: this machine has 2 GPUs; allowed: 1 to 2"),
        ("cuda:1", "cuda:1", 2, "--gpus-per-trial 2: --device cuda:1 names a single GPU"),
        ("cpu", "auto", 2, "--gpus-per-trial 2: there is no GPU here\n    use --device cpu to try it"),
        ("mps", "mps", 2, "--gpus-per-trial 2: there is one mps device\n    use --gpus-per-trial 1"),
    ],
)
def test_a_device_that_is_not_there_so_often(monkeypatch, device, asked, processes, said):
    present = [("cpu", "CPU", None), ("cuda:0", "GPU", 1), ("cuda:1", "GPU", 1)]
    monkeypatch.setattr("ablate.runner.sharing.devices", lambda: present)
    with pytest.raises(MachineError) as caught:
        refuse_device(device, asked, processes, elsewhere=False)
    assert str(caught.value).startswith(said)
    refuse_device(device, asked, 1, elsewhere=False)
    refuse_device("cpu", "cpu", 2, elsewhere=False)
    refuse_device("cuda:0", "cuda", 2, elsewhere=False)
    refuse_device("cuda:0", "cuda", 8, elsewhere=True)


def test_the_inline_executor_starts_no_processes(study, root):
    with pytest.raises(MachineError, match="--gpus-per-trial needs --executor local"):
        run_study(study, output=root, device="cpu", executor="inline", gpus_per_trial=2)


def test_a_plan_says_how_many_train_each_trial_and_how_the_time_was_found(study, root):
    one, two = (
        plan_text(plan_study(study, output=root, device="cpu", gpus_per_trial=number), estimate=True)
        for number in (1, 2)
    )
    assert "note: each trial is trained by 2 processes on the CPU, which share every batch\n" in two
    assert "; a step was timed in one process, and what sharing it gains or costs is not in it" in two
    assert "process" not in one


def test_how_many_trained_it_is_not_what_it_is_but_marks_a_comparison(study, root):
    one, two = (plan_study(study, output=root, device="cpu", gpus_per_trial=number) for number in (1, 2))
    assert [trial.job.trial_id for trial in one.trials] == [trial.job.trial_id for trial in two.trials]
    environments: list[Environment] = [plan.trials[0].job.environment for plan in (one, two)]
    assert [environment.processes for environment in environments] == [1, 2]
    assert mixed_among(environments) == ("processes",)
    assert two.environment.processes == 1, "costs are those of one process"


# Real runs

RANK_FAULT = """
import os

import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        if self.training and os.environ.get("RANK") == "1" and torch.is_grad_enabled():
            raise KeyError("a planted fault")
        return x * self.scale
"""


@pytest.fixture
def folder(tmp_path, make_study):
    """A folder with the study file, from which the command is run."""
    make_study()
    return tmp_path


def start(folder, *words, **variables):
    command = [
        sys.executable,
        "-m",
        "ablate",
        "run",
        "tiny.yaml",
        "--device",
        "cpu",
        "--seeds",
        "0",
        "-j",
        "1",
    ]
    environment = {**os.environ, **variables}
    return subprocess.Popen(
        [*command, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code=0):
    output, _ = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == code, output
    return output


def record_of(folder, output="results"):
    (record,) = Store(folder / output).trials()
    return record


def marked(name):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ABLATE_TEST") == name:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def until(condition, what):
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < PATIENCE_S, what
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_two_processes_train_the_trial_that_one_does_even_when_killed(folder):
    """Killed after the first epoch, and run again: nobody is left behind, and the result is that of one
    process up to rounding."""
    longer = ("--only", "se", "train.epochs=6")
    finish(start(folder, *longer, "-o", "one"))
    name = folder.name
    process = start(folder, *longer, "--gpus-per-trial", "2", ABLATE_TEST=name)
    until(lambda: list(folder.glob("results/trials/*/checkpoint-*.safetensors")), "a checkpoint")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not marked(name), f"still there: {marked(name)}")
    finish(start(folder, *longer, "--gpus-per-trial", "2"))
    one, two = record_of(folder, "one"), record_of(folder)
    assert (one.id, one.shared, one.environment.processes) == (two.id, None, 1)
    assert (two.resumed, two.environment.processes) == (1, 2)
    assert two.shared.model_dump(exclude={"waited_share"}) == {
        "processes": 2,
        "backend": "gloo",
        "images_per_process": (64, 64),
        "shared_norms": 3,
    }
    first, second = (Store(folder / name).trial(one.id) for name in ("one", "results"))
    assert not second.checkpoints
    losses = [
        [float(row["loss"]) for row in csv.DictReader(path.open(newline=""))]
        for path in (first.steps, second.steps)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    with np.load(first.predictions) as mine, np.load(second.predictions) as theirs:
        assert (mine["predicted"] == theirs["predicted"]).mean() > 0.99
    assert two.metrics.accuracy == pytest.approx(one.metrics.accuracy, abs=1)


@pytest.mark.slow
def test_a_fault_of_one_rank_is_the_failure_of_the_trial(folder, make_study):
    (folder / "own.py").write_text(RANK_FAULT)
    make_study(replace=("  se: {}", "  se: {model.attention: {name: 'own:Gate', at: [block1]}}"))
    finish(start(folder, "--only", "se", "--gpus-per-trial", "2"), 1)
    failure = record_of(folder).failure
    assert (failure.kind, failure.error) == ("exception", "KeyError")
    assert failure.message == "rank 1 of 2: 'a planted fault'"
    assert failure.where.startswith("own.py:")
    assert failure.traceback.splitlines()[-1] == "KeyError: 'a planted fault'"


@pytest.mark.slow
def test_a_time_limit_ends_all_ranks(folder):
    name = folder.name
    words = ("--only", "se", "train.epochs=3000", "--timeout", "25", "--gpus-per-trial", "2")
    finish(start(folder, *words, ABLATE_TEST=name), 1)
    assert record_of(folder).failure.kind == "timeout"
    assert not marked(name)
