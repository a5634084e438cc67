"""A job in a process of its own: where its words go, and what a crash leaves."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ablate.errors import StoreError
from ablate.execute import ExecutionFailure
from ablate.runner import plan_study, run_job
from ablate.runner.job import OUTPUT_LIMIT_BYTES, Elsewhere, collect_output, tidy_up, write_failure
from ablate.store import Store, write_text


@pytest.fixture
def job(study, root):
    return replace(plan_study(study, output=root).trials[0].job, capture=True)


def test_what_a_trial_prints_ends_up_in_its_log_and_nowhere_else(job, monkeypatch, capfd):
    import ablate.trial

    def talkative(settings, seed, *, folder, **options):
        write_text(job.paths.log, "a line of the log\n")
        print("from Python")
        print("a warning", file=sys.stderr)
        os.write(1, b"from below Python\n")
        raise ValueError("a planted fault")

    monkeypatch.setattr(ablate.trial, "run_trial", talkative)
    # pytest replaces these two; in a worker they are the process's own.
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", open(2, "w", closefd=False))  # noqa: SIM115
    record = run_job(job)
    print("afterwards")
    sys.stdout.flush()
    assert capfd.readouterr().out == "afterwards\n"
    log = job.paths.log.read_text().splitlines()
    assert log[:2] == ["a line of the log", "printed while it ran:"]
    assert sorted(log[2:5]) == ["a warning", "from Python", "from below Python"]
    assert record.failure.log_tail == tuple(log[:5])
    assert log[5] == "failed (exception): a planted fault"
    assert log[6:] == record.failure.traceback.splitlines()
    assert record.failure.where.startswith("tests/runner/test_job.py:")
    assert not job.paths.output.exists()
    assert Store(job.root).read_trial(job.trial_id) == record


def test_last_words_before_a_crash_are_in_the_record(job):
    write_text(job.paths.output, "Fatal Python error: Segmentation fault\n")
    write_text(job.paths.progress, "{}")
    failure = ExecutionFailure("crashed", "the worker process died of SIGSEGV")
    record = write_failure(job, failure, wall_s=2.0)
    tidy_up(job)
    assert (record.failure.kind, record.wall_s, record.status) == ("crashed", 2.0, "failed")
    assert record.failure.log_tail[-1] == "Fatal Python error: Segmentation fault"
    assert sorted(path.name for path in job.paths.folder.iterdir()) == ["log.txt", "record.json"]


def test_a_crash_is_given_the_line_of_the_users_at_which_it_was(job):
    """The last dump counts, and none where the process was killed from outside."""
    dump = 'Current thread 0x1 (most recent call first):\n  File "/home/me/net.py", line {} in {}\n'
    write_text(job.paths.log, dump.format(3, "before"))
    write_text(job.paths.output, "Fatal Python error: Segmentation fault\n\n" + dump.format(19, "forward"))
    record = write_failure(job, ExecutionFailure("crashed", "the worker process died of SIGSEGV"), wall_s=2.0)
    assert record.failure.where == "/home/me/net.py:19 in forward"
    killed = ExecutionFailure("crashed", "the worker process was killed (SIGKILL) by another process")
    assert write_failure(job, killed, wall_s=2.0).failure.where == ""


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("exception", True),
        ("crashed", True),
        ("timeout", True),
        ("out-of-memory", True),
        ("non-finite", False),
    ],
)
def test_what_can_be_gone_on_from_is_kept(job, kind, kept):
    left = job.paths.folder / "checkpoint-000001-000000000.safetensors"
    write_text(left, "a checkpoint")
    write_failure(job, ExecutionFailure(kind, "planted"), wall_s=1.0)
    assert left.exists() is kept


def test_a_full_disk_of_the_users_own_is_that_trials_failure(job, monkeypatch, tmp_path):
    """One that the results tree does not lie on; of the tree's own no trial is to blame."""
    import ablate.trial

    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs another file system")
    job.root.mkdir(parents=True, exist_ok=True)
    fault = OSError(errno.ENOSPC, "No space left on device", str(elsewhere / "x"))

    def full(*_, **__):
        raise fault

    monkeypatch.setattr(ablate.trial, "run_trial", full)
    record = run_job(replace(job, capture=False))
    assert (record.failure.kind, record.failure.error) == ("exception", "OSError")
    job.paths.record.unlink()
    fault = OSError(errno.ENOSPC, "No space left on device", str(job.root / "x"))
    with pytest.raises(StoreError, match=r"the disk is full \(the file system at .* MB of .* MB free\)"):
        run_job(replace(job, capture=False))
    assert not job.paths.record.exists()


def test_of_a_flood_only_the_end_is_kept(job):
    write_text(job.paths.output, "x" * (3 * OUTPUT_LIMIT_BYTES) + "the end\n")
    collect_output(job.paths)
    assert job.paths.log.stat().st_size < OUTPUT_LIMIT_BYTES + 100
    assert job.paths.log.read_text().endswith("the end\n")


def test_a_silent_trial_leaves_no_empty_heading(job):
    write_text(job.paths.output, "\n")
    collect_output(job.paths)
    assert not job.paths.log.exists()
    assert not job.paths.output.exists()


def test_a_record_that_came_meanwhile_is_not_trained_over(job, monkeypatch):
    """From a run beside this one, or from before a crash that fell between two renames."""
    import ablate.trial

    record = write_failure(job, ExecutionFailure("exception", "of the other run"), wall_s=1.0)
    monkeypatch.setattr(ablate.trial, "run_trial", None)
    assert run_job(job) == Elsewhere(None)
    job.paths.folder.rename(job.paths.folder.with_name(f"{job.trial_id}.old"))
    assert run_job(job) == Elsewhere(None)
    assert Store(job.root).read_trial(job.trial_id) == record


def test_weights_that_changed_since_the_plan_are_refused(job, tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"others")
    identity = job.identity | {"weights_sha256": "a" * 64}
    record = run_job(replace(job, weights=weights, identity=identity))
    assert record.failure.message == (
        f"the weights in {weights} have changed since the study was planned (SHA-256 was aaaaaaaaaaaa…); "
        "run the study again"
    )


def test_a_record_names_the_machine_that_trained_and_not_the_one_that_planned(job, training):
    planned = job.environment.model_copy(
        update={"machine": "login-cpu", "cpu": "another", "device_name": "another", "commit": "f" * 40}
    )
    elsewhere = run_job(replace(job, environment=planned)).environment
    assert elsewhere == job.environment.model_copy(update={"commit": "f" * 40, "diff": planned.diff})
