"""A trial that is killed, again and again and anywhere, and ends as one that was not: bit for bit."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ablate.trial.resuming
from ablate.execute import ExecutionFailure
from ablate.runner import plan_study, run_job
from ablate.runner.job import write_failure
from ablate.store import Store
from ablate.train import TimedSaver

OF_THE_CLOCK = ("seconds", "images_per_s")


def curve(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: row[key] for key in row if key not in OF_THE_CLOCK} for row in rows]


def same(one, other):
    """Two trials, apart from what a clock says."""
    for name in ("steps", "settings", "weights"):
        assert getattr(one, name).read_bytes() == getattr(other, name).read_bytes(), name
    assert curve(one.epochs) == curve(other.epochs)
    with np.load(one.predictions) as first, np.load(other.predictions) as second:
        assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not one.checkpoints and not other.checkpoints


# One job, stopped in this process


class Stopped(BaseException):
    """As a signal: nothing in the trial catches it."""


def saving_always(monkeypatch, stop_after=None, error=Stopped):
    """A checkpoint after every step, and an end after so many of them."""
    saved = []

    class Saver(TimedSaver):
        def save(self, state):
            super().save(state)
            saved.append(state.epoch)
            if len(saved) == stop_after:
                raise error("stopped here")

    monkeypatch.setattr(ablate.trial.resuming, "TimedSaver", partial(Saver, share=math.inf, every_s=0))
    return saved


@pytest.fixture
def job_of(make_study, tmp_path):
    """(root, **options of the plan) -> the job of `se` with seed 0, and what runs before it."""

    def find(root, *overrides, replaced=None, variant="se", **options):
        small = ("defaults.data.fraction=0.2", "defaults.train.batch_size=32")
        short = ("defaults.train.epochs=2", "defaults.train.keep=last", *small)
        study = make_study(*short, *overrides, replace=replaced)
        trials = plan_study(study, output=tmp_path / root, seeds=[0], **options).trials
        return next(trial.job for trial in trials if trial.variant.name == variant)

    return find


@pytest.fixture
def undisturbed(job_of):
    def train(*overrides, **how):
        job = job_of("undisturbed", *overrides, **how)
        assert run_job(job).status == "done"
        return job.paths

    return train


SGD = "defaults.train.optimizer={name: sgd, lr: 0.05}"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("defaults.train.accumulate=2", "defaults.train.gradient_checkpointing=true"),
        ("defaults.train.precision=fp16", SGD, "defaults.train.clip_norm=1.0"),
        ("defaults.train.stages=[{epochs: 1, train: [attention, head]}, {epochs: 1, train: ['*']}]",),
        ("defaults.train.steps=13", "defaults.train.schedule={name: cosine, warmup: 0.5}"),
    ],
    ids=["plain", "accumulated", "fp16", "stages", "steps"],
)
def test_a_trial_that_is_stopped_goes_on(job_of, undisturbed, monkeypatch, overrides):
    whole = undisturbed(*overrides)
    job = job_of("stopped", *overrides)
    saving_always(monkeypatch, 3)
    with pytest.raises(Stopped):
        run_job(job)
    assert len(job.paths.checkpoints) == 2
    saving_always(monkeypatch, 2)
    with pytest.raises(Stopped):
        run_job(job)
    monkeypatch.undo()
    record = run_job(job)
    same(whole, job.paths)
    assert (record.status, record.resumed) == ("done", 2)
    log = job.paths.log.read_text()
    assert "goes on after epoch 0 and 3 steps of the next, from a checkpoint" in log
    assert log.count("goes on after epoch") == 2


@pytest.mark.parametrize("kind", ["timeout", "exception"])
def test_a_trial_that_failed_goes_on_when_it_is_tried_again(job_of, undisturbed, monkeypatch, kind):
    """Through a second failure, too: the checkpoint moves along with the record."""
    whole = undisturbed()
    job = job_of("failed")
    for attempt in (1, 2):
        error = Stopped if kind == "timeout" else ValueError
        saving_always(monkeypatch, 4, error)
        if kind == "timeout":
            with pytest.raises(Stopped):
                run_job(job)
            record = write_failure(job, ExecutionFailure("timeout", "60 s are over"), 60.0)
        else:
            record = run_job(job)
        assert (record.status, record.failure.kind) == ("failed", kind)
        assert job.paths.checkpoints, attempt
        job = job_of("failed", retry_failed=True)
        assert job.again
    saving_always(monkeypatch)
    record = run_job(job)
    same(whole, job.paths)
    assert (record.status, record.resumed) == ("done", 2)
    assert not job.working.folder.exists()


def test_a_finished_trial_that_is_forced_begins_at_the_beginning(job_of, undisturbed, monkeypatch):
    whole = undisturbed()
    job = job_of("undisturbed", force=["se"])
    assert job.again
    saving_always(monkeypatch, 4)
    with pytest.raises(Stopped):
        run_job(job)
    assert not job.paths.checkpoints
    saved = saving_always(monkeypatch)
    record = run_job(job)
    assert record.resumed == 0
    assert saved == [0] * 8 + [1] * 9  # nine steps an epoch, one epoch's end
    same(whole, job_of("undisturbed").paths)


def test_a_loss_that_broke_down_is_not_gone_on_from(job_of, monkeypatch):
    """The last checkpoints may hold what broke it: losses are looked at when an epoch ends."""
    job = job_of("broken", "defaults.train.optimizer={name: sgd, lr: 1.0e+38}")
    saved = saving_always(monkeypatch)
    record = run_job(job)
    assert record.failure.kind == "non-finite"
    assert saved
    assert not job.paths.checkpoints


@pytest.mark.parametrize("what", ["torch", "threads", "device_name", "cudnn"])
def test_a_checkpoint_of_other_conditions_is_not_gone_on_from(job_of, undisturbed, monkeypatch, what):
    whole = undisturbed()
    job = job_of("moved")
    saving_always(monkeypatch, 3)
    elsewhere = job.environment.model_copy(update={what: 3 if what == "threads" else "another"})
    with pytest.raises(Stopped):
        run_job(replace(job, environment=elsewhere))
    saving_always(monkeypatch, 2)
    with pytest.raises(Stopped):
        run_job(job)
    log = job.paths.log.read_text()
    assert f"was passed over: it was made under other conditions: {what} " in log
    assert "goes on" not in log
    monkeypatch.undo()
    record = run_job(job)  # from the checkpoint that was made here, though the other came further
    assert record.resumed == 1
    same(whole, job.paths)


def test_one_that_starts_from_a_pretraining_goes_on(job_of, undisturbed, monkeypatch):
    new = (
        "variants:\n",
        "pretraining:\n  first: {model.attention: null, data.classes: [0, 1, 2]}\nvariants:\n"
        "  started: {model.weights: 'pretraining:first'}\n",
    )
    paths = []
    for root in ("undisturbed", "stopped"):
        before = job_of(root, replaced=new, variant="first")
        assert run_job(before).status == "done"
        job = job_of(root, replaced=new, variant="started")
        if root == "stopped":
            saving_always(monkeypatch, 5)
            with pytest.raises(Stopped):
                run_job(job)
            monkeypatch.undo()
        record = run_job(job)
        assert record.status == "done", record.failure
        paths.append(job.paths)
    assert record.resumed == 1
    same(*paths)


# A run, killed with its workers

KILLER = """
import json
import math
import os
import signal
from functools import partial
from pathlib import Path

