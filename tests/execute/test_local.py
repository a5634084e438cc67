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
from ablate.execute.describe import where_in_dump

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
        ("kill", "was killed (SIGKILL) by another process; the kernel counts no kill for want of memory"),
        ("segfault", "died of SIGSEGV"),
        ("exit", "ended by itself with exit code 7"),
    ],
)
def test_a_crash_is_the_failure_of_its_item_and_the_pool_goes_on(jobs, monkeypatch, fault, message):
    monkeypatch.setattr("ablate.execute.round.memory_kills", lambda: 4)
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


# Another attempt


def test_an_item_whose_worker_died_is_begun_again_and_only_it(jobs, tmp_path):
    losses = []
    items = [
        f"{tmp_path / name} {limit} {signal.SIGSEGV.value}" for name, limit in (("a", 0), ("b", 1), ("c", 0))
    ]
    with LocalExecutor(1) as executor:
        outcomes = list(executor.run(jobs.kill_own_process_while, items, retries=1, on_loss=losses.append))
    assert [(outcome.index, outcome.value) for outcome in outcomes] == [(i, "survived") for i in range(3)]
    assert [len((tmp_path / name).read_text().splitlines()) for name in "abc"] == [1, 2, 1]
    (loss,) = losses
    assert (loss.index, loss.item, loss.again) == (1, items[1], True)
    assert loss.failure.message == "the worker process died of SIGSEGV"


def test_an_item_that_kills_its_worker_every_time_fails_and_says_how_often(jobs, tmp_path):
    again = []
    items = [f"{tmp_path / 'a'} 99 {signal.SIGABRT.value}", f"{tmp_path / 'b'} 0 9"]
    with LocalExecutor(1) as executor:
        bad, good = executor.run(
            jobs.kill_own_process_while, items, retries=2, on_loss=lambda loss: again.append(loss.again)
        )
    assert (bad.failure.kind, bad.failure.attempts) == ("crashed", 3)
    assert again == [True, True, False]
    assert good.value == "survived"


@pytest.mark.parametrize("fault", ["raise", "memory", "sys.exit"])
def test_what_would_only_come_again_is_not_tried_again(jobs, fault):
    with LocalExecutor(1) as executor:
        (outcome,) = executor.run(
            jobs.misbehave, [fault], retries=3, on_loss=lambda loss: pytest.fail("lost")
        )
    assert outcome.failure.attempts == 1


def test_a_time_limit_is_no_bad_luck(jobs):
    losses = []
    with LocalExecutor(1) as executor:
        (outcome,) = executor.run(jobs.misbehave, ["hang"], timeout_s=0.5, retries=3, on_loss=losses.append)
    assert (outcome.failure.kind, outcome.failure.attempts) == ("timeout", 1)
    assert [loss.again for loss in losses] == [False]
    assert outcome.failure.where.endswith(" in misbehave")  # where it slept
    assert outcome.failure.message == (
        f"stopped after 0.5 s, its time limit (--timeout); it stood at {outcome.failure.where}"
    )
    assert outcome.failure.where.partition(":")[0] in outcome.failure.traceback


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_stopped_process_does_not_say_where_and_is_stopped_all_the_same(jobs):
    with LocalExecutor(1) as executor:
        (outcome,) = executor.run(jobs.misbehave, ["stop"], timeout_s=0.5)
    assert (outcome.failure.kind, outcome.failure.where) == ("timeout", "")
    assert outcome.failure.message == "stopped after 0.5 s, its time limit (--timeout)"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("fault", "line"), [("exit", "os._exit(7)"), ("null", "ctypes.string_at(0)")])
def test_a_process_that_breaks_down_leaves_the_users_line_on_its_standard_error(
    jobs, tmp_path, monkeypatch, fault, line
):
    """Below Python, where the trial's output goes."""
    path = tmp_path / "stderr"
    monkeypatch.chdir(tmp_path)
    with LocalExecutor(1) as executor:
        (outcome,) = executor.run(jobs.break_down, [f"{fault} {path}"])
    assert outcome.failure.kind == "crashed"
    source = (tmp_path / "importable" / "planted_jobs.py").read_text().splitlines()
    number = max(index for index, text in enumerate(source, start=1) if line in text)
    assert where_in_dump(path.read_text()) == f"importable/planted_jobs.py:{number} in break_down"


