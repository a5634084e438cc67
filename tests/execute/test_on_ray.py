"""Workers on a Ray cluster: nodes that come, go and die, and a cluster for one run alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ablate.errors import MachineError

pytestmark = pytest.mark.ray
PATIENCE_S = 120  # how long a test waits for what must happen; none asserts how fast it does


@pytest.fixture
def make(ray_cluster):
    """Executors on the shared cluster, closed in the end."""
    from ablate.execute.on_ray.executor import RayExecutor

    made = []

    def make_one(**options):
        made.append(RayExecutor(ray_cluster.address, **options))
        return made[-1]

    yield make_one
    for executor in made:
        executor.close()


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen in {PATIENCE_S} s")


def read_pids(path):
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(raylet):
    """And bury it, as a system does: what it started tells its death by that."""
    raylet.kill()
    raylet.wait()


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("kill", None, "was killed"),  # by whom, only the kernel's own count says
        ("segfault", "crashed", "died of SIGSEGV"),
        ("exit", "crashed", "ended by itself with exit code 7"),
    ],
)
def test_a_crash_is_the_failure_of_its_item_and_its_seat_goes_on(make, jobs, fault, kind, message):
    outcomes = {outcome.index: outcome for outcome in make(workers=1).run(jobs.misbehave, ["a", fault, "b"])}
    assert [outcomes[index].value for index in (0, 2)] == ["a", "b"]
    failure = outcomes[1].failure
    assert failure.kind == kind or (kind is None and failure.kind in ("crashed", "out-of-memory"))
    assert message in failure.message and failure.attempts == 1


def test_an_item_that_takes_too_long_is_stopped_alone_and_says_where_it_stood(make, jobs):
    outcomes = {o.item: o for o in make(workers=2).run(jobs.misbehave, ["hang", "a", "b"], timeout_s=3)}
    assert outcomes["hang"].failure.kind == "timeout"
    assert "in misbehave" in outcomes["hang"].failure.where
    assert (outcomes["a"].value, outcomes["b"].value) == ("a", "b")


def test_a_crash_that_may_be_bad_luck_is_begun_again_and_told_of(make, jobs, tmp_path):
    losses = []
    item = f"{tmp_path / 'begun'} 1 {int(signal.SIGSEGV)}"
    (outcome,) = make(workers=1).run(
        jobs.kill_own_process_while, [item], retries=1, on_loss=lambda loss: losses.append(loss)
    )
    assert outcome.value == "survived"
    assert [(loss.index, loss.again, loss.failure.kind, loss.failure.attempts) for loss in losses] == [
        (0, True, "crashed", 1)
    ]


def test_a_crash_that_comes_again_is_a_failure(make, jobs, tmp_path):
    item = f"{tmp_path / 'begun'} 9 {int(signal.SIGSEGV)}"
    (outcome,) = make(workers=1).run(jobs.kill_own_process_while, [item], retries=1)
    assert (outcome.failure.kind, outcome.failure.attempts) == ("crashed", 2)


def test_what_a_dead_worker_left_counts(make, jobs, tmp_path):
    path = tmp_path / "result"
    (outcome,) = make(workers=1).run(
        jobs.leave_a_result_and_die, [str(path)], retries=1, on_loss=lambda loss: path.read_text()
    )
    assert (outcome.value, outcome.failure) == ("finished", None)


def test_let_go_is_called_beside_the_dead_worker(make, jobs, tmp_path):
    """A lock can only be judged on the machine of its holder."""
    path = tmp_path / "pid"
    executor = make(workers=1, let_go=jobs.write_down_who)
    (outcome,) = executor.run(jobs.leave_pid_and_die, [str(path)])
    assert outcome.failure is not None
    worker, seat = read_pids(path), read_pids(path.with_suffix(".by"))
    assert gone(worker[0]) and seat[0] not in (worker[0], os.getpid())


def test_cancelling_from_another_thread_ends_what_runs_and_all_that_it_started(make, jobs, tmp_path):
    executor, path = make(workers=1), tmp_path / "pids"
    thread = threading.Thread(
        target=lambda: (wait_for(lambda: read_pids(path), "a start"), executor.cancel())
    )
    thread.start()
    outcomes = list(executor.run(jobs.touch_and_hang, [str(path), "never"]))
    thread.join()
    assert [outcome.failure.kind for outcome in outcomes] == ["cancelled"]
    wait_for(lambda: all(map(gone, read_pids(path))), "the end of worker and grandchild")


def test_leaving_early_stops_what_runs(make, jobs, tmp_path):
    path, executor = tmp_path / "pids", make(workers=2)
    for outcome in executor.run(jobs.hang_or_wait_for, [f"hang {path}", f"wait {path}"]):
        assert outcome.value == "done"
        break
    wait_for(lambda: all(map(gone, read_pids(path))), "the end of worker and grandchild")
    assert [outcome.value for outcome in executor.run(jobs.double, [4])] == [8]


def test_a_worker_stays_for_many_items_and_has_its_environment_from_the_start(make, jobs):
    executor = make(workers=1, environment={"OMP_NUM_THREADS": "3"})
    assert len({outcome.value for outcome in executor.run(jobs.pid, range(5))}) == 1
    (outcome,) = executor.run(jobs.environment_before_start, ["OMP_NUM_THREADS"])
    assert outcome.value == "3"


def test_items_are_asked_for_when_there_is_room_and_not_before(make, jobs):
    class Growing(list):
        ended = 0

        def __len__(self):
            return min(6, self.ended + 1)

        def __getitem__(self, index):
            return index

    items, values = Growing(), []
    for outcome in make(workers=2).run(jobs.double, items):
        values.append(outcome.value)
        items.ended += 1
    assert values == [0, 2, 4, 6, 8, 10]


def test_a_worker_that_cannot_start_ends_the_round_with_its_reason(make, jobs):
    with pytest.raises(MachineError, match=r"(?s)cannot start.*a planted fault before the first item"):
        list(make(workers=1, initializer=jobs.broken_initializer).run(jobs.double, [1]))


def test_without_an_order_a_node_that_comes_takes_part_and_one_that_dies_loses_nothing(
    ray_cluster, make, jobs, tmp_path
):
    """Each node bears one. The second, which comes after the start, is killed while it has an item."""
    executor, losses, outcomes = make(cpus=2), [], []
    items = [f"first {tmp_path}", f"second {tmp_path}", *(f"{n} {tmp_path}" for n in range(4))]

    def run():
        outcomes.extend(executor.run(jobs.wait_for_the_kill, items, retries=1, on_loss=losses.append))

    assert executor.workers == 1
    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: (tmp_path / "begun-first").exists(), "the first item")
    node = ray_cluster.add_node(num_cpus=2)
    wait_for(lambda: (tmp_path / "begun-second").exists(), "an item on the second node")
    worker = int((tmp_path / "begun-second").read_text())
    raylet = node.all_processes["raylet"][0].process
    assert raylet.pid in [parent.pid for parent in psutil.Process(worker).parents()]
    kill(raylet)
    wait_for(lambda: gone(worker), "the end of the worker")
    (tmp_path / "killed").touch()
    thread.join(PATIENCE_S)
    ray_cluster.remove_node(node, allow_graceful=False)
    assert sorted(outcome.index for outcome in outcomes) == list(range(6))
    assert all(outcome.failure is None for outcome in outcomes)
    assert [(loss.index, loss.again) for loss in losses] == [(1, True)]
    assert "was lost with its node" in losses[0].failure.message


def test_no_cluster_at_an_address_is_said_with_the_way_out():
    from ablate.execute.on_ray.executor import RayExecutor

    code = "from ablate.execute.on_ray.executor import RayExecutor\nRayExecutor('127.0.0.1:1').workers\n"
    # In a process of its own: Ray ends the whole process in some versions.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no Ray cluster at '127.0.0.1:1'" in done.stderr
    assert RayExecutor(workers=1).run(len, []) is not None  # no items, no cluster


OWN_CLUSTER = """
import sys
from ablate.execute.on_ray.executor import RayExecutor
sys.path.insert(0, sys.argv[1])
import planted_jobs
if __name__ == "__main__":
    with RayExecutor(workers=1) as executor:
        for outcome in executor.run(planted_jobs.touch_and_hang, [sys.argv[2]]):
            pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_cluster_of_the_run_ends_with_it_however_it_ends(jobs, tmp_path, number):
    script, path = tmp_path / "own.py", tmp_path / "pids"
    script.write_text(OWN_CLUSTER)
    folder = str(Path(jobs.__file__).parent)
    with subprocess.Popen([sys.executable, str(script), folder, str(path)], stderr=subprocess.DEVNULL) as run:
        wait_for(lambda: read_pids(path), "a start")
        family = psutil.Process(run.pid).children(recursive=True)
        assert any("raylet" in process.name() for process in family)
        run.send_signal(number)
        run.wait(PATIENCE_S)
    pids = [process.pid for process in family] + read_pids(path)
    wait_for(lambda: all(map(gone, pids)), "the end of all processes")
