"""Everything in this process, one item after another: for debugging, and for tests of what runs on top."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ablate.errors import MachineError
from ablate.execute.base import ExecutionFailure, Item, Loss, Outcome, Result
from ablate.execute.describe import describe_error


class InlineExecutor:
    """Items run in the caller's process and thread: a debugger stops inside them, a crash takes all down."""

    workers = 1

    def __init__(self) -> None:
        self._cancelled = False

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
        """See `Executor.run`. There is no worker to lose here, so nothing is begun twice."""
        if timeout_s is not None:
            raise MachineError(
                "the inline executor cannot stop an item that takes too long: it shares its process\n"
                "    leave the timeout out, or use --executor local"
            )
        return self._run(function, items)

    def _run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        for index, item in enumerate(items):
            if self._cancelled:
                return
            value: Result | None = None
            failure: ExecutionFailure | None = None
            started = time.monotonic()
            try:
                value = function(item)
            except KeyboardInterrupt:
                raise
            except (Exception, SystemExit) as error:
                failure = describe_error(error)
            yield Outcome(index, item, value, failure, time.monotonic() - started)

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self._cancelled = True

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
