"""One place in a pool: the process that sits in it, started anew when it dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from ablate.errors import MachineError
from ablate.execute.family import kill_descendants
from ablate.execute.warden import MARK, kill_marked
from ablate.execute.worker import DUMP_SIGNAL, TERMINAL_SIGNALS, work

# Spawn, never fork: a forked child inherits locks, threads and a CUDA context that do not survive forking.
_CONTEXT = multiprocessing.get_context("spawn")
_ENVIRONMENT_LOCK = threading.Lock()
# A stack comes at once unless the process is stopped, and in one piece but for the pauses of a busy machine.
_ANSWER_S, _PAUSE_S = 1.0, 0.2


@dataclass(eq=False)
class Place:
    """mark: in the environment of its processes and all that they start; no beginning of another's."""

    environment: Mapping[str, str]
    initializer: Callable[[], None] | None
    mark: str
    process: SpawnProcess | None = None
    connection: Connection[Any, Any] | None = None
    dumps: Connection[Any, Any] | None = None
    ready: bool = False
    index: int | None = None  # of the item that it has
    begun: float | None = None  # time.monotonic() when it said so
    memory_kills: int | None = None  # of the kernel, when it was begun
    start_failures: int = 0

    def start(self) -> None:
        ours, theirs = _CONTEXT.Pipe()
        dumps, dumping = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(
            target=work, args=(theirs, self.initializer, dumping), name="ablate-worker"
        )
        try:
            # It serves all places, so it is started before one's mark is set.
            resource_tracker.ensure_running()
            with _environment({**self.environment, MARK: self.mark}), _terminal_signals_held():
                process.start()
        except OSError as error:
            ours.close()
            dumps.close()
            raise MachineError(
                f"a worker process cannot be started: {error.strerror or error}\n"
                "    run fewer at once with -j, or free memory and processes"
            ) from error
        finally:
            theirs.close()
            dumping.close()
        self.process, self.connection, self.dumps = process, ours, dumps

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def stack(self) -> str:
        """Where the process stands, as faulthandler tells it; empty where it does not answer."""
        if DUMP_SIGNAL is None or self.process is None or self.process.pid is None or self.dumps is None:
            return ""
        told = b""
        with contextlib.suppress(OSError):
            os.kill(self.process.pid, DUMP_SIGNAL)
            patience_s = _ANSWER_S
            while self.dumps.poll(patience_s) and (part := os.read(self.dumps.fileno(), 1 << 16)):
                told, patience_s = told + part, _PAUSE_S
        return told.decode(errors="replace")

    def strike(self) -> None:
        """Kill the process and all that it started, and touch nothing else: safe from any thread."""
        process = self.process
        if process is None or process.pid is None:
            return
        if process.is_alive():
            kill_descendants(process.pid)
            process.kill()
        kill_marked(self.mark)  # those that were adopted by another process when it died

    def end(self) -> None:
        """Kill, and wait until the system has nothing left of it: locks tell the dead by that."""
        self.strike()
        if self.process is not None:
            self.process.join()

    def clear(self) -> None:
        """End the process, and forget it."""
        self.end()
        for connection in (self.connection, self.dumps):
            if connection is not None:
                connection.close()
        self.process = self.connection = self.dumps = self.index = self.begun = None
        self.ready = False


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set while a process starts: a spawned one inherits them before it runs a line of Python."""
    with _ENVIRONMENT_LOCK:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _terminal_signals_held() -> Iterator[None]:
    """Ctrl-C in the moment in which a worker starts must not end it with a traceback.

    A new process inherits what is blocked; `work` lets go of it once it has made up its mind to ignore it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
