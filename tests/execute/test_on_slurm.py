"""Slurm's executor without Slurm: on submitit's own local cluster, which are real processes; and what follows
from each end of a job, on a queue that is told how its jobs end. `test_on_slurm_cluster` has the rest.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from ablate.errors import MachineError
from ablate.execute.on_slurm.executor import SlurmExecutor
from ablate.execute.on_slurm.folder import key_of
from ablate.execute.on_slurm.options import SlurmOptions
from ablate.execute.on_slurm.queue import NOT_SHARED, QUEUES, Refused, State, error_path, result_path
from ablate.execute.on_slurm.task import Answer, Task, Work

DONE = State("COMPLETED")


def _work(task: Task) -> Work:
    return pickle.loads(task.work)  # noqa: S301


class ToldQueue:
    """ends: of each item, how its jobs end, one after the other: a state without a result, or None to run it.

    most: refuses more at a time. bound: refuses more in all, and one job ends at every look. running: items
    whose jobs never end."""

    arrays, largest = True, 1000

    def __init__(
        self,
        ends: dict[object, list[State | None]],
        most: int = 1000,
        bound: int | None = None,
        running: Collection[str] = (),
    ):
        self.ends, self.most, self.bound, self.running = ends, most, bound, set(running)
        self.refusals = 0
        self.waiting: list[Callable[[], object]] = []
        self.batches: list[tuple[list[object], int]] = []
        self.cancelled: list[str] = []
        self.known: dict[str, State] = {}

    def send(self, tasks: Sequence[Task], folder: Path, at_once: int) -> list[str]:
        if len(tasks) > self.most or len(self.waiting) + len(tasks) > (self.bound or 1000):
            self.refusals += 1
            raise Refused("sbatch takes no such job: Job violates accounting/QOS policy (job submit limit)")
        self.batches.append(([_work(task).item for task in tasks], at_once))
        return [self._run(task, f"{len(self.batches)}_{index}", folder) for index, task in enumerate(tasks)]

    def _run(self, task: Task, job_id: str, folder: Path) -> str:
        work = _work(task)
        told = self.ends.get(work.item, [])
        end = told.pop(0) if told else None
        on = work.item in self.running or self.bound is not None
        self.known[job_id] = State("RUNNING") if on else end or DONE
        if end is None or end.name != "LAUNCH":
            task.note("begun", "node7 1")
        if end is None and work.item not in self.running:
            content = ("success", Answer(work.function(work.item), None, 1.5))
            path, written = result_path(folder, job_id), pickle.dumps(content)
            self.waiting.append(lambda: path.write_bytes(written))
            if self.bound is None:
                self.waiting.pop()()
        elif end is not None and end.name == "COMPLETED":  # its supervisor could not go on
            content = (
                "error",
                "Traceback (most recent call last):\nMachineError: the workers cannot start\n",
            )
            result_path(folder, job_id).write_bytes(pickle.dumps(content))
        elif end is not None:
            error_path(folder, job_id).write_text("slurmstepd: error: something was wrong\n")
            self.known[job_id] = State(
                "FAILED" if end.name == "LAUNCH" else end.name, end.exit_code, end.signal, "node7"
            )
        return job_id

    def states(self, job_ids: Collection[str]) -> dict[str, State]:
        if self.waiting:
            self.waiting.pop(0)()
        return {job_id: self.known[job_id] for job_id in job_ids}

    def sent_from(self, folder: Path, job_ids: Collection[str]) -> set[str]:
        return set()

    def cancel(self, job_ids: Collection[str]) -> None:
        self.cancelled += job_ids
        self.known.update(dict.fromkeys(job_ids, State("CANCELLED")))


@pytest.fixture
def told(tmp_path, monkeypatch):
    """(ends, workers) -> an executor on such a queue, and the queue; nobody waits for a file system."""
    monkeypatch.setattr("ablate.execute.on_slurm.round._GRACE_S", 0.0)
    monkeypatch.setattr("ablate.execute.on_slurm.round._LOOK_S", 0.01)

    def make(ends=(), workers=100, options=None, **given):
        queue = ToldQueue(dict(ends), **given)
        monkeypatch.setitem(QUEUES, "told", lambda options, name: queue)
        folder = tmp_path / "results" / ".slurm" / "study"
        return SlurmExecutor(folder, workers, options, cluster="told", queue_look_s=0.0), queue

    return make


@pytest.fixture
def local(tmp_path):
    def make(workers=2, options=None, **given):
        folder = tmp_path / "results" / ".slurm" / "study"
        return SlurmExecutor(folder, workers, options, cluster="local", queue_look_s=0.5, **given)

    return make


# Sending


def test_all_that_there_is_goes_as_one_array_of_so_many_at_once(told, jobs, tmp_path):
    executor, queue = told(workers=7)
    outcomes = sorted(executor.run(jobs.double, range(300)), key=lambda outcome: outcome.index)
    assert [outcome.value for outcome in outcomes] == [2 * index for index in range(300)]
    assert {outcome.wall_s for outcome in outcomes} == {1.5}
    assert queue.batches == [(list(range(300)), 7)]
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_items_that_grow_are_sent_as_others_end(told, jobs):
    class Growing(Sequence):
        """Two at a time are known, as in a search."""

        ended = 0

        def __len__(self):
            return min(6, self.ended + 2)

        def __getitem__(self, index):
            return 10 * index

    items = Growing()
    executor, queue = told(workers=2)
    for outcome in executor.run(jobs.double, items):
        assert outcome.value == 20 * outcome.index
        items.ended += 1
    assert [item for batch, _ in queue.batches for item in batch] == [0, 10, 20, 30, 40, 50]
    assert len(queue.batches[0][0]) == 2
    assert max(len(batch) for batch, _ in queue.batches) <= 2


def test_a_cluster_that_bounds_jobs_gets_as_many_as_it_takes(told, jobs):
    executor, queue = told(most=3)
    assert sorted(outcome.value for outcome in executor.run(jobs.double, range(10))) == list(range(0, 20, 2))
    assert max(len(batch) for batch, _ in queue.batches) <= 3


def test_a_cluster_that_bounds_what_is_in_the_queue_gets_the_rest_as_jobs_end(told, jobs, monkeypatch):
    monkeypatch.setattr("ablate.execute.on_slurm.round._LAST_BREATH_S", 0.0)
    executor, queue = told(bound=4)
    assert sorted(outcome.value for outcome in executor.run(jobs.double, range(12))) == list(range(0, 24, 2))
    assert max(len(batch) for batch, _ in queue.batches) <= 4
    assert queue.refusals <= 12, "it is not asked again and again while nothing has ended"


def test_an_array_is_no_larger_than_the_controller_takes(told, jobs):
    executor, queue = told(workers=25)
    queue.largest = 10
    assert sorted(outcome.value for outcome in executor.run(jobs.double, range(25))) == list(range(0, 50, 2))
    assert [len(batch) for batch, _ in queue.batches] == [10, 10, 5]


def test_why_jobs_wait_is_told_once_where_it_is_more_than_their_turn(told, jobs):
    executor, queue = told(running={"a", "b"})
    notes = []

    def note(text: str) -> None:
        notes.append(text)
        threading.Timer(0.2, executor.cancel).start()

    outcomes = executor.run(jobs.misbehave, ["a", "b"], on_note=note)
    reasons = {"1_0": "Resources", "1_1": "PartitionTimeLimit"}
    queue.states = lambda ids: {
        each: queue.known[each] if queue.known[each].over else State("PENDING", reason=reasons[each])
        for each in ids
    }
    assert [outcome.failure.kind for outcome in outcomes] == ["cancelled", "cancelled"]
    assert notes == ["jobs wait in the queue: PartitionTimeLimit (squeue --me shows them)"]


def test_a_cluster_that_takes_no_job_ends_the_run(told, jobs):
    executor, _ = told(most=0)
    with pytest.raises(MachineError, match="sbatch takes no such job: Job violates"):
        list(executor.run(jobs.double, [1, 2]))


# Ends that Slurm alone knows of


@pytest.mark.parametrize("end", ["NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "TIMEOUT"])
def test_what_the_cluster_took_away_is_sent_again_and_is_no_failure(told, jobs, end):
    executor, queue = told({"a": [State(end), State(end)]})
    losses, notes = [], []
    (outcome,) = executor.run(jobs.misbehave, ["a"], on_loss=losses.append, on_note=notes.append)
    assert (outcome.value, outcome.failure) == ("a", None)
    assert (len(queue.batches), losses) == (3, [])
    assert [f"ended in {end}: it is sent again" in note for note in notes] == [True, True]


def test_a_limit_that_is_reached_too_often_is_a_timeout(told, jobs):
    executor, queue = told({"a": [State("TIMEOUT")] * 9}, options=SlurmOptions(requeues=2))
    (outcome,) = executor.run(jobs.misbehave, ["a"])
    assert (outcome.failure.kind, len(queue.batches)) == ("timeout", 3)
    assert (
        outcome.failure.message
        == "its Slurm job 3_0 ended in TIMEOUT: slurmstepd: error: something was wrong"
    )


@pytest.mark.parametrize(
    ("end", "kind"),
    [(State("OUT_OF_MEMORY", signal=9), "out-of-memory"), (State("FAILED", exit_code=1), "crashed")],
)
def test_other_ends_are_losses_of_the_item(told, jobs, end, kind):
    executor, _ = told({"a": [end] * 3, "b": [end]})
    losses = []
    found = {each.item: each for each in executor.run(jobs.misbehave, "ab", retries=1, on_loss=losses.append)}
    assert found["b"].value == "b"
    assert (found["a"].failure.kind, found["a"].failure.attempts) == (kind, 2)
    assert [(loss.item, loss.failure.attempts, loss.again) for loss in losses if loss.item == "a"] == [
        ("a", 1, True),
        ("a", 2, False),
    ]
    assert f"ended in {end}" in losses[0].failure.message


def test_what_a_lost_item_left_counts(told, jobs):
    executor, queue = told({"a": [State("FAILED", exit_code=1)]})
    (outcome,) = executor.run(jobs.misbehave, ["a"], retries=1, on_loss=lambda loss: "on the disk")
    assert (outcome.value, outcome.failure, len(queue.batches)) == ("on the disk", None, 1)


def test_a_job_that_somebody_cancelled_leaves_its_item_undone(told, jobs):
    executor, _ = told({"a": [State("CANCELLED")]})
    notes = []
    (outcome,) = executor.run(jobs.misbehave, ["a"], retries=1, on_note=notes.append)
    assert outcome.failure.kind == "cancelled"
    assert notes == ["job 1_0 was cancelled (scancel): what it had begun stays pending"]


def test_a_node_that_sees_another_folder_ends_the_run(told, jobs, tmp_path):
    executor, _ = told({"a": [State("FAILED", exit_code=NOT_SHARED)]})
    with pytest.raises(MachineError) as caught:
        list(executor.run(jobs.misbehave, ["a", "b"]))
    assert re.fullmatch(
        "the results tree is not on a file system that the nodes share: on node7 there is no "
        rf"{tmp_path}/results/\.slurm/study/[0-9a-f]+, or another one\n"
        "    give a folder that every node sees, with --output DIR",
        str(caught.value),
    )


def test_jobs_that_cannot_start_end_the_run_at_the_third(told, jobs, tmp_path):
    executor, queue = told({"a": [State("LAUNCH", exit_code=127)] * 9}, workers=1)
    with pytest.raises(MachineError, match=r"the Slurm jobs cannot start: its Slurm job 3_0 ended in FAILED"):
        list(executor.run(jobs.misbehave, ["a"]))
    assert len(queue.batches) == 3
    assert list(tmp_path.glob("results/.slurm/study/*/3_0_0_log.err")), "the logs that are named are kept"


def test_a_supervisor_that_cannot_go_on_is_no_fault_of_its_item(told, jobs):
    executor, _ = told({"a": [DONE]})
    assert [each.value for each in executor.run(jobs.misbehave, ["a", "b"])] in (["a", "b"], ["b", "a"])
    executor, _ = told({"a": [DONE] * 9}, workers=1)
    with pytest.raises(MachineError, match="cannot start: its Slurm job 3_0 says: MachineError: the workers"):
        list(executor.run(jobs.misbehave, ["a"]))


def test_leaving_early_takes_back_what_runs(told, jobs, tmp_path):
    executor, queue = told(running={"slow", "slower"})
    for outcome in executor.run(jobs.misbehave, ["quick", "slow", "slower"]):
        assert outcome.item == "quick"
        break
    assert sorted(queue.cancelled) == ["1_1", "1_2"]
    assert [each.value for each in executor.run(jobs.misbehave, ["again"])] == ["again"]
    assert not list((tmp_path / "results").glob(".slurm/*/*"))


def test_a_cancelled_round_says_so_of_all_that_ran(told, jobs):
    executor, queue = told(running={"slow", "slower"})
    threading.Timer(0.3, executor.cancel).start()
    outcomes = list(executor.run(jobs.misbehave, ["slow", "slower"]))
    assert [outcome.failure.kind for outcome in outcomes] == ["cancelled", "cancelled"]
    assert sorted(set(queue.cancelled)) == ["1_0", "1_1"]
    with pytest.raises(RuntimeError, match="closed"):
        executor.run(jobs.double, [1])


# In real processes, on submitit's local cluster


def test_faults_in_a_job_are_told_apart_as_on_any_machine(local, jobs):
    items = ["good", "raise", "segfault", "hang"]
    with local(4, environment={"MARK": "seen"}) as executor:
        found = {each.item: each for each in executor.run(jobs.on_a_cluster, items, timeout_s=3.0)}
    assert (found["good"].value, found["good"].failure) == ("seen", None)
    failure = found["raise"].failure
    assert (failure.kind, failure.error, failure.message) == ("exception", "ValueError", "a planted fault")
    assert failure.where.endswith("in misbehave")
    assert (found["segfault"].failure.kind, found["segfault"].failure.attempts) == ("crashed", 1)
    assert (found["hang"].failure.kind, found["hang"].failure.attempts) == ("timeout", 1)
    assert re.search(r"planted_jobs\.py:\d+ in on_a_cluster", found["hang"].failure.where)


def test_a_job_goes_back_to_the_queue_before_its_limit_as_long_as_its_item_comes_further(
    local, jobs, tmp_path
):
    further, stuck = f"further {tmp_path / 'a'}", f"stuck {tmp_path / 'b'}"
    with local(2, let_go=jobs.how_far) as executor:
        found = {each.item: each for each in executor.run(jobs.go_on_from, [further, stuck])}
    assert (found[further].value, found[further].failure) == ("second time", None)
    failure = found[stuck].failure
    assert failure.kind == "timeout"
    assert re.fullmatch(
        r"reached the time limit of its Slurm job.* 2 times, and came no further since the last: "
        "give it more time",
        failure.message,
    )


def test_jobs_of_a_run_that_was_killed_go_on_and_are_taken_over(local, jobs, tmp_path):
    marker, release, script = tmp_path / "begun", tmp_path / "release", tmp_path / "run.py"
    script.write_text(
        f"import sys\nsys.path.append({str(Path(jobs.__file__).parent)!r})\nimport planted_jobs\n"
        "from ablate.execute.on_slurm.executor import SlurmExecutor\n"
        f"executor = SlurmExecutor({str(tmp_path / 'results' / '.slurm' / 'study')!r}, cluster='local')\n"
        f"print(list(executor.run(planted_jobs.begin_and_wait, [{f'{marker} {release}'!r}])))\n"
    )
    run = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    try:
        until = time.monotonic() + 60
        while not marker.exists():
            assert time.monotonic() < until and run.poll() is None
            time.sleep(0.1)
    finally:
        run.kill()
        run.wait()
    notes = []

    def note(text: str) -> None:
        notes.append(text)
        release.touch()

    (outcome,) = local(1).run(jobs.begin_and_wait, [f"{marker} {release}"], on_note=note)
    assert outcome.value == "once", "begun a second time"
    assert notes == ["jobs that an earlier run left in the queue: 1, of which this one waits for 1"]
    assert not list((tmp_path / "results").glob(".slurm/*/*"))


def test_a_folder_that_came_with_a_tree_from_elsewhere_is_no_proof_of_a_job(local, jobs, tmp_path):
    """It names a job that runs, and holds a result that would do harm when it is read."""
    planted, harm = tmp_path / "results" / ".slurm" / "study" / "abc", tmp_path / "harm"

    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(harm),)

    key = key_of(jobs.double, 4, None, SlurmOptions())
    planted.mkdir(parents=True)
    line = {"job": str(os.getpid()), "name": "000000", "key": key}
    (planted / "jobs.jsonl").write_text(json.dumps(line))
    result_path(planted, str(os.getpid())).write_bytes(pickle.dumps(Harmful()))
    with local(1) as executor:
        assert [outcome.value for outcome in executor.run(jobs.double, [4])] == [8]
    assert not harm.exists()
    assert not planted.exists()
