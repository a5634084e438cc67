"""What goes on before a run or a plan is there to be shown."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.status import Status
from rich.text import Text


class Steps:
    """One line that each step writes over the last, in a terminal; elsewhere a line a step.

    To be closed before anything is written beside the console.
    """

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or Console(file=sys.stderr, highlight=False)
        self._status: Status | None = None
        self._before = ""

    def show(self, what: str, detail: str = "") -> None:
        """what: empty when it is over. detail: left out where each line stays."""
        if not what:
            self.close()
        elif not self._out.is_terminal or self._out.is_dumb_terminal:
            if what != self._before:
                self._out.print(Text(f"{what} …"), soft_wrap=True)
            self._before = what
        else:
            self._overwrite(Text(f"{what}: {detail}" if detail else f"{what} …"))

    def _overwrite(self, text: Text) -> None:
        if self._status is None:
            self._status = self._out.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def note(self, text: str) -> None:
        """A sentence that stays."""
        self._out.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        status, self._status = self._status, None
        if status is not None:
            status.stop()

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
