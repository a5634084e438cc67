"""A worker that died with a trial in hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from ablate.execute import ExecutionFailure, Loss
from ablate.runner import plan_study, run_job
from ablate.runner.losses import let_go, when_lost
from ablate.store import Store, write_text


@pytest.fixture
def job(study, root):
    return plan_study(study, output=root).trials[0].job


def lose(job, *, again=True):
    """What is found, and what is said."""
    said = []
    failure = ExecutionFailure("crashed", "the worker process died of SIGSEGV")
    found = when_lost({job.trial_id: "baseline seed 0"}, said.append)(Loss(0, job, failure, again))
    return found, said


def test_a_trial_that_left_nothing_is_begun_again_from_a_tidy_folder(job):
    write_text(job.paths.progress, "{}")
    write_text(job.paths.output, "last words\n")
    assert lose(job) == (
        None,
        ["baseline seed 0: the worker process died of SIGSEGV; it is begun again"],
    )
    assert not job.paths.progress.exists()
    assert "last words" in job.paths.log.read_text()


def test_a_trial_that_had_written_its_record_lost_nothing(job, training):
    record = run_job(job)
    assert lose(job) == (record, [])
    assert lose(job, again=False) == (record, [])


def test_nothing_is_said_of_another_attempt_where_there_is_none(job):
    assert lose(job, again=False) == (None, [])


def test_of_a_trial_that_is_trained_again_the_old_record_is_no_sign_of_the_new_one(study, root, training):
    job = plan_study(study, output=root).trials[0].job
    old = run_job(job)
    forced = plan_study(study, output=root, only=["baseline"], seeds=[0], force=["baseline"])
    (again,) = [trial.job for trial in forced.wanted]
    assert again.again
    found, said = lose(again)
    assert (found, len(said)) == (None, 1)
    # It had written the new record beside the old folder, and died before it put it in its place.
    store = Store(root)
    new = old.model_copy(update={"wall_s": 77.0})
    again.working.folder.mkdir()
    written = store.write_trial_again(new)
    found, said = lose(again)
    assert (found, said) == (written, [])
    assert store.read_trial(job.trial_id).wall_s == 77.0
    assert not again.working.folder.exists()


def checkpoint(folder):
    path = folder / "checkpoint-000001-000000000.safetensors"
    write_text(path, "a checkpoint")
    return path


def test_a_worker_that_died_before_it_removed_its_checkpoints_leaves_none(job, training):
    record = run_job(job)
    left = checkpoint(job.paths.folder)
    assert lose(job) == (record, [])
    assert not left.exists()


def test_a_record_of_a_failure_keeps_its_checkpoints(job, training):
    training.faults["baseline", 0] = ValueError("planted")
    record = run_job(job)
    left = checkpoint(job.paths.folder)
    assert lose(job, again=False) == (record, [])
    assert left.exists()


def test_a_result_that_was_amid_its_two_renames_is_put_in_its_place(study, root, training):
    job = plan_study(study, output=root).trials[0].job
    old = run_job(job)
    forced = plan_study(study, output=root, only=["baseline"], seeds=[0], force=["baseline"])
    (again,) = [trial.job for trial in forced.wanted]
    again.working.folder.mkdir()
    written = Store(root).write_trial_again(old.model_copy(update={"wall_s": 77.0}))
    left = checkpoint(again.working.folder)
    aside = again.paths.folder.with_name(f"{again.trial_id}.old")
    again.paths.folder.rename(aside)
    assert lose(again) == (written, [])
    assert Store(root).read_trial(job.trial_id) == written
    assert not (again.paths.folder / left.name).exists()
    # And after the second rename, before the old folder was removed.
    assert lose(again) == (written, [])


def test_another_failure_of_a_trial_tried_again_takes_the_place_of_the_first(study, root, training):
    training.faults["baseline", 0] = ValueError("planted")
    job = plan_study(study, output=root).trials[0].job
    first = run_job(job)
    left = checkpoint(job.paths.folder)
    retried = plan_study(study, output=root, retry_failed=True)
    (again,) = [trial.job for trial in retried.wanted if trial.job.trial_id == job.trial_id]
    again.working.folder.mkdir()
    written = Store(root).write_trial_again(first.model_copy(update={"wall_s": 77.0}))
    assert lose(again, again=False) == (written, [])
    assert Store(root).read_trial(job.trial_id) == written
    assert left.exists()  # the next attempt goes on from it
    assert not again.working.folder.exists()


def test_a_job_of_another_root_is_another_trial(job, tmp_path, training):
    run_job(job)
    assert lose(replace(job, root=tmp_path / "elsewhere"))[0] is None


def test_what_a_stopped_trial_held_is_given_up_where_it_was_stopped(job):
    """Its words change with every checkpoint, and its lock is nobody's."""
    store = Store(job.root)
    write_text(job.paths.progress, "{}")
    first = let_go(job)
    checkpoint(job.paths.folder)
    assert let_go(job) != first
    assert let_go(job) == let_go(job)
    assert not job.paths.progress.exists()
    with store.take_trial(job.trial_id):
        assert let_go(job) == "", "another's trial"


def test_of_several_trials_that_had_ended_is_left_alone(study, root, training):
    first, second, *_ = (trial.job for trial in plan_study(study, output=root).trials)
    run_job(first)
    left = checkpoint(first.paths.folder)
    setting = SimpleNamespace(before=(), jobs=(first, second))
    assert let_go(setting) == second.trial_id
    assert left.exists()