import torch
from torch import nn

import ablate.trial.resuming
from ablate.train import TimedSaver

steps = 0
if "ABLATE_WORKER" in os.environ:
    ablate.trial.resuming.TimedSaver = partial(TimedSaver, share=math.inf, every_s=0)


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        if "ABLATE_WORKER" in os.environ and self.training:
            step()
        return x * self.scale


def step():
    global steps
    steps += 1
    kills = json.loads(Path("kills.json").read_text())
    if kills and steps == kills[0][0]:
        whom, number = kills[0][1:]
        Path("kills.new").write_text(json.dumps(kills[1:]))
        Path("kills.new").rename("kills.json")
        os.kill(os.getpid() if whom == "worker" else os.getppid(), number)
        if whom == "parent":
            signal.pause()
"""
KILLED = """\
name: killed
baseline: baseline
seeds: [0]
defaults:
  data: {source: digits, fraction: 0.2, augment: {crop: 1}}
  model:
    backbone: cnn
    args: {width: 0.125}
    attention: {name: "killer:Gate", at: [block2]}
  train: {epochs: 4, batch_size: 32, keep: last}
variants:
  baseline: {}
"""


def run(folder, root, kills=()):
    (folder / "killer.py").write_text(KILLER)
    (folder / "killed.yaml").write_text(KILLED)
    (folder / "kills.json").write_text(json.dumps(kills))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "ablate", "run", "killed.yaml", "-o", root, "--device", "cpu", "-j", "1"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    store = Store(folder / root)
    (trial_id,) = store.trial_ids()
    left = json.loads((folder / "kills.json").read_text())
    assert not left, f"{done.stdout}\n{done.stderr}"
    return done, store.trial(trial_id), store.read_trial(trial_id)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_run_killed_with_its_workers_ends_as_one_that_was_not(tmp_path):
    nine_steps_an_epoch = [[5, "worker", signal.SIGKILL], [12, "parent", signal.SIGKILL]]
    done, paths, record = run(tmp_path, "killed", nine_steps_an_epoch)
    assert done.returncode == -signal.SIGKILL
    assert record is None
    assert "goes on after epoch 0 and 4 steps of the next" in paths.log.read_text()

    done, paths, record = run(tmp_path, "killed", [[4, "parent", signal.SIGTERM]])
    assert (done.returncode, record) == (130, None)
    assert "goes on after epoch 1 and 6 steps of the next" in paths.log.read_text()
    newest = paths.checkpoints[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])

    done, paths, record = run(tmp_path, "killed")
    assert done.returncode == 0, done.stdout
    log = paths.log.read_text()
    assert f"{newest.name} was passed over: " in log
    assert "goes on after epoch 1 and 8 steps of the next" in log
    assert record.resumed == 3

    _, whole, undisturbed = run(tmp_path, "undisturbed")
    same(whole, paths)
    assert undisturbed.metrics == record.metrics
