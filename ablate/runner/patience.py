"""A word while the user's own code runs before anything is shown: a module that hangs must not hang in
silence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 15.0


@contextmanager
def patience(what: str, say: Callable[[str], None], after_s: float = PATIENCE_S) -> Iterator[None]:
    """Say once that `what` takes long; the work itself goes on in this thread, and Ctrl-C ends it."""
    timer = threading.Timer(after_s, say, (f"still at it after {after_s:.0f} s: {what}",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
