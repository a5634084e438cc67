"""Two runs on one tree: every trial is trained by one of them, and both end with everything done."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from ablate.execute import InlineExecutor
from ablate.report.write import MEASURED_KEYS, render_study
from ablate.runner import plan_study, run_job, run_study
from ablate.runner.job import Elsewhere, has_come_since
from ablate.runner.others import Others
from ablate.store import STALE_AFTER_S, Holder, LockLost, Store, Watch, write_text

FAR = {"host": "far", "pid": 7, "run_pid": 6, "start": "5", "machine": "boot", "token": "aa11"}


def lock_from_afar(store: Store, trial_id: str) -> Path:
    write_text(store.trial_lock(trial_id), json.dumps(FAR))
    return store.trial_lock(trial_id)


@pytest.fixture
def jobs(study, root):
    return [trial.job for trial in plan_study(study, output=root).trials]


# One job


def test_a_trial_that_another_trains_is_left_alone(jobs, training):
    store = Store(jobs[0].root)
    with store.take_trial(jobs[0].trial_id) as lock:
        assert run_job(jobs[0]) == Elsewhere(lock.holder)
    assert training.trained == []
    run_job(jobs[0])
    assert len(training.trained) == 1
    assert store.holder(jobs[0].trial_id) is None


def test_a_forced_trial_that_another_run_has_just_trained_anew_is_not_trained_once_more(
    study, root, training
):
    run_study(study, output=root, executor="inline", device="cpu")
    forced = next(
        trial for trial in plan_study(study, output=root, force=["se"]).trials if trial.variant.name == "se"
    )
    store = Store(root)
    old = store.read_trial(forced.job.trial_id)
    assert not has_come_since(forced.job, old)
    assert run_job(forced.job) != Elsewhere(None)  # its record stood there when the study was planned
    store.write_trial(old.model_copy(update={"wall_s": old.wall_s + 1}))
    assert run_job(forced.job) == Elsewhere(None)


def test_what_was_trained_under_a_lock_that_went_to_another_is_not_filed(jobs, training, monkeypatch):
    import ablate.trial

    train = ablate.trial.run_trial

    def slow(*args, **options):
        record = train(*args, **options)
        lock_from_afar(Store(jobs[0].root), jobs[0].trial_id)
        return record

    monkeypatch.setattr(ablate.trial, "run_trial", slow)
    assert run_job(jobs[0]) == Elsewhere(Holder(**FAR))
    assert Store(jobs[0].root).read_trial(jobs[0].trial_id) is None


def test_training_stops_when_the_lock_is_lost(jobs, training, monkeypatch):
    import ablate.trial
    from ablate.store import Lock

    def lost(self):
        raise LockLost("taken over")

    monkeypatch.setattr(Lock, "check", lost)
    monkeypatch.setattr(ablate.trial, "run_trial", lambda *_, on_progress, **__: on_progress({}))
    assert isinstance(run_job(jobs[0]), Elsewhere)


# Waiting


def waiting(store, *jobs, sleep, clock=time.monotonic):
    notes: list[str] = []
    others = Others(store, notes.append, Watch(clock=clock), sleep=sleep)
    for job in jobs:
        others.add(job, store.holder(job.trial_id))
    return others, notes


def test_what_another_finished_counts_and_what_it_left_is_to_be_trained(jobs, training):
    store = Store(jobs[0].root)
    locks = [store.take_trial(job.trial_id) for job in jobs[:2]]
    steps = [
        locks[0].release,
        lambda: None,
        lambda: (locks[1].release(), run_job(jobs[1])),
    ]
    others, notes = waiting(store, *jobs[:2], sleep=lambda _: steps.pop(0)())
    assert others.wait() == ([], [jobs[0]])
    (record,), left = others.wait()
    assert (record, left) == (store.read_trial(jobs[1].trial_id), [])
    assert others.finished == {jobs[1].trial_id}
    assert not others
    assert others.wait() == ([], [])
    me = locks[0].holder
    assert notes == [
        f"another run trains on this tree ({me}): what it has begun is left to it",
        f"2 trials are being trained by another run ({me}): waiting",
        f"1 trial is being trained by another run ({me}): waiting",
    ]


def test_a_trial_whose_machine_has_gone_silent_is_trained_here(jobs):
    store = Store(jobs[0].root)
    lock_from_afar(store, jobs[0].trial_id)
    ticks = iter(range(10_000))
    slept: list[float] = []
    others, _ = waiting(store, jobs[0], sleep=slept.append, clock=lambda: next(ticks))
    assert others.wait() == ([], [jobs[0]])
    assert len(slept) == STALE_AFTER_S


# Whole runs


def test_a_run_waits_for_the_other_counts_its_trials_and_trains_what_it_left(
    study, root, training, recording, monkeypatch
):
    plan = plan_study(study, output=root)
    first, second = (trial.job for trial in plan.trials[:2])
    store = Store(root)
    locks = {job.trial_id: store.take_trial(job.trial_id) for job in (first, second)}

    def other_run(_):
        """It finishes the first, and dies with the second."""
        if not store.trial(first.trial_id).record.exists():
            locks[first.trial_id].release()
            run_job(first)
            training.trained.remove(("baseline", 0))
        else:
            locks[second.trial_id].release()

    monkeypatch.setattr("ablate.runner.run.Others", partial(Others, sleep=other_run))
    summary = run_study(study, output=root, executor=InlineExecutor(), device="cpu", display=recording)
    assert (summary.exit_code, summary.done, summary.trained, summary.total) == (0, 6, 5, 6)
    ours = [("baseline", 1), ("se", 0), ("se", 1), ("se-early", 0), ("se-early", 1)]
    assert sorted(training.trained) == ours
    assert len(recording.told.finished) == 6
    assert sum("being trained by another run" in note for note in recording.told.notes) >= 1


STUDY = """\
name: shared
baseline: baseline
seeds: [0, 1, 2]
defaults:
  data: {source: digits, fraction: 0.2}
  model:
    backbone: cnn
    args: {width: 0.125}
    attention: {name: se, args: {reduction: 4}, at: [block2]}
  train: {epochs: 1}