def test_a_worker_that_died_after_its_item_had_finished_costs_nothing(jobs, tmp_path):
    path = tmp_path / "result"
    with LocalExecutor(1) as executor:
        (outcome,) = executor.run(
            jobs.leave_a_result_and_die, [str(path)], retries=1, on_loss=lambda loss: path.read_text()
        )
    assert (outcome.value, outcome.failure) == ("finished", None)


def test_when_the_kernel_kills_for_memory_fewer_workers_go_on(jobs, tmp_path, monkeypatch):
    """Beside others an item may lack memory that it has alone; alone, it has no excuse."""
    kills = iter(range(1000))
    monkeypatch.setattr("ablate.execute.round.memory_kills", lambda: next(kills))
    notes = []
    items = [f"{tmp_path / 'a'} 1 9", f"{tmp_path / 'b'} 99 9"]
    with LocalExecutor(3) as executor:
        outcomes = {
            outcome.index: outcome
            for outcome in executor.run(jobs.kill_own_process_while, items, retries=1, on_note=notes.append)
        }
        assert executor.workers == 1
        assert [outcome.value for outcome in executor.run(jobs.double, [1, 2])] == [2, 4]
    assert outcomes[0].value == "survived"
    assert outcomes[1].failure.kind == "out-of-memory"
    assert "because memory had run out" in outcomes[1].failure.message
    assert notes == [
        "memory ran out with 3 workers; going on with 2 workers (-j sets how many)",
        "memory ran out with 2 workers; going on with 1 worker (-j sets how many)",
    ]


def test_a_worker_that_cannot_start_does_not_stop_those_that_can(jobs, tmp_path):
    """One slot has a device that fails; the other does all the work."""
    notes = []
    good, bad = {"MARKER": str(tmp_path / "exists")}, {"MARKER": str(tmp_path / "no" / "such")}
    (tmp_path / "exists").touch()
    with LocalExecutor(slots=[good, bad], initializer=jobs.die_without_marker) as executor:
        wanted = [str(tmp_path / "go")] * 4
        outcomes = []
        for outcome in executor.run(
            jobs.wait_for_file_then_pid,
            wanted,
            on_note=lambda n: (notes.append(n), (tmp_path / "go").touch()),
        ):
            outcomes.append(outcome)
    assert [outcome.failure for outcome in outcomes] == [None] * 4
    assert len({outcome.value for outcome in outcomes}) == 1
    assert notes == [
        "the worker processes cannot start: each ended by itself with exit code 3 before it began an item; "
        "going on with 1 worker (-j sets how many)"
    ]


def test_a_worker_that_asks_for_it_is_replaced(jobs):
    with LocalExecutor(1) as executor:
        pids = [o.value for o in executor.run(jobs.pid_and_ask_to_be_replaced, ["a", "b", "spoil", "c", "d"])]
    assert pids[0] == pids[1] == pids[2]
    assert pids[3] == pids[4] != pids[2]


# Nobody is left behind


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_dead_worker_is_noticed_though_its_child_holds_its_pipes_and_the_child_goes_too(jobs, tmp_path):
    note = tmp_path / "pids"
    with LocalExecutor(1) as executor:
        (outcome,) = executor.run(jobs.fork_and_die, [str(note)])
        assert outcome.failure.kind in ("crashed", "out-of-memory")
        wait_for(lambda: all(gone(pid) for pid in read_pids(note)), "the end of worker and child")


def test_a_closed_pool_leaves_no_process(jobs):
    with LocalExecutor(2) as executor:
        list(executor.run(jobs.double, [1, 2, 3]))
        started = {child.pid for child in psutil.Process().children()}
    left = {
        child.pid for child in psutil.Process().children() if "resource_tracker" not in str(child.cmdline())
    }
    assert len(started) >= 3  # two workers and the warden
    assert not left & started


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
        family = [
            pid for note in notes for pid in wait_for(lambda note=note: read_pids(note), "an item's start")
        ]
        parent.send_signal(how)
        parent.wait(PATIENCE_S)
        wait_for(lambda: all(gone(pid) for pid in family), "the end of the workers and what they started")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
