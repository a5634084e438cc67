"""Worker processes on this machine, each with its own environment variables and its own pipe.

One pipe a worker rather than one queue for all: a worker killed at any instant holds no lock that others
need, and an item that is lost with its worker is known. (A pebble.ProcessPool was measured first: killing a
worker while it idles ends the whole pool, its time limits follow the wall clock, and its workers share one
environment.)
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic

from ablate.errors import MachineError
from ablate.execute.base import ExecutionFailure, FailureKind, Item, Outcome, Result, describe_error
from ablate.execute.worker import BEGUN, READY, work

# Spawn, never fork: a forked child inherits locks, threads and a CUDA context that do not survive forking.
_CONTEXT = multiprocessing.get_context("spawn")
# A worker that dies before it has begun an item may have met bad luck (memory); three in a row have a cause.
_START_ATTEMPTS = 3
# From the end of its pipe to the end of a worker; one that only closed its pipe is killed then.
_LAST_BREATH_S = 5.0
_ENVIRONMENT_LOCK = threading.Lock()


class LocalExecutor:
    """A pool of processes that stay for many items, so each pays the import of torch once.

    workers: how many. environment: variables set in every worker before Python starts in it, so also before
    any library reads them. slots: one mapping a worker, on top of `environment` (CUDA_VISIBLE_DEVICES); it
    then sets the number of workers. initializer: called once in each new worker; must be picklable.
    """

    def __init__(
        self,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        *,
        slots: Sequence[Mapping[str, str]] | None = None,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        environments = [{**(environment or {}), **slot} for slot in (slots or [{}] * workers)]
        if not environments:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        self.workers = len(environments)
        self._pool = [_Worker(each, initializer) for each in environments]
        self._cancelled = threading.Event()
        # Non-daemonic workers (data loaders of the user's may start processes) must not outlive this object.
        self._finalizer = weakref.finalize(self, _clear, self._pool)

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, timeout_s: float | None = None
    ) -> Iterator[Outcome[Item, Result]]:
        """See `Executor.run`. Raises MachineError when no worker can be started."""
        if self._cancelled.is_set():
            raise RuntimeError("this executor was closed")
        return _Round(self, self._pool, self._cancelled, function, items, timeout_s).outcomes()

    def cancel(self) -> None:
        self._cancelled.set()
        for worker in self._pool:
            worker.strike()  # whoever waits in `run` sees them die

    def close(self) -> None:
        """Not beside a `run` in another thread: `cancel` ends that first."""
        self._cancelled.set()
        self._finalizer()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(eq=False)
class _Worker:
    """One place in the pool. Its process is replaced when it dies."""

    environment: Mapping[str, str]
    initializer: Callable[[], None] | None
    process: SpawnProcess | None = None
    connection: Connection[Any, Any] | None = None
    ready: bool = False
    index: int | None = None  # of the item that it has
    begun: float | None = None  # time.monotonic() when it said so
    start_failures: int = 0

    def start(self) -> None:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=work, args=(theirs, self.initializer), name="ablate-worker")
        try:
            with _environment(self.environment):
                process.start()
        except OSError as error:
            raise MachineError(
                f"a worker process cannot be started: {error.strerror or error}\n"
                "    run fewer at once with -j, or free memory and processes"
            ) from error
        finally:
            theirs.close()
        self.process, self.connection = process, ours

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def strike(self) -> None:
        """Kill the process and all that it started, and touch nothing else: safe from any thread."""
        process = self.process
        if process is not None and process.pid is not None and process.is_alive():
            for child in _descendants(process.pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
            process.kill()

    def clear(self) -> None:
        """Kill, wait for the end, and forget the process."""
        self.strike()
        if self.process is not None:
            self.process.join()
        if self.connection is not None:
            self.connection.close()
        self.process = self.connection = self.index = self.begun = None
        self.ready = False


@dataclass
class _Round(Generic[Item, Result]):
    """One call of `run`: which items wait, which worker has which, and the outcomes as they come."""

    owner: LocalExecutor  # so that it lives, and its workers with it, for as long as the iteration
    pool: list[_Worker]
    cancelled: threading.Event
    function: Callable[[Item], Result]
    items: Sequence[Item]
    timeout_s: float | None
    next_index: int = 0
    lost: list[int] = field(default_factory=list)  # their worker died before it began them; they go first

    def outcomes(self) -> Iterator[Outcome[Item, Result]]:
        try:
            while not self.cancelled.is_set():
                self._assign()
                busy = [worker for worker in self.pool if worker.index is not None]
                if not busy:
                    return
                yield from self._collect(busy)
            for worker in self.pool:
                if worker.index is not None:
                    yield self._end(worker, "cancelled", "stopped before it had finished")
        finally:
            for worker in self.pool:
                if worker.index is not None:
                    worker.clear()

    def _assign(self) -> None:
        """Give every free worker the next item; a worker is started only when there is an item for it."""
        for worker in self.pool:
            if worker.index is not None:
                continue
            if self.lost:
                index = self.lost.pop(0)
            elif self.next_index < len(self.items):
                index, self.next_index = self.next_index, self.next_index + 1
            else:
                return
            if not worker.alive:
                worker.clear()  # an idle one that something else ended
                worker.start()
            worker.index = index
            if worker.ready:
                self._send(worker, index)

    def _send(self, worker: _Worker, index: int) -> None:
        payload = ForkingPickler.dumps((self.function, self.items[index]))
        # A broken pipe means that the worker died a moment ago; the next wait finds it dead.
        with contextlib.suppress(OSError):
            if worker.connection is not None:
                worker.connection.send_bytes(payload)

    def _collect(self, busy: list[_Worker]) -> Iterator[Outcome[Item, Result]]:
        """Wait until something happens to a busy worker; yield what came of it."""
        handles: dict[Any, _Worker] = {}
        for worker in busy:
            if worker.process is not None and worker.connection is not None:
                handles[worker.connection] = handles[worker.process.sentinel] = worker
        heard = {id(handles[handle]): handles[handle] for handle in wait(list(handles), self._patience(busy))}
        if self.cancelled.is_set():
            return
        for worker in heard.values():
            if outcome := self._hear(worker):
                yield outcome
        for worker in busy:
            if self._overdue(worker):
                message = f"stopped after {self.timeout_s:g} s, its time limit"
                yield self._end(worker, "timeout", message)

    def _patience(self, busy: list[_Worker]) -> float | None:
        """Seconds until the first time limit; None for as long as it takes."""
        limits = [
            worker.begun + self.timeout_s
            for worker in busy
            if worker.begun is not None and self.timeout_s is not None
        ]
        return max(0.0, min(limits) - time.monotonic()) if limits else None

    def _overdue(self, worker: _Worker) -> bool:
        return (
            self.timeout_s is not None
            and worker.begun is not None
            and time.monotonic() - worker.begun >= self.timeout_s
        )

    def _hear(self, worker: _Worker) -> Outcome[Item, Result] | None:
        """Read what the worker sent. What it sent before it died counts."""
        answer = None
        with contextlib.suppress(EOFError, OSError):
            if worker.connection is not None and worker.connection.poll():
                answer = worker.connection.recv_bytes()
        if answer is None:
            return self._bury(worker)
        try:
            content = pickle.loads(answer)  # noqa: S301  (from our own worker, through a private pipe)
        except Exception as error:  # a value whose class this process cannot load
            content = (None, describe_error(error), 0.0)
        if content == BEGUN:
            worker.begun, worker.start_failures = time.monotonic(), 0
            return None
        if worker.begun is not None:
            return self._finish(worker, *content)
        if content != READY:
            raise MachineError(f"the worker processes cannot start: {content.message}\n{content.traceback}")
        worker.ready = True
        if worker.index is not None:
            self._send(worker, worker.index)
        return None

    def _bury(self, worker: _Worker) -> Outcome[Item, Result] | None:
        """The worker died: of the item that it had, or before it could take one."""
        exit_code = None
        if worker.process is not None:
            worker.process.join(_LAST_BREATH_S)
            exit_code = worker.process.exitcode
        if worker.begun is not None:
            return self._end(worker, "crashed", f"the worker process {_describe_exit(exit_code)}")
        worker.start_failures += 1
        if worker.start_failures >= _START_ATTEMPTS:
            how = _describe_exit(exit_code)
            raise MachineError(f"the worker processes cannot start: each {how} before it began an item")
        if worker.index is not None:
            self.lost.append(worker.index)
        worker.clear()
        return None

    def _end(self, worker: _Worker, kind: FailureKind, message: str) -> Outcome[Item, Result]:
        seconds = time.monotonic() - worker.begun if worker.begun is not None else 0.0
        outcome = self._finish(worker, None, ExecutionFailure(kind, message), seconds)
        worker.clear()
        return outcome

    def _finish(
        self, worker: _Worker, value: Result | None, failure: ExecutionFailure | None, seconds: float
    ) -> Outcome[Item, Result]:
        index, worker.index, worker.begun = worker.index, None, None
        if index is None:
            raise RuntimeError("an answer came from a worker that had no item")
        return Outcome(index, self.items[index], value, failure, seconds)


def _clear(pool: list[_Worker]) -> None:
    for worker in pool:
        worker.clear()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set while a process starts: a spawned one inherits them before it runs a line of Python."""
    with _ENVIRONMENT_LOCK:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _descendants(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is None:
        return "closed its connection"
    if exit_code >= 0:
        return f"ended by itself with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    if name == "SIGKILL":
        return "was killed (SIGKILL), as the kernel does when memory runs out"
    return f"died of {name}"