variants:
  baseline: {model.attention: null}
  se: {}
"""
TRAINED = re.compile(r"^(?:nothing was left to train|(\d+) trained); 6 of 6 trials are done", re.MULTILINE)


@pytest.fixture
def start(tmp_path):
    (tmp_path / "shared.yaml").write_text(STUDY)
    started = []

    def run(output: str = "results", *overrides: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ablate", "run", "shared.yaml", "-o", output, "-j1", *overrides],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def without_measured(value):
    if isinstance(value, dict):
        return {key: without_measured(item) for key, item in value.items() if key not in MEASURED_KEYS}
    return [without_measured(item) for item in value] if isinstance(value, list) else value


def report_of(root: Path):
    return without_measured(json.loads(render_study(Store(root), "shared", "json")))


@pytest.mark.slow
def test_two_real_runs_on_one_tree_train_every_trial_once(start, tmp_path):
    alone, first, second = start("alone"), start(), start()
    said = [process.communicate(timeout=240)[0] for process in (alone, first, second)]
    assert [process.returncode for process in (alone, first, second)] == [0, 0, 0], said
    trained = [int(TRAINED.search(text).group(1) or 0) for text in said]
    assert trained[0] == 6
    assert trained[1] + trained[2] == 6
    assert report_of(tmp_path / "results") == report_of(tmp_path / "alone")
    names = {path.name for path in (tmp_path / "results" / "trials").rglob("*")}
    assert not {name for name in names if ".lock" in name or name.endswith((".tmp", ".new", "progress.json"))}
    store = Store(tmp_path / "results")
    for record in store.trials():
        store.check_files(record.id)


@pytest.mark.slow
def test_what_a_killed_run_had_begun_is_trained_by_the_other(start, tmp_path):
    killed = start("results", "train.epochs=40")
    locks = tmp_path / "results" / "trials"
    deadline = time.monotonic() + 120
    while not list(locks.glob("*/progress.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    survivor = start("results", "train.epochs=40")
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    said = survivor.communicate(timeout=240)[0]
    assert survivor.returncode == 0, said
    assert "6 of 6 trials are done" in said
    assert not list(locks.glob("*.lock*"))
