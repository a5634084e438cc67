"""Worker processes on this machine, each with its own environment variables and its own pipe.

One pipe a worker rather than one queue for all: a worker killed at any instant holds no lock that others
need, and an item that is lost with its worker is known. (A pebble.ProcessPool was measured first: killing a
worker while it idles ends the whole pool, its time limits follow the wall clock, and its workers share one
environment.)
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

from ablate.execute.base import Item, Loss, Outcome, Result
from ablate.execute.family import Warden, new_mark
from ablate.execute.place import Place
from ablate.execute.round import Round


class LocalExecutor:
    """A pool of processes that stay for many items, so each pays the import of torch once.

    workers: how many; fewer where memory or the system does not allow so many. environment: variables set in
    every worker before Python starts in it, so also before any library reads them. slots: one mapping a
    worker, on top of `environment` (CUDA_VISIBLE_DEVICES); it then sets the number of workers. initializer:
    called once in each new worker; must be picklable. warden_apart: what ends this process may end its
    children, too, but not the one that sees to orphans.
    """

    def __init__(
        self,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        *,
        slots: Sequence[Mapping[str, str]] | None = None,
        initializer: Callable[[], None] | None = None,
        warden_apart: bool = False,
    ) -> None:
        environments = [{**(environment or {}), **slot} for slot in (slots or [{}] * workers)]
        if not environments:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        mark = new_mark()
        self._pool = [
            Place(each, initializer, f"{mark}-{number}.") for number, each in enumerate(environments)
        ]
        self._cancelled = threading.Event()
        self._wardens: list[Warden] = []
        self._mark, self._warden_apart = mark, warden_apart
        # Non-daemonic workers (data loaders of the user's may start processes) must not outlive this object.
        self._finalizer = weakref.finalize(self, _clear, self._pool, self._wardens)

    @property
    def workers(self) -> int:
        return len(self._pool)

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
        """See `Executor.run`. Raises MachineError when no worker can be started."""
        if self._cancelled.is_set():
            raise RuntimeError("this executor was closed")
        if items and not self._wardens:
            with contextlib.suppress(OSError):  # a second line of defence; workers watch their parent too
                self._wardens.append(Warden(self._mark, apart=self._warden_apart))
        a_round = Round(self._pool, self._cancelled, function, items, timeout_s, retries, on_loss, on_note)
        return self._holding(a_round.outcomes())

    def _holding(self, outcomes: Iterator[Outcome[Item, Result]]) -> Iterator[Outcome[Item, Result]]:
        """This object lives, and its workers with it, for as long as the iteration."""
        with contextlib.closing(outcomes) as each:  # type: ignore[type-var]
            yield from each

    def cancel(self) -> None:
        self._cancelled.set()
        for place in tuple(self._pool):
            place.strike()  # whoever waits in `run` sees them die

    def close(self) -> None:
        """Not beside a `run` in another thread: `cancel` ends that first."""
        self._cancelled.set()
        self._finalizer()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _clear(pool: list[Place], wardens: list[Warden]) -> None:
    for place in pool:
        place.clear()
    while wardens:
        wardens.pop().dismiss()
