"""An output that may end before the run does: a reader that leaves, a full disk, a closed terminal."""

from __future__ import annotations

import contextlib
import os
from typing import Any


class SteadyStream:
    """Writes to `stream` for as long as it takes what is written, and to nowhere afterwards.

    Training for hours must not end because `head` has read enough. All else is the stream's own: its
    encoding, whether it is a terminal.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.gone = False

    def write(self, text: str) -> int:
        if not self.gone:
            with self._leaving():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if not self.gone:
            with self._leaving():
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _leaving(self) -> Any:
        try:
            yield
        except (OSError, ValueError):  # ValueError: it was closed
            self.gone = True
            silence(self._stream)


def silence(stream: Any) -> None:
    """What the stream still holds, and all that comes, goes to the null device.

    Python flushes once more at exit, and would complain and change the exit code if that failed.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
        stream.flush()
