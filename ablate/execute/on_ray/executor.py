"""Items on the nodes of a Ray cluster: an actor a worker, which stays for many items.

A worker that stays pays the import of torch once; a task an item would pay it each time that Ray ends an
idle process. The actor (`on_ray.seat`) asks Ray for the CPUs and GPUs of one item, and Ray says which GPU
that is; within it a process of our own does the work.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.execute.base import Item, Loss, Outcome, Result
from ablate.execute.on_ray.cluster import Cluster, library
from ablate.execute.on_ray.files import Carry
from ablate.execute.on_ray.hold import Event, Hold
from ablate.execute.on_ray.round import RayRound
from ablate.execute.on_ray.seat import Orders, Seat

# `run`, and beside it files, news and the order to stop.
_CALLS_AT_ONCE = 4


@dataclass
class Seats:
    """What the executor has of the cluster. hooks: (initializer, let_go)."""

    cluster: Cluster
    workers: int | None
    environment: Mapping[str, str]
    hooks: tuple[Callable[[], None] | None, Callable[[Any], object] | None]
    shared: Path | None
    carry: Carry | None
    events: queue.Queue[tuple[Hold, Event] | None] = field(default_factory=queue.Queue)
    held: list[Hold] = field(default_factory=list)
    token: tuple[str, str] | None = None

    def limit(self) -> int:
        """How many may work at once, now."""
        return self.workers or max(1, self.cluster.capacity())

    def add(self) -> None:
        """One more; it waits, if it has to, until the cluster has room for it."""
        ray = library()
        dumps = ray.cloudpickle.dumps
        initializer, let_go = self.hooks
        begin = None if initializer is None else dumps(initializer)
        self.token = self.token or self._written_token()
        orders = Orders(
            dict(self.environment), dumps((begin, let_go)), tuple(sys.path), str(Path.cwd()), self.token
        )
        kind: Any = ray.remote(
            num_cpus=self.cluster.cpus,
            num_gpus=self.cluster.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_CALLS_AT_ONCE,
        )(Seat)
        hold = Hold(kind.remote(orders), self.carry, self.events)
        hold.start()
        self.held.append(hold)

    def _written_token(self) -> tuple[str, str] | None:
        if self.shared is None:
            return None
        word = secrets.token_hex(16)
        path = self.shared.absolute() / f".seen-{word[:8]}"
        path.write_text(word, encoding="ascii")
        return str(path), word

    def dismiss(self, leaving: Sequence[Hold]) -> None:
        """All at once, then one after the other until each is gone."""
        self.held[:] = [hold for hold in self.held if hold not in leaving]
        stopping = [(hold, hold.ask_to_stop()) for hold in leaving]
        for hold, ended in stopping:
            hold.let_go(ended)

    def clear(self) -> None:
        self.dismiss(tuple(self.held))
        self.cluster.disconnect()
        if self.token is not None:
            with contextlib.suppress(OSError):
                Path(self.token[0]).unlink()
            self.token = None


class RayExecutor:
    """A pool of workers wherever a Ray cluster has room.

    address: of a running cluster; None: one is started on this machine at first use, and shut down by
    `close`. workers: how many at once; None: as many as the cluster bears, looked at again while it works.
    cpus, gpus: of one worker; parts of a GPU are allowed. own_cpus: of a cluster that is started here.
    environment: variables set in every worker before Python starts in it. initializer: called once in each.
    let_go: called on a worker's node with the item that it had when it died: gives up what it held. shared: a
    folder that all workers use; carry: what travels to a node that does not see it; without, such a node is
    an error. The hooks must be picklable.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        own_cpus: int | None = None,
        initializer: Callable[[], None] | None = None,
        let_go: Callable[[Any], object] | None = None,
        shared: Path | None = None,
        carry: Carry | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        own = own_cpus or workers or os.cpu_count() or 1
        cluster = Cluster(address, cpus, gpus, own)
        self._seats = Seats(cluster, workers, environment or {}, (initializer, let_go), shared, carry)
        self._cancelled = threading.Event()
        self._finalizer = weakref.finalize(self, self._seats.clear)

    @property
    def workers(self) -> int:
        """Connects to the cluster. Raises MachineError where there is none."""
        self._seats.cluster.connect()
        return self._seats.limit()

    def run(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        timeout_s: float | None = None,
        retries: int = 0,
        on_loss: Callable[[Loss[Item]], Result | None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> Iterator[Outcome[Item, Result]]:
        """See `Executor.run`. Raises MachineError when no worker can be started.

        An item that was lost with its node is begun again on another even beyond `retries`, unless these are
        0: that was not its own doing.
        """
        if self._cancelled.is_set():
            raise RuntimeError("this executor was closed")
        a_round = RayRound(
            self._seats, self._cancelled, function, items, timeout_s, retries, on_loss, on_note
        )
        return self._holding(a_round.outcomes())

    def _holding(self, outcomes: Iterator[Outcome[Item, Result]]) -> Iterator[Outcome[Item, Result]]:
        """This object lives, and its workers with it, for as long as the iteration."""
        with contextlib.closing(outcomes) as each:  # type: ignore[type-var]
            yield from each

    def cancel(self) -> None:
        self._cancelled.set()
        for hold in tuple(self._seats.held):
            hold.ask_to_stop()
        self._seats.events.put(None)  # whoever waits in `run` wakes

    def close(self) -> None:
        """Not beside a `run` in another thread: `cancel` ends that first."""
        self._cancelled.set()
        self._finalizer()

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
