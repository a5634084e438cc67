"""What stands in the tree of a study that runs, ran, or was killed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from ablate.errors import StoreError
from ablate.status import read_status, read_study
from ablate.store import STALE_AFTER_S, Lock, Store, Watch, write_text


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def states(store, tree):
    return lambda: {
        (trial.variant, trial.seed): trial.state for trial in read_status(store, "msa", now=lambda: tree.now)
    }


def test_every_state_in_the_order_of_running(tree, states):
    tree.write("a", 0)
    tree.write("b", 0, failed=True)
    tree.report_progress("a", 1, pid=os.getpid(), host=platform.node())
    assert list(states().items()) == [
        (("a", 0), "done"),
        (("b", 0), "failed"),
        (("a", 1), "running"),
        (("b", 1), "pending"),
    ]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"pid": 1, "host": platform.node(), "age_s": 58}, "running"),
        ({"pid": 1, "host": platform.node(), "age_s": 70}, "pending"),
        ({"pid": dead_pid(), "host": platform.node()}, "pending"),
        ({"pid": dead_pid(), "host": "another-machine"}, "running"),
        ({"pid": 1, "host": "another-machine", "age_s": 70}, "pending"),
    ],
)
def test_what_a_killed_run_left_is_not_running(tree, states, said, state):
    tree.report_progress("b", 1, **said)
    assert states()["b", 1] == state


def test_a_process_that_only_got_the_number_later_is_not_the_trial(tree, states):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        tree.report_progress("b", 1, pid=process.pid, host=platform.node(), age_s=50)
        assert states()["b", 1] == "pending"
        process.stdin.close()


def test_a_record_outweighs_old_progress(tree, states):
    tree.report_progress("a", 0, pid=os.getpid(), host=platform.node())
    tree.write("a", 0)
    assert states()["a", 0] == "done"


# Locks


def test_who_holds_the_lock_trains_it_however_long_it_has_said_nothing(store, tree):
    lock = store.take_trial(tree.id("b", 1))
    assert isinstance(lock, Lock)
    with lock:
        (trial,) = read_study(store, "msa").of("running")
        assert (trial.variant, trial.seed, trial.progress) == ("b", 1, None)
        assert trial.holder == lock.holder
        tree.report_progress("b", 1, pid=os.getpid(), host=platform.node(), age_s=3600)
        (trial,) = read_study(store, "msa").of("running")
        assert trial.progress.epoch == 2


def test_progress_of_the_attempt_before_is_not_that_of_the_holder(store, tree):
    tree.report_progress("b", 1, pid=dead_pid(), host=platform.node())
    with store.take_trial(tree.id("b", 1)):
        (trial,) = read_study(store, "msa").of("running")
        assert trial.progress is None


def test_a_trial_that_is_trained_again_runs_although_it_has_a_record(store, tree, states):
    tree.write("a", 0, failed=True)
    with store.take_trial(tree.id("a", 0)):
        assert states()["a", 0] == "failed"  # its record came a moment ago
        tree.report_progress("a", 0, pid=os.getpid(), host=platform.node(), again=True)
        assert states()["a", 0] == "running"
    assert states()["a", 0] == "running"  # by its progress, as long as that is fresh


def test_a_lock_of_another_machine_counts_while_it_is_touched(store, tree, states, lock_of_another_machine):
    lock_of_another_machine(tree.id("b", 1))
    path = store.trial_lock(tree.id("b", 1))
    os.utime(path, (tree.now - STALE_AFTER_S + 5,) * 2)
    assert states()["b", 1] == "running"
    os.utime(path, (tree.now - STALE_AFTER_S - 5,) * 2)
    assert states()["b", 1] == "pending"


def test_who_watches_goes_by_no_clock(store, tree, lock_of_another_machine):
    lock_of_another_machine(tree.id("b", 1))
    os.utime(store.trial_lock(tree.id("b", 1)), (86400, 86400))
    ticks = iter(range(0, 10_000, 5))
    watch = Watch(clock=lambda: next(ticks))
    seen = [len(read_study(store, "msa", watch=watch).of("running")) for _ in range(40)]
    assert seen == [1] * round(STALE_AFTER_S / 5) + [0] * (40 - round(STALE_AFTER_S / 5))


# How long it takes


def test_nothing_is_foretold_from_nothing(store, tree):
    assert read_study(store, "msa").eta_s is None
    tree.write("a", 0, wall_s=100.0)
    assert read_study(store, "msa").eta_s is None, "nothing runs"


def test_the_time_left_by_what_like_trials_took(store, tree):
    """a took 100 s; a seed 1 is at epoch 2 of 4, half through it: 3/8 are done, 62.5 s are left. b took
    nothing yet: 100 s a trial. One worker does them one after another, two at once share."""
    tree.write("a", 0, wall_s=100.0)
    tree.report_progress("a", 1, pid=os.getpid(), host=platform.node())
    assert read_study(store, "msa").eta_s == pytest.approx(62.5 + 200)
    tree.report_progress("b", 0, pid=os.getpid(), host=platform.node())
    assert read_study(store, "msa").eta_s == pytest.approx((62.5 + 62.5 + 100) / 2)


def test_before_any_trial_has_ended_its_own_epochs_tell(store, tree):
    tree.report_progress("a", 0, pid=os.getpid(), host=platform.node())
    assert read_study(store, "msa").eta_s is None
    write_text(store.trial(tree.id("a", 0)).epochs, "epoch,seconds\n1,10.0\n")
    assert read_study(store, "msa").eta_s == pytest.approx(40 * 5 / 8 + 3 * 40)
    write_text(store.trial(tree.id("a", 0)).epochs, "epoch,seconds\n1,10.0\n2")
    assert read_study(store, "msa").eta_s is None


def test_a_study_without_a_plan(tmp_path):
    with pytest.raises(StoreError, match="run the study first"):
        read_status(Store(tmp_path), "msa")
