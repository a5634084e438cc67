"""Workers that crash, hang, refuse to start, or lose their parent."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from ablate.errors import MachineError
from ablate.execute import LocalExecutor

PATIENCE_S = 20  # how long a test waits for what must happen; none asserts how fast it does


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail(f"{what} did not happen in {PATIENCE_S} s")


def read_pids(path):
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("kill", "was killed (SIGKILL), as the kernel does when memory runs out"),
        ("segfault", "died of SIGSEGV"),
        ("exit", "ended by itself with exit code 7"),
    ],
)
def test_a_crash_is_the_failure_of_its_item_and_the_pool_goes_on(jobs, fault, message):
    items = ["a", fault, "b", fault, "c"]
    with LocalExecutor(2) as executor:
        outcomes = sorted(executor.run(jobs.misbehave, items), key=lambda outcome: outcome.index)
    assert [outcome.failure and outcome.failure.kind for outcome in outcomes] == [
        None,
        "crashed",
        None,
        "crashed",
        None,
    ]
    assert outcomes[1].failure.message == f"the worker process {message}"


def test_an_item_that_takes_too_long_is_stopped_alone(jobs):
    with LocalExecutor(2) as executor:
        outcomes = {
            outcome.item: outcome
            for outcome in executor.run(jobs.misbehave, ["hang", "a", "b"], timeout_s=1.5)
        }
    assert outcomes["hang"].failure.kind == "timeout"
    assert "1.5 s" in outcomes["hang"].failure.message
    assert (outcomes["a"].value, outcomes["b"].value) == ("a", "b")


def test_a_jump_of_the_wall_clock_times_nothing_out(jobs, monkeypatch):
    hour = iter(range(0, 10**9, 3600))
    monkeypatch.setattr(time, "time", lambda: float(next(hour)))
    with LocalExecutor(1) as executor:
        outcomes = list(executor.run(jobs.double, [1, 2, 3], timeout_s=60))
    assert [outcome.value for outcome in outcomes] == [2, 4, 6]


def test_workers_ignore_ctrl_c(jobs):
    with LocalExecutor(1) as executor:
        (outcome,) = executor.run(jobs.misbehave, ["interrupt"])
    assert outcome.value == "interrupt"


def test_a_value_that_cannot_travel_is_a_failure(jobs):
    with LocalExecutor(1) as executor:
        outcomes = list(executor.run(jobs.misbehave, ["lambda", "a"]))
    assert outcomes[0].failure.kind == "exception"
    assert "lambda" in outcomes[0].failure.message
    assert outcomes[1].value == "a"


def test_workers_stay_for_many_items_and_many_rounds(jobs):
    with LocalExecutor(1) as executor:
        pids = {outcome.value for _ in range(2) for outcome in executor.run(jobs.pid, range(5))}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_no_more_workers_start_than_there_are_items(jobs):
    with LocalExecutor(16) as executor:
        list(executor.run(jobs.double, [1]))
        children = psutil.Process().children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 1


def test_an_idle_worker_that_was_killed_is_replaced(jobs):
    with LocalExecutor(1) as executor:
        (first,) = executor.run(jobs.pid, [0])
        os.kill(first.value, signal.SIGKILL)
        wait_for(lambda: gone(first.value), "the end of the worker")
        (second,) = executor.run(jobs.pid, [0])
    assert second.failure is None
    assert second.value != first.value


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_variables_are_set_before_the_process_starts_and_nowhere_else(jobs, monkeypatch):
    monkeypatch.setenv("ABLATE_PLANTED", "the parent's")
    with LocalExecutor(1, {"ABLATE_PLANTED": "the worker's"}) as executor:
        (outcome,) = executor.run(jobs.environment_before_start, ["ABLATE_PLANTED"])
    assert outcome.value == "the worker's"
    assert os.environ["ABLATE_PLANTED"] == "the parent's"


def test_each_slot_has_its_own_variables_also_after_a_crash(jobs):
    slots = [{"SLOT": "0"}, {"SLOT": "1"}]
    with LocalExecutor(environment={"SHARED": "yes"}, slots=slots) as executor:
        assert executor.workers == 2
        list(executor.run(jobs.misbehave, ["kill"] * 4))
        seen = {outcome.value for outcome in executor.run(jobs.environment, ["SLOT"] * 40)}
        shared = {outcome.value for outcome in executor.run(jobs.environment, ["SHARED"] * 4)}
    assert seen == {"0", "1"}
    assert shared == {"yes"}
    assert "SLOT" not in os.environ


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        ("broken_initializer", "a planted fault before the first item"),
        ("dying_initializer", "exit code 3 before it began an item"),
    ],
)
def test_workers_that_cannot_start_are_one_error_not_one_failure_an_item(jobs, initializer, message):
    executor = LocalExecutor(1, initializer=getattr(jobs, initializer))
    with executor, pytest.raises(MachineError, match=message):
        list(executor.run(jobs.double, range(10)))


def test_bad_luck_at_the_start_loses_no_item(jobs, tmp_path):
    environment = {"MARKER": str(tmp_path / "marker")}
    with LocalExecutor(1, environment, initializer=jobs.die_the_first_time) as executor:
        assert sorted(outcome.value for outcome in executor.run(jobs.double, [1, 2, 3])) == [2, 4, 6]


def test_cancel_from_another_thread_kills_workers_and_what_they_started(jobs, tmp_path):
    note = tmp_path / "pids"
    with LocalExecutor(1) as executor:
        outcomes = []
        thread = threading.Thread(
            target=lambda: outcomes.extend(executor.run(jobs.touch_and_hang, [str(note)] * 3))
        )
        thread.start()
        pids = wait_for(lambda: read_pids(note), "the start of the item")
        executor.cancel()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        wait_for(lambda: all(gone(pid) for pid in pids), "the end of worker and grandchild")
    assert [outcome.failure.kind for outcome in outcomes] == ["cancelled"]
    with pytest.raises(RuntimeError, match="closed"):
        executor.run(jobs.double, [1])


def test_leaving_the_iteration_stops_what_still_runs(jobs, tmp_path):
    note = tmp_path / "pids"
    with LocalExecutor(2) as executor:
        for outcome in executor.run(jobs.hang_or_wait_for, [f"hang {note}", f"wait {note}"]):
            assert outcome.value == "done"
            break
        wait_for(lambda: all(gone(pid) for pid in read_pids(note)), "the end of worker and grandchild")
        assert [outcome.value for outcome in executor.run(jobs.double, [1])] == [2]


def test_a_forgotten_executor_leaves_no_worker(jobs):
    executor = LocalExecutor(1)
    (outcome,) = executor.run(jobs.pid, [0])
    del executor
    gc.collect()
    wait_for(lambda: gone(outcome.value), "the end of the worker")


PARENT = """
import sys
sys.path.insert(0, {folder!r})
import planted_jobs
from ablate.execute import LocalExecutor
if __name__ == "__main__":
    executor = LocalExecutor(2)
    for outcome in executor.run(planted_jobs.{job}, [{first!r}, {second!r}]):
        print(outcome)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("job", ["touch_and_hang", "hold_the_interpreter_lock"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_die_with_their_parent(jobs, tmp_path, job, how):
    if job == "hold_the_interpreter_lock" and sys.platform != "linux":
        pytest.skip("only Linux kills the children of a dead parent")
    notes = [tmp_path / "first", tmp_path / "second"]
    script = tmp_path / "parent.py"
    script.write_text(
        PARENT.format(folder=str(tmp_path / "importable"), job=job, first=str(notes[0]), second=str(notes[1]))
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        workers = [wait_for(lambda note=note: read_pids(note), "the start of an item")[0] for note in notes]
        parent.send_signal(how)
        parent.wait(PATIENCE_S)
        wait_for(lambda: all(gone(worker) for worker in workers), "the end of the workers")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
