"""The run's hold on one seat of a Ray cluster: a thread that sends it what it is to do, and waits."""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ablate.execute.base import ExecutionFailure, FailureKind
from ablate.execute.describe import describe_error
from ablate.execute.on_ray.cluster import library
from ablate.execute.on_ray.files import AtOnce, Carry, Trip, fetch_all, fetch_news, send
from ablate.execute.on_ray.seat import About, Answer

NEWS_S = 2.0  # between two looks at how an item comes along whose files are elsewhere
_GOODBYE_S = 10.0  # for a seat to end what runs there


@dataclass(frozen=True)
class Came:
    """A seat is there and takes items."""

    about: About


@dataclass(frozen=True)
class Ended:
    """An item did. value: as the run sees it; counts where failure is None."""

    value: Any
    failure: ExecutionFailure | None
    wall_s: float
    died: bool
    cannot_start: str


@dataclass(frozen=True)
class Lost:
    """The seat is no more: its node, the network on the way to it, or Ray's own process there."""

    kind: FailureKind
    message: str


Event = Came | Ended | Lost


@dataclass(eq=False)
class Hold:
    """actor: of Ray. index: of the item that the seat has; its other fields are the thread's own."""

    actor: Any
    carry: Carry | None
    events: queue.Queue[tuple[Hold, Event] | None]
    about: About | None = None
    index: int | None = None
    leaving: threading.Event = field(default_factory=threading.Event)
    _errands: queue.Queue[tuple[Callable[[Any], Any], Any, float | None] | None] = field(
        default_factory=queue.Queue
    )
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name="ablate-ray-seat", daemon=True)
        self._thread.start()

    def give(self, function: Callable[[Any], Any], item: Any, timeout_s: float | None) -> None:
        self._errands.put((function, item, timeout_s))

    def ask_to_stop(self) -> Any:
        """From any thread. Gives back what `let_go` waits for."""
        self.leaving.set()
        self._errands.put(None)
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing to stop
            return self.actor.stop.remote()

    def let_go(self, stopping: Any) -> None:
        """The seat has ended what ran there, or is killed; its thread ends."""
        ray = library()
        with contextlib.suppress(Exception):
            if stopping is not None:
                ray.get(stopping, timeout=_GOODBYE_S)
        with contextlib.suppress(Exception):
            ray.kill(self.actor)
        if self._thread is not None:
            self._thread.join(_GOODBYE_S)

    # In the thread

    def _serve(self) -> None:
        from ray.exceptions import RayError

        try:
            about: About = library().get(self.actor.about.remote())
            self.events.put((self, Came(about)))
            while (errand := self._errands.get()) is not None:
                self.events.put((self, self._run(about, *errand)))
        except RayError as error:
            self.events.put((self, _lost(error)))
        except Exception as error:  # Ray was shut down under us
            self.events.put((self, Lost("crashed", f"Ray: {type(error).__name__}: {error}")))

    def _run(self, about: About, function: Callable[[Any], Any], item: Any, timeout_s: float | None) -> Ended:
        from ray.exceptions import RayError, RayTaskError

        try:
            if not about.scratch or self.carry is None:
                return _ended(self._answer(function, item, timeout_s, None), None)
            trip = self.carry.depart(item)
            if isinstance(trip, AtOnce):
                return Ended(trip.value, None, 0.0, False, "")
            try:
                return self._travel(trip, about.scratch, function, timeout_s)
            finally:
                trip.end()
        except RayTaskError as error:  # of the node's disk
            return Ended(None, describe_error(error.cause or error), 0.0, False, "")
        except RayError:
            raise
        except Exception as error:  # of our own disk, or an item that cannot be pickled
            return Ended(None, describe_error(error), 0.0, False, "")

    def _travel(
        self, trip: Trip, scratch: str, function: Callable[[Any], Any], timeout_s: float | None
    ) -> Ended:
        node = _Waiting(self.actor)
        asked = scratch, tuple((parcel.name, parcel.sha256) for parcel in trip.parcels)
        told = _ended(self._answer(trip.lacking, asked, None, None), None)
        if told.failure is not None or told.cannot_start:
            return told
        for position, target in told.value:
            send(node, trip.parcels[position].source, target)
        answer = self._answer(
            function, trip.item(scratch), timeout_s, lambda: fetch_news(node, trip, scratch)
        )
        if answer.failure is None or answer.failure.kind != "cancelled":
            fetch_all(node, trip, scratch)
        return _ended(answer, trip.arrived)

    def _answer(
        self,
        function: Callable[[Any], Any],
        item: Any,
        timeout_s: float | None,
        meanwhile: Callable[[], None] | None,
    ) -> Answer:
        ray = library()
        running = self.actor.run.remote(ray.cloudpickle.dumps((function, item)), timeout_s)
        while meanwhile is not None and not ray.wait([running], timeout=NEWS_S)[0]:
            meanwhile()
        answer: Answer = ray.get(running)
        return answer


class _Waiting:
    """The methods of an actor as if it were here."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._actor, name)
        return lambda *arguments: library().get(method.remote(*arguments))


def _ended(answer: Answer, then: Callable[[Any], Any] | None) -> Ended:
    value, failure = None, answer.failure
    if answer.value is not None:
        try:
            value = pickle.loads(answer.value)  # noqa: S301  (from our own worker, through Ray)
        except Exception as error:  # a value whose class this process cannot load
            failure = describe_error(error)
        else:
            value = value if then is None else then(value)
    return Ended(value, failure, answer.wall_s, answer.died, answer.cannot_start)


def _lost(error: Exception) -> Lost:
    """In the words of a user who knows nodes, not actors; Ray's own first line says more."""
    from ray.exceptions import OutOfMemoryError

    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, OutOfMemoryError):
        return Lost("out-of-memory", f"was killed by Ray because its node ran out of memory ({said})")
    return Lost("crashed", f"was lost with its node ({type(error).__name__}: {said})")
