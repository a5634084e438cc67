"""The nouns: an Executor runs a function on items, an Outcome says what became of one, a Loss a death."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
FailureKind = Literal["exception", "out-of-memory", "crashed", "timeout", "cancelled"]


@dataclass(frozen=True, slots=True)
class ExecutionFailure:
    """Why an item has no value.

    error: the qualified name of the exception's type; empty where none was raised (crashed, timeout,
    cancelled). where: ``"net.py:12 in forward"``, the last line of the user's own code on the way to it;
    empty where none took part. attempts: how often the item was begun.
    """

    kind: FailureKind
    message: str
    traceback: str = ""
    error: str = ""
    where: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of items[index]: a value, or a failure. wall_s: seconds that the function ran."""

    index: int
    item: Item
    value: Result | None
    failure: ExecutionFailure | None
    wall_s: float


@dataclass(frozen=True, slots=True)
class Loss(Generic[Item]):
    """A worker came to its end with an item in hand.

    failure.kind: crashed, out-of-memory or timeout. again: the item is begun anew, unless it turns out that
    it had left its result.
    """

    index: int
    item: Item
    failure: ExecutionFailure
    again: bool


class Executor(Protocol):
    """Where items run. The contract, which tests hold for every implementation:

    Items start in their order and finish in any; each that started gives exactly one outcome, as soon as it
    is there. A fault of one item never touches another. Leaving the iteration early stops what still runs.
    """

    @property
    def workers(self) -> int:
        """How many items can run at once, at present."""
        ...

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
        """Yield outcomes as they finish.

        timeout_s: longest time for one item, counted from its start. retries: how often an item whose worker
        died is begun again; an exception or a timeout would only come again. on_loss: told of each such end
        before anything follows from it; what it returns, unless None, is the item's value after all (found on
        the disk, say). on_note: told in a sentence when the pool itself changes. Both in the caller's thread.
        """
        ...

    def cancel(self) -> None:
        """Stop all that runs, at once and for good; from any thread. Running items end as 'cancelled'."""
        ...

    def close(self) -> None:
        """Give the workers back. To be called when done; a closed executor runs nothing."""
        ...
