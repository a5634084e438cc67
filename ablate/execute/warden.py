"""A process of its own: wait for the parent's end, then kill what carries its mark in the environment.

Started as a file (`python warden.py MARK [apart]`), so it imports nothing of this package. apart: it is to be
nobody's child, for a parent whose own supervisor ends its children with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

MARK = "ABLATE_WORKER"
DISMISSED = b"dismissed"
APART = "apart"
KILL = signal.SIGTERM if os.name == "nt" else signal.SIGKILL
# Something may be starting a process in the moment in which it is killed, so one look is not enough.
_LOOKS, _PAUSE_S = 5, 0.2


def kill_marked(prefix: str) -> None:
    """Kill every process of this user, but this one, whose mark begins so."""
    for pid in _marked(prefix):
        with contextlib.suppress(OSError):
            os.kill(pid, KILL)


def _marked(prefix: str) -> Iterator[int]:
    import psutil

    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        # Other users' processes cannot be read, and some end while we look.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK, "").startswith(prefix):
                yield process.pid


def main() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if APART in sys.argv[2:] and hasattr(os, "fork") and os.fork():
        return
    if sys.stdin.buffer.read() == DISMISSED:
        return
    for _ in range(_LOOKS):
        kill_marked(sys.argv[1])
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
