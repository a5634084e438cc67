"""The two nouns: an Executor runs a function on items, an Outcome says what became of one item."""

from __future__ import annotations

import traceback as traceback_module
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
FailureKind = Literal["exception", "out-of-memory", "crashed", "timeout", "cancelled"]

# What the allocators say where they have no exception type of their own.
_MEMORY_PHRASES = ("DefaultCPUAllocator", "CUDA out of memory", "CUDA error: out of memory")


@dataclass(frozen=True, slots=True)
class ExecutionFailure:
    """Why an item has no value.

    error: the qualified name of the exception's type; empty where none was raised (crashed, timeout,
    cancelled).
    """

    kind: FailureKind
    message: str
    traceback: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of items[index]: a value, or a failure. wall_s: seconds that the function ran."""

    index: int
    item: Item
    value: Result | None
    failure: ExecutionFailure | None
    wall_s: float


class Executor(Protocol):
    """Where items run. The contract, which tests hold for every implementation:

    Items start in their order and finish in any; each that started gives exactly one outcome, as soon as it
    is there. A fault of one item never touches another. Leaving the iteration early stops what still runs.
    """

    workers: int

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, timeout_s: float | None = None
    ) -> Iterator[Outcome[Item, Result]]:
        """Yield outcomes as they finish. timeout_s: longest time for one item, counted from its start."""
        ...

    def cancel(self) -> None:
        """Stop all that runs, at once and for good; from any thread. Running items end as 'cancelled'."""
        ...

    def close(self) -> None:
        """Give the workers back. To be called when done; a closed executor runs nothing."""
        ...


def describe_error(error: BaseException) -> ExecutionFailure:
    """The failure that an exception stands for, in strings: the exception itself may not survive pickling."""
    kind: FailureKind = "out-of-memory" if _is_out_of_memory(error) else "exception"
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    message = str(error) if str(error) else name
    return ExecutionFailure(kind, message, "".join(traceback_module.format_exception(error)), name)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # torch.OutOfMemoryError by name: this layer loads no torch.
    named = any(parent.__name__ == "OutOfMemoryError" for parent in type(error).__mro__)
    return named or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _MEMORY_PHRASES)
    )
