"""One call of `SlurmExecutor.run`: what was sent, what came back, and what is said of the silent."""

from __future__ import annotations

import math
import os
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

from ablate.errors import MachineError, StoreError
from ablate.execute.base import ExecutionFailure, FailureKind, Item, Loss, Outcome, Result
from ablate.execute.on_slurm.folder import RunFolder, Sent, key_of, left_behind
from ablate.execute.on_slurm.options import SlurmOptions
from ablate.execute.on_slurm.queue import NO_FOLDER, NO_PYTHON, Queue, Refused, State, error_path, result_path
from ablate.execute.on_slurm.task import Answer, Task, Work

# Between two looks for results, a listing of one folder.
_LOOK_S = 0.5
# Of the time, at most, that listing may take: folders of thousands of jobs on a network file system.
_SHARE = 0.1
# From a job's end, as Slurm tells it, until its result must be seen here: a network file system may lag.
_GRACE_S = 10.0
# Jobs that end before a line of ours ran in them: a node may be broken, three in a row have a cause.
_START_ATTEMPTS = 3
# For cancelled jobs to be gone before the caller goes on.
_LAST_BREATH_S = 15.0
_OUR_KIND: Mapping[str, FailureKind] = {"OUT_OF_MEMORY": "out-of-memory", "TIMEOUT": "timeout"}
# Not the item's doing: it is sent again, and goes on from where it stood.
_OF_THE_CLUSTER = frozenset({"NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "TIMEOUT", "REVOKED", "LAUNCH_FAILED"})
_TAIL_BYTES = 4096
_USUAL_REASONS = {"Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Cleaning", "Prolog"}


@dataclass(frozen=True)
class Jobs:
    """What all jobs of an executor have in common; see `SlurmExecutor`."""

    folder: Path
    workers: int
    options: SlurmOptions
    queue: Queue
    environment: Mapping[str, str]
    initializer: Callable[[], None] | None
    let_go: Callable[[Any], str] | None
    queue_look_s: float


@dataclass
class SlurmRound(Generic[Item, Result]):
    """One call of `run`. sent: jobs whose end is not known, by the index of their item."""

    jobs: Jobs
    cancelled: threading.Event
    function: Callable[[Item], Result]
    items: Sequence[Item]
    timeout_s: float | None
    retries: int
    on_loss: Callable[[Loss[Item]], Result | None] | None
    on_note: Callable[[str], None] | None
    sent: dict[int, Sent] = field(default_factory=dict)
    next_index: int = 0
    lost: list[int] = field(default_factory=list)  # to be sent (again); they go first
    deaths: Counter[int] = field(default_factory=Counter)  # of workers, by index
    limits: Counter[int] = field(default_factory=Counter)  # what the cluster took away, by index
    start_failures: int = 0
    most: float = math.inf  # tasks that the cluster takes at a time
    full: float = math.inf  # jobs with which it took no further one
    reasons: set[str] = field(default_factory=_USUAL_REASONS.copy)  # to wait, that are told or need not be
    folder: RunFolder | None = None
    inherited: list[RunFolder] = field(default_factory=list)
    left: dict[str, Sent] = field(default_factory=dict)  # jobs of a run that died, by the key of their item
    awaited: set[str] = field(default_factory=set)  # of those, the jobs that were taken over
    over_since: dict[str, float] = field(default_factory=dict)
    looked: float = 0.0
    look_took_s: float = 0.0
    keep_logs: bool = False

    def outcomes(self) -> Iterator[Outcome[Item, Result]]:
        try:
            while not self.cancelled.is_set():
                self._send()
                if not self.sent:
                    break
                yield from self._gather()
                self.cancelled.wait(max(_LOOK_S, self.look_took_s / _SHARE))
            for index in tuple(self.sent):
                yield self._end(index, None, ExecutionFailure("cancelled", "stopped before it had finished"))
        except MachineError:
            self.keep_logs = True
            raise
        finally:
            self._finish()

    # Sending

    def _send(self) -> None:
        """Everything that there is goes as one array, of which so many run at once; later, what there is room
        for: items that grow as others end, and those that were lost."""
        count = len(self.items)
        self.lost += range(self.next_index, count)
        self.next_index = max(self.next_index, count)
        if not self.lost:
            return
        if self.folder is None:
            self._open()
            self._inherit()
        if not self.sent:
            self.full = math.inf
        room = min(self.jobs.workers, self.full) - len(self.sent)
        whole = self.jobs.queue.arrays and not self.sent
        most = min(self.most, self.jobs.queue.largest, math.inf if whole else max(0, room))
        if not (some := self.lost[: int(min(most, count))]):
            return
        try:
            self._send_now(some)
        except Refused as error:
            self._send_fewer(some, error)
        except OSError as error:
            said = error.strerror or error
            raise StoreError(f"cannot write to {self._folder.path}: {said}") from error

    def _send_now(self, indices: Sequence[int]) -> None:
        folder = self._folder
        tasks = [self._task(index) for index in indices]
        for task in tasks:
            folder.forget(task.name)
        job_ids = self.jobs.queue.send(tasks, folder.path, self.jobs.workers)
        found = [
            Sent(job_id, task.name, self._key(index), folder)
            for job_id, task, index in zip(job_ids, tasks, indices, strict=True)
        ]
        folder.add(found)
        self.sent.update(zip(indices, found, strict=True))
        self.lost = [index for index in self.lost if index not in self.sent]

    def _send_fewer(self, indices: Sequence[int], error: Refused) -> None:
        """A cluster bounds a user's jobs: a smaller array may pass, or a job when others are over."""
        if self.sent:
            self.full = len(self.sent)
        elif "limit" in str(error).lower() and len(indices) > 1:
            self.most = len(indices) // 2
            self._send()
        else:
            raise error

    def _task(self, index: int) -> Task:
        jobs = self.jobs
        work = Work(self.function, self.items[index], jobs.initializer, jobs.let_go)
        limit = jobs.options.flags.get("time", "its partition's")
        return Task(
            name=f"{index:06d}",
            folder=self._folder.path,
            work=pickle.dumps(work),
            path=tuple(sys.path),
            environment=jobs.environment,
            timeout_s=self.timeout_s,
            requeues=jobs.options.requeues,
            limit=f"the time limit of its Slurm job ({limit}; --slurm time sets it)",
        )

    @property
    def _folder(self) -> RunFolder:
        if self.folder is None:
            raise RuntimeError("nothing was sent yet")
        return self.folder

    def _key(self, index: int) -> str:
        return key_of(self.function, self.items[index], self.timeout_s, self.jobs.options)

    # Of a run that died

    def _open(self) -> None:
        self.inherited = left_behind(self.jobs.folder)
        self.folder = RunFolder.new(self.jobs.folder)

    def _inherit(self) -> None:
        """Jobs that an earlier run left in the queue are waited for, if they are what this one would send."""
        for folder in tuple(self.inherited):
            jobs = {sent.job_id: sent for sent in folder.sent()}
            alive = self.jobs.queue.sent_from(folder.path, jobs)
            self.left |= {jobs[job_id].key: jobs[job_id] for job_id in alive or ()}
            if alive is not None and not alive:
                folder.remove()
                self.inherited.remove(folder)
        if not self.left:
            return
        found = {index: self.left.get(self._key(index)) for index in self.lost}
        mine = {index: sent for index, sent in found.items() if sent is not None}
        self.sent.update(mine)
        self.awaited = {sent.job_id for sent in mine.values()}
        self.lost = [index for index in self.lost if index not in mine]
        self._note(
            f"jobs that an earlier run left in the queue: {len(self.left)}, of which this one waits for "
            f"{len(mine)}"
        )

    # Hearing

    def _gather(self) -> Iterator[Outcome[Item, Result]]:
        """What has come since the last look."""
        began = time.monotonic()
        present = {path: _names(path) for path in {sent.folder.path for sent in self.sent.values()}}
        self.look_took_s = time.monotonic() - began
        for index, sent in tuple(self.sent.items()):
            path = result_path(sent.folder.path, sent.job_id)
            if path.name in present[sent.folder.path] and (outcome := self._hear(index, path)):
                yield outcome
        if self.sent and time.monotonic() - self.looked >= self.jobs.queue_look_s:
            self.looked = time.monotonic()
            yield from self._ask()

    def _hear(self, index: int, path: Path) -> Outcome[Item, Result] | None:
        try:
            said, content = pickle.loads(path.read_bytes())  # noqa: S301  (the run's own folder, its user's alone)
        except Exception as error:  # a value whose class this process cannot load
            return self._end(
                index, None, ExecutionFailure("exception", f"its result cannot be read: {error}")
            )
        if said != "success" or not isinstance(content, Answer):  # not the item's fault, which is an answer
            last = str(content).strip().rpartition("\n")[2]
            self._failed_to_start(index, f"its Slurm job {self.sent[index].job_id} says: {last}")
            return None
        self.start_failures = 0
        failure = content.failure
        if content.came_to_limit and self.limits[index] < self.jobs.options.requeues:
            self.limits[index] += 1
            self._again(index)
            return None
        if failure is None or not content.died:
            return self._end(index, content.value, failure, content.wall_s)
        return self._lose(index, failure, again=failure.kind != "timeout", wall_s=content.wall_s)

    def _ask(self) -> Iterator[Outcome[Item, Result]]:
        """Ask Slurm: a job that is over and has left no result will leave none."""
        by_id = {sent.job_id: index for index, sent in self.sent.items()}
        states = self.jobs.queue.states(by_id)
        for job_id, state in (states or {}).items():
            if not state.over:
                self.over_since.pop(job_id, None)  # requeued
                self._tell_reason(state.reason)
                continue
            since = self.over_since.setdefault(job_id, time.monotonic())
            index = by_id[job_id]
            patient = time.monotonic() - since < _GRACE_S
            path = result_path(self.sent[index].folder.path, job_id)
            if path.exists():
                outcome = self._hear(index, path)
            else:
                outcome = None if patient else self._bury(index, self.sent[index], state)
            if outcome is not None:
                yield outcome

    def _tell_reason(self, reason: str) -> None:
        """Why jobs wait, where that is more than their turn: it may be for ever."""
        if reason and reason not in self.reasons:
            self.reasons.add(reason)
            self._note(f"jobs wait in the queue: {reason} (squeue --me shows them)")

    def _bury(self, index: int, sent: Sent, state: State) -> Outcome[Item, Result] | None:
        """The job is over and said nothing."""
        self.over_since.pop(sent.job_id, None)
        if state.saw_no_folder:
            raise MachineError(
                f"the results tree is not on a file system that the nodes share: on {state.node or 'a node'} "
                f"there is no {sent.folder.path}, or another one\n"
                "    give a folder that every node sees, with --output DIR"
            )
        if state.exit_code in (NO_PYTHON, NO_FOLDER):
            lacks = sys.executable if state.exit_code == NO_PYTHON else Path.cwd()
            raise MachineError(
                f"on {state.node or 'a node'} there is no {lacks}: it is not on a file system that the nodes "
                "share\n    start the run in a folder, and from an environment, that every node sees"
            )
        if state.name == "CANCELLED":
            self._note(f"job {sent.job_id} was cancelled (scancel): what it had begun stays pending")
            return self._end(index, None, ExecutionFailure("cancelled", "its Slurm job was cancelled"))
        if state.name in _OF_THE_CLUSTER and self.limits[index] < self.jobs.options.requeues:
            self.limits[index] += 1
            self._note(f"job {sent.job_id} ended in {state}: it is sent again")
            self._again(index)
            return None
        last = _last_words(error_path(sent.folder.path, sent.job_id))
        how = f"its Slurm job {sent.job_id} ended in {state}" + (f": {last}" if last else "")
        if not sent.folder.has(sent.name, "begun"):
            self._failed_to_start(index, how)
            return None
        kind = _OUR_KIND.get(state.name, "crashed")
        return self._lose(index, ExecutionFailure(kind, how), again=kind != "timeout")

    def _failed_to_start(self, index: int, how: str) -> None:
        self.start_failures += 1
        if self.start_failures >= _START_ATTEMPTS:
            raise MachineError(f"the Slurm jobs cannot start: {how}\n    logs: {self._folder.path}")
        self._again(index)

    def _note(self, text: str) -> None:
        if self.on_note is not None:
            self.on_note(text)

    # Losing and ending

    def _lose(
        self, index: int, failure: ExecutionFailure, again: bool = True, wall_s: float = 0.0
    ) -> Outcome[Item, Result] | None:
        self.deaths[index] += 1
        again = again and self.deaths[index] <= self.retries
        failure = replace(failure, attempts=self.deaths[index])
        value = self.on_loss(Loss(index, self.items[index], failure, again)) if self.on_loss else None
        if value is None and again:
            self._again(index)
            return None
        return self._end(index, value, failure if value is None else None, wall_s, died=True)

    def _again(self, index: int) -> None:
        del self.sent[index]
        self.lost.insert(0, index)

    def _end(
        self,
        index: int,
        value: Result | None,
        failure: ExecutionFailure | None,
        wall_s: float = 0.0,
        *,
        died: bool = False,
    ) -> Outcome[Item, Result]:
        del self.sent[index]
        if failure is not None and not died and self.deaths[index]:
            failure = replace(failure, attempts=self.deaths[index] + 1)
        return Outcome(index, self.items[index], value, failure, wall_s)

    def withdraw(self) -> None:
        """Take back what was sent; from any thread."""
        sent = list(self.sent.values())
        for folder in {each.folder.path: each.folder for each in sent}.values():
            folder.say_cancelled()
        if sent:
            self.jobs.queue.cancel([each.job_id for each in sent])

    def _finish(self) -> None:
        """What is still out there is taken back; a folder that no job needs any more goes."""
        self.withdraw()
        folders = [*([self.folder] if self.folder else []), *self.inherited]
        jobs = {folder.path: {sent.job_id for sent in folder.sent()} for folder in folders}
        every = set().union(*jobs.values())
        # Cancelled ones take a moment to be gone, and so do those that have just left their result.
        awaited = every & (self.awaited | (jobs[self.folder.path] if self.folder else set()))
        until = time.monotonic() + _LAST_BREATH_S
        while True:
            states = self.jobs.queue.states(every) if every else {}
            at_work = {job_id for job_id, state in (states or {}).items() if not state.over}
            if (states is not None and not at_work & awaited) or time.monotonic() > until:
                break
            time.sleep(_LOOK_S)
        for folder in folders:
            if states is None or self.keep_logs or at_work & jobs[folder.path]:
                folder.release()
            else:
                folder.remove()


def _names(folder: Path) -> set[str]:
    """Of what lies there, which may be thousands of files; none while a server does not answer."""
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - no path is made of each
    except OSError:
        return set()


def _last_words(path: Path) -> str:
    """The last line that a job wrote on standard error."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
