"""One call of `RayExecutor.run`: which items wait, which seat has which, and the outcomes as they come."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic

from ablate.errors import MachineError
from ablate.execute.base import ExecutionFailure, Item, Loss, Outcome, Result
from ablate.execute.on_ray.hold import Came, Ended, Event, Hold, Lost

if TYPE_CHECKING:
    from ablate.execute.on_ray.executor import Seats

# Nodes come and go, and the cluster tells nobody.
_LOOK_S = 2.0
_PATIENCE_S = 30.0  # for a first seat, before the user hears what it waits for
_START_ATTEMPTS = 3
# An item that is lost with one node after the other may be what ends them.
_NODE_LOSSES = 4


@dataclass
class RayRound(Generic[Item, Result]):
    seats: Seats
    cancelled: threading.Event
    function: Callable[[Item], Result]
    items: Sequence[Item]
    timeout_s: float | None
    retries: int
    on_loss: Callable[[Loss[Item]], Result | None] | None
    on_note: Callable[[str], None] | None
    next_index: int = 0
    waiting: list[int] = field(default_factory=list)  # to be begun (again); they go first
    deaths: Counter[int] = field(default_factory=Counter)  # of workers, by the item that they had
    node_losses: Counter[int] = field(default_factory=Counter)
    given: dict[int, float] = field(default_factory=dict)  # time.monotonic() by item
    start_failures: int = 0
    idle_since: float | None = None  # since when nobody has come for an item that waits
    looked: float = float("-inf")
    limit: int = 1

    def outcomes(self) -> Iterator[Outcome[Item, Result]]:
        if not len(self.items):  # no cluster is asked for nothing
            return
        self.seats.cluster.connect()
        try:
            while not self.cancelled.is_set():
                self._assign()
                if not self._busy() and not self._left():
                    return
                yield from self._collect()
            yield from self._stopped()
        finally:
            self.seats.dismiss(self._busy())

    def _busy(self) -> list[Hold]:
        return [hold for hold in self.seats.held if hold.index is not None]

    def _stopped(self) -> Iterator[Outcome[Item, Result]]:
        busy = self._busy()
        indices = [hold.index for hold in busy]
        self.seats.dismiss(busy)
        for index in indices:
            if index is not None:
                failure = ExecutionFailure("cancelled", "stopped before it had finished")
                yield self._outcome(index, None, failure, self._since(index))

    # Giving

    def _assign(self) -> None:
        free = [hold for hold in self.seats.held if hold.index is None and hold.about is not None]
        for hold in free:
            index = self._next()
            if index is None:
                return
            hold.index, self.given[index] = index, time.monotonic()
            hold.give(self.function, self.items[index], self.timeout_s)
        room = self._limit() - len(self.seats.held)
        coming = sum(hold.about is None for hold in self.seats.held)
        for _ in range(min(room, self._left() - coming) if room > 0 else 0):
            self.seats.add()

    def _limit(self) -> int:
        now = time.monotonic()
        if now - self.looked >= _LOOK_S:
            self.limit, self.looked = self.seats.limit(), now
        return self.limit

    def _left(self) -> int:
        return len(self.waiting) + len(self.items) - self.next_index

    def _next(self) -> int | None:
        if self.waiting:
            return self.waiting.pop(0)
        if self.next_index >= len(self.items):
            return None
        self.next_index += 1
        return self.next_index - 1

    # Taking

    def _collect(self) -> Iterator[Outcome[Item, Result]]:
        """Wait until something happens; yield what came of it."""
        try:
            heard = self.seats.events.get(timeout=_LOOK_S)
        except queue.Empty:
            self._say_what_is_missing()
            return
        while heard is not None:
            hold, event = heard
            if hold in self.seats.held and not self.cancelled.is_set():
                outcome = self._hear(hold, event)
                if outcome is not None:
                    yield outcome
            try:
                heard = self.seats.events.get_nowait()
            except queue.Empty:
                return

    def _hear(self, hold: Hold, event: Event) -> Outcome[Item, Result] | None:
        if isinstance(event, Came):
            self._seat_taken(hold, event)
            return None
        if isinstance(event, Lost):
            return self._lost(hold, event)
        index, hold.index = hold.index, None
        if index is None:
            return None
        if event.cannot_start:
            self.waiting.insert(0, index)
            self._failed_to_start(hold, event.cannot_start)
            return None
        self.start_failures = 0
        return self._ended(index, event)

    def _seat_taken(self, hold: Hold, event: Came) -> None:
        if event.about.scratch and self.seats.carry is None:
            raise MachineError(
                f"the node {event.about.host} of the Ray cluster does not see {self.seats.shared}\n"
                "    put the results on a file system that all nodes share, with --output DIR"
            )
        hold.about, self.idle_since = event.about, None

    def _ended(self, index: int, event: Ended) -> Outcome[Item, Result] | None:
        if event.failure is None:
            return self._outcome(index, event.value, None, event.wall_s)
        if not event.died:
            failure = replace(event.failure, attempts=self._attempts(index) + 1)
            return self._outcome(index, None, failure, event.wall_s)
        again = event.failure.kind != "timeout" and self.deaths[index] < self.retries
        self.deaths[index] += 1
        return self._lose(index, event.failure, again, event.wall_s)

    # Losing

    def _lost(self, hold: Hold, event: Lost) -> Outcome[Item, Result] | None:
        """The seat is gone: with an item, or before it could take one."""
        index, hold.index = hold.index, None
        if index is None:
            self._failed_to_start(hold, event.message) if hold.about is None else self.seats.dismiss([hold])
            return None
        self.seats.dismiss([hold])
        self.looked = float("-inf")
        counted = self.deaths if event.kind == "out-of-memory" else self.node_losses
        most = self.retries if counted is self.deaths else min(self.retries, 1) * _NODE_LOSSES
        again = counted[index] < most
        counted[index] += 1
        failure = ExecutionFailure(event.kind, f"the worker process {event.message}")
        return self._lose(index, failure, again, self._since(index))

    def _lose(
        self, index: int, failure: ExecutionFailure, again: bool, wall_s: float
    ) -> Outcome[Item, Result] | None:
        """An item's worker is dead: what it left, another attempt, or the end."""
        failure = replace(failure, attempts=self._attempts(index))
        value = self.on_loss(Loss(index, self.items[index], failure, again)) if self.on_loss else None
        if value is None and again:
            self.waiting.insert(0, index)
            return None
        return self._outcome(index, value, failure if value is None else None, wall_s)

    def _failed_to_start(self, hold: Hold, how: str) -> None:
        self.seats.dismiss([hold])
        self.start_failures += 1
        others = any(other.about is not None for other in self.seats.held)
        if self.start_failures >= _START_ATTEMPTS and not others:
            raise MachineError(f"no worker can be started on the Ray cluster: {how}")

    def _say_what_is_missing(self) -> None:
        """Once, to a user who would wait for ever."""
        if any(hold.about is not None for hold in self.seats.held):
            return
        now, need = time.monotonic(), self.seats.cluster.need
        lacking = not self.seats.cluster.capacity()
        if lacking and not self.seats.cluster.can_grow():
            raise MachineError(f"a trial needs {need}, which this machine does not have free for Ray")
        if self.idle_since is None:
            self.idle_since = now
        elif now - self.idle_since >= _PATIENCE_S and self.on_note is not None:
            self.idle_since = float("inf")
            why = "no node of it has as much" if lacking else "others have it, or it is not ready"
            self.on_note(f"waiting for {need} on the Ray cluster: {why}")

    # Ending

    def _attempts(self, index: int) -> int:
        return self.deaths[index] + self.node_losses[index]

    def _since(self, index: int) -> float:
        return time.monotonic() - self.given[index]

    def _outcome(
        self, index: int, value: Result | None, failure: ExecutionFailure | None, wall_s: float
    ) -> Outcome[Item, Result]:
        return Outcome(index, self.items[index], value, failure, wall_s)
