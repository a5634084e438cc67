"""Ctrl-C, `kill` and a closed terminal: the first ends the run in order, those after it do not disturb that.

A second KeyboardInterrupt amid the tidying would leave workers, progress files and half a message behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def interruptible(say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Within: the first signal raises KeyboardInterrupt, the second is answered, the third leaves at once.

    Workers die with this process, so even the third loses nothing that is finished. A signal that is ignored
    when the run starts (nohup, a background job of a script) stays so. say: prints the answer; by default
    on standard error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            raise KeyboardInterrupt
        if seen == 2:
            (say or _say)("stopping: what is finished is kept; once more leaves at once")
            return
        os._exit(INTERRUPTED)

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    changed = [number for number in numbers if before[number] is not signal.SIG_IGN]
    for number in changed:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])


def _say(text: str) -> None:
    try:
        # Not through Python's buffers: the signal may have come amid a write to them.
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, f"{text}\n".encode())
    except (OSError, ValueError):
        return  # a closed terminal
