"""One call of `LocalExecutor.run`: which items wait, which place has which, and the outcomes as they come."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic

from ablate.errors import MachineError
from ablate.execute.base import ExecutionFailure, Item, Loss, Outcome, Result
from ablate.execute.describe import describe_error, describe_exit, memory_kills, where_in_dump
from ablate.execute.place import Place
from ablate.execute.worker import BEGUN, READY

# A worker that dies before it has begun an item may have met bad luck (memory); three in a row have a cause.
_START_ATTEMPTS = 3
# From the end of its pipe to the end of a worker; one that only closed its pipe is killed then.
_LAST_BREATH_S = 5.0
# A process that a dead worker forked keeps its pipes open, so that nothing tells of the death: we look.
_LOOK_S = 1.0


@dataclass
class Round(Generic[Item, Result]):
    """pool: shrinks for good where the machine bears fewer workers."""

    pool: list[Place]
    cancelled: threading.Event
    function: Callable[[Item], Result]
    items: Sequence[Item]
    timeout_s: float | None
    retries: int
    on_loss: Callable[[Loss[Item]], Result | None] | None
    on_note: Callable[[str], None] | None
    next_index: int = 0
    lost: list[int] = field(default_factory=list)  # to be begun (again); they go first
    deaths: Counter[int] = field(default_factory=Counter)  # of workers, by the item that they had

    def outcomes(self) -> Iterator[Outcome[Item, Result]]:
        try:
            while not self.cancelled.is_set():
                self._assign()
                busy = [place for place in self.pool if place.index is not None]
                if not busy:
                    return
                yield from self._collect(busy)
            for place in self.pool:
                if place.index is not None:
                    failure = ExecutionFailure("cancelled", "stopped before it had finished")
                    yield self._end(place, None, failure)
        finally:
            for place in self.pool:
                if place.index is not None:
                    place.clear()

    # Giving

    def _assign(self) -> None:
        """Give every free place the next item; a process is started only when there is an item for it."""
        for place in tuple(self.pool):
            if place.index is not None:
                continue
            index = self._next()
            if index is None:
                return
            if not place.alive:
                place.clear()  # an idle one that something else ended
                try:
                    place.start()
                except MachineError as error:
                    self.lost.insert(0, index)
                    self._give_up(place, error)
                    continue
            place.index = index
            if place.ready:
                self._send(place, index)

    def _next(self) -> int | None:
        if self.lost:
            return self.lost.pop(0)
        if self.next_index >= len(self.items):
            return None
        self.next_index += 1
        return self.next_index - 1

    def _send(self, place: Place, index: int) -> None:
        payload = ForkingPickler.dumps((self.function, self.items[index]))
        # A broken pipe means that the worker died a moment ago; the next wait finds it dead.
        with contextlib.suppress(OSError):
            if place.connection is not None:
                place.connection.send_bytes(payload)

    # Taking

    def _collect(self, busy: list[Place]) -> Iterator[Outcome[Item, Result]]:
        """Wait until something happens to a busy place; yield what came of it."""
        handles: dict[Any, Place] = {}
        for place in busy:
            if place.process is not None and place.connection is not None:
                handles[place.connection] = handles[place.process.sentinel] = place
        heard = {id(handles[handle]) for handle in wait(list(handles), self._patience(busy))}
        if self.cancelled.is_set():
            return
        for place in busy:
            if (id(place) in heard or not place.alive) and (outcome := self._hear(place)):
                yield outcome
        for place in busy:
            if self._overdue(place) and (outcome := self._lose(place, self._timeout(place), again=False)):
                yield outcome

    def _patience(self, busy: list[Place]) -> float:
        """Seconds until the first time limit, or until it is time to look around."""
        limits = [
            place.begun + self.timeout_s
            for place in busy
            if place.begun is not None and self.timeout_s is not None
        ]
        return min(_LOOK_S, max(0.0, min(limits) - time.monotonic()) if limits else _LOOK_S)

    def _overdue(self, place: Place) -> bool:
        return (
            self.timeout_s is not None
            and place.begun is not None
            and time.monotonic() - place.begun >= self.timeout_s
        )

    def _timeout(self, place: Place) -> ExecutionFailure:
        """Asked where it stands before it is killed."""
        stack = place.stack()
        where = where_in_dump(stack)
        at = f"; it stood at {where}" if where else ""
        message = f"stopped after {self.timeout_s:g} s, its time limit (--timeout){at}"
        return ExecutionFailure("timeout", message, stack, where=where)

    def _hear(self, place: Place) -> Outcome[Item, Result] | None:
        """Read what the worker sent. What it sent before it died counts."""
        answer = None
        with contextlib.suppress(EOFError, OSError):
            if place.connection is not None and place.connection.poll():
                answer = place.connection.recv_bytes()
        if answer is None:
            return self._bury(place)
        try:
            content = pickle.loads(answer)  # noqa: S301  (from our own worker, through a private pipe)
        except Exception as error:  # a value whose class this process cannot load
            content = (None, describe_error(error), 0.0, False)
        if content == BEGUN:
            place.begun, place.start_failures = time.monotonic(), 0
            place.memory_kills = memory_kills()
            return None
        if place.begun is not None:
            return self._answered(place, *content)
        if content != READY:
            raise MachineError(f"the worker processes cannot start: {content.message}\n{content.traceback}")
        place.ready = True
        if place.index is not None:
            self._send(place, place.index)
        return None

    def _answered(
        self,
        place: Place,
        value: Result | None,
        failure: ExecutionFailure | None,
        seconds: float,
        spent: bool,
    ) -> Outcome[Item, Result]:
        if failure is not None and place.index is not None:
            failure = replace(failure, attempts=self.deaths[place.index] + 1)
        outcome = self._outcome(place, value, failure, seconds)
        if spent:
            place.clear()
        return outcome

    # Losing

    def _bury(self, place: Place) -> Outcome[Item, Result] | None:
        """The worker died: of the item that it had, or before it could take one."""
        exit_code = None
        if place.process is not None:
            place.process.join(_LAST_BREATH_S)
            exit_code = place.process.exitcode
        if place.begun is None:
            self._failed_to_start(place, describe_exit(exit_code)[1])
            return None
        now, before = memory_kills(), place.memory_kills
        counted = None if now is None or before is None else now > before
        kind, how = describe_exit(exit_code, counted)
        index = place.index
        again = index is not None and self.deaths[index] < self.retries
        if kind == "out-of-memory" and counted and self.retries and len(self.pool) > 1:
            again = True  # beside fewer others; this ends with the last worker
            self._retire(place, f"memory ran out with {len(self.pool)} workers")
        return self._lose(place, ExecutionFailure(kind, f"the worker process {how}"), again)

    def _lose(self, place: Place, failure: ExecutionFailure, again: bool) -> Outcome[Item, Result] | None:
        """An item's worker is dead, or about to be: what it left, another attempt, or the end."""
        index = place.index
        if index is None:
            return None
        place.end()  # nobody may write on, or hold a lock, while we look at what was left
        self.deaths[index] += 1
        failure = replace(failure, attempts=self.deaths[index])
        value = self.on_loss(Loss(index, self.items[index], failure, again)) if self.on_loss else None
        if value is None and again:
            self.lost.insert(0, index)
            place.clear()
            return None
        return self._end(place, value, failure if value is None else None)

    def _failed_to_start(self, place: Place, how: str) -> None:
        place.start_failures += 1
        if place.index is not None:
            self.lost.insert(0, place.index)
        failures = place.start_failures
        place.clear()
        if failures >= _START_ATTEMPTS:
            message = f"the worker processes cannot start: each {how} before it began an item"
            self._give_up(place, MachineError(message))

    def _give_up(self, place: Place, error: MachineError) -> None:
        """On a place that no process will sit in; on the round where no other place works either."""
        if not any(other.ready and other.alive for other in self.pool if other is not place):
            raise error
        self._retire(place, str(error).splitlines()[0])

    def _retire(self, place: Place, why: str) -> None:
        self.pool.remove(place)
        if self.on_note is not None:
            left = len(self.pool)
            self.on_note(f"{why}; going on with {left} worker{'s' if left != 1 else ''} (-j sets how many)")

    # Ending

    def _end(
        self, place: Place, value: Result | None, failure: ExecutionFailure | None
    ) -> Outcome[Item, Result]:
        seconds = time.monotonic() - place.begun if place.begun is not None else 0.0
        outcome = self._outcome(place, value, failure, seconds)
        place.clear()
        return outcome

    def _outcome(
        self, place: Place, value: Result | None, failure: ExecutionFailure | None, seconds: float
    ) -> Outcome[Item, Result]:
        index, place.index, place.begun = place.index, None, None
        if index is None:
            raise RuntimeError("an answer came from a worker that had no item")
        return Outcome(index, self.items[index], value, failure, seconds)
