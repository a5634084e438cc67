"""A worker that died with a trial in hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablate.execute import ExecutionFailure, Loss
from ablate.runner import plan_study, run_job
from ablate.runner.losses import when_lost
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


def test_a_job_of_another_root_is_another_trial(job, tmp_path, training):
    run_job(job)
    assert lose(replace(job, root=tmp_path / "elsewhere"))[0] is None
