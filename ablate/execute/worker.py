"""The life of one worker process: read an item, run it, send back what became of it."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

from ablate.execute.describe import describe_error

READY = "ready"
BEGUN = "begun"
# They reach the whole foreground group of a terminal; only the parent decides what they mean.
TERMINAL_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
# Answered by faulthandler below Python, so also in the midst of a call that never comes back.
DUMP_SIGNAL: int | None = getattr(signal, "SIGUSR1", None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LEAVE = os._exit

_spent = threading.Event()


def replace_worker() -> None:
    """Called from an item's function: its process is not to be trusted with another item.

    After a CUDA error every further call fails; after a lack of memory the caches still hold what they had.
    No effect where the item runs in the caller's process.
    """
    _spent.set()


def work(
    connection: Connection[Any, Any], initializer: Callable[[], None] | None, dumps: Connection[Any, Any]
) -> None:
    """Serve items until the parent closes the connection or dies.

    Sends READY, or the failure of the initializer; then for each pickled (function, item) BEGUN, so that the
    parent knows whose fault a sudden end is, and (value, failure, seconds, spent): spent is true in the last
    answer of a process that asked to be replaced. dumps: takes the stack, as faulthandler writes it, each
    time the parent sends `DUMP_SIGNAL`.
    """
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL_SIGNALS)
    die_with_parent()
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no standard error, as under pythonw
        faulthandler.enable()
    if DUMP_SIGNAL is not None:
        faulthandler.register(DUMP_SIGNAL, file=dumps.fileno(), all_threads=False)
    _say_who_exits()
    try:
        if initializer is not None:
            initializer()
    except (Exception, SystemExit) as error:
        connection.send(describe_error(error))
        return
    connection.send(READY)
    while not _spent.is_set():
        try:
            payload = connection.recv_bytes()
            connection.send(BEGUN)
            connection.send_bytes(_serve(payload))
        except (EOFError, OSError):
            return


def _serve(payload: bytes) -> bytes:
    started = time.monotonic()
    try:
        function, item = pickle.loads(payload)  # noqa: S301  (from our own parent, through a private pipe)
        value = function(item)
        return _pickled((value, None, time.monotonic() - started, _spent.is_set()))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        failure = describe_error(error)
        if failure.kind == "out-of-memory":
            replace_worker()
        return _pickled((None, failure, time.monotonic() - started, _spent.is_set()))


def _pickled(answer: object) -> bytes:
    return bytes(ForkingPickler.dumps(answer))


def _say_who_exits() -> None:
    """`os._exit` ends a process without a word; in a worker it first leaves the stack of the one who called
    it. Not in processes that the worker forks, which all end by it."""
    worker, leave = os.getpid(), _LEAVE

    def leave_saying_so(status: int) -> NoReturn:
        if os.getpid() == worker:
            with contextlib.suppress(OSError, ValueError):
                os.write(2, f"os._exit({status}) was called\n".encode())
                faulthandler.dump_traceback(file=2, all_threads=False)
        leave(status)

    os._exit = leave_saying_so


def die_with_parent() -> None:
    """No orphans, even when the parent was killed with SIGKILL and could tidy nothing up.

    For processes that `multiprocessing` started. A thread waits on the pipe that closes with the parent. On
    Linux the kernel is asked as well, for code that never lets go of the interpreter lock; the parent may
    already have gone before it was asked.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        _LEAVE(1)

    threading.Thread(target=wait, name="ablate-parent-watch", daemon=True).start()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            _LEAVE(1)
