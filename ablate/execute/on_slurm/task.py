"""What runs in a Slurm job: one item in a worker process, and a supervisor that minds the job's end.

The supervisor is `LocalExecutor` with one worker, so an exception, a crash, a lack of memory and a time limit
are told apart here as on any machine, and where the code stood is known. It imports no torch, has time for
signals, and is the only one of the two to act on them:

SIGUSR2   Slurm's warning before the time limit: the worker is stopped, the job goes back to the queue
SIGTERM   cancelled by the run that sent it (a file says so): leave at once. Else preempted, requeued or
          cancelled by somebody: the worker is stopped and its lock given up, and Slurm does the rest
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn

from ablate.execute.base import ExecutionFailure, Loss, Outcome
from ablate.execute.local import LocalExecutor

# Where they exist; a system without them has no Slurm either.
LIMIT_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)
CANCELLED = "cancelled"  # the file that says that the run wants no more of its jobs
_WARNINGS = tuple(number for number in (LIMIT_SIGNAL, signal.SIGTERM) if number is not None)
# Slurm signals a job's processes one by one: the worker may be seen to die before our own signal comes.
_OWN_SIGNAL_S = 1.0
# A preempted job may be granted hours before it is killed; to leave early would count as its end.
_PATIENCE_S = 86400.0


@dataclass(frozen=True)
class Answer:
    """What a job leaves. value, failure, wall_s: as of an `Outcome`. died: the failure was its worker's end.
    came_to_limit: of its job, which could not be requeued; to be sent again."""

    value: Any
    failure: ExecutionFailure | None
    wall_s: float
    died: bool = False
    came_to_limit: bool = False


@dataclass
class Work:
    """Pickled as one, after the path is set that its parts are imported from.

    let_go: called here with the item when its worker was stopped: gives up what that one held, and says how
    far it came, in any words that change when it comes further.
    """

    function: Callable[[Any], Any]
    item: Any
    initializer: Callable[[], None] | None = None
    let_go: Callable[[Any], str] | None = None


@dataclass
class Task:
    """Called by submitit in the job. name: of its files in the run's folder. path: of the run's imports."""

    name: str
    folder: Path
    work: bytes
    path: tuple[str, ...]
    environment: Mapping[str, str]
    timeout_s: float | None
    requeues: int
    limit: str = "its time limit"  # of the job, in words
    _stop: Literal["", "limit", "ended", "cancelled"] = ""
    _died: bool = False
    _pool: list[LocalExecutor] = field(default_factory=list)

    def __call__(self) -> Answer:
        if (self.folder / CANCELLED).exists():
            return Answer(None, ExecutionFailure("cancelled", "stopped before it had begun"), 0.0)
        for number in _WARNINGS:
            signal.signal(number, self._warned)
        self.note("begun", f"{socket.gethostname()} {os.getpid()}")
        sys.path.extend(each for each in self.path if each not in sys.path)
        work: Work = pickle.loads(self.work)  # noqa: S301  (written by the run into a folder that is its user's alone)
        outcome = self._run(work)
        if outcome.failure is None:
            return Answer(outcome.value, None, outcome.wall_s)
        if outcome.failure.kind in ("crashed", "cancelled") and not self._stop:
            time.sleep(_OWN_SIGNAL_S)
        if not self._stop:
            return Answer(None, outcome.failure, outcome.wall_s, self._died)
        reached = _let_go(work)
        if self._stop == "limit":
            return self._requeue(reached, outcome.wall_s)
        if self._stop == "ended":
            self.note("ended", "by Slurm")
            time.sleep(_PATIENCE_S)
        return Answer(None, ExecutionFailure("cancelled", "stopped before it had finished"), outcome.wall_s)

    def _run(self, work: Work) -> Outcome[Any, Any]:
        pool = LocalExecutor(1, self.environment, initializer=work.initializer)

        def on_loss(loss: Loss[Any]) -> None:
            self._died = True
            _let_go(work)

        with pool:
            self._pool.append(pool)
            try:
                outcomes = pool.run(work.function, [work.item], timeout_s=self.timeout_s, on_loss=on_loss)
            except RuntimeError:  # warned a moment ago, which closed it
                outcomes = iter(())
            if not self._stop:  # or before there was a pool to close
                for outcome in outcomes:
                    return outcome
        return Outcome(0, work.item, None, ExecutionFailure("cancelled", "stopped before it had begun"), 0.0)

    # Signals

    def _warned(self, number: int, frame: FrameType | None) -> None:
        if (self.folder / CANCELLED).exists():
            self._stop = "cancelled"
        elif not self._stop:
            self._stop = "limit" if number == LIMIT_SIGNAL else "ended"
        elif self._stop == "ended":
            return  # Slurm says so more than once
        for pool in self._pool:
            pool.cancel()

    def _requeue(self, reached: str, wall_s: float) -> Answer:
        """Back to the queue, which ends this process; an answer where that is of no use or not possible."""
        before = self.noted("limits").splitlines()
        times = len(before) + 1
        mark = hashlib.sha256(reached.encode()).hexdigest()[:16]
        self.note("limits", mark, add=True)
        if before and before[-1] == mark:
            why = f"reached {self.limit} {times} times, and came no further since the last: give it more time"
        elif times > self.requeues:
            why = f"reached {self.limit} {times} times, more than requeues={self.requeues} allows"
        else:
            try:
                _to_the_queue(self.requeues - times)
            except OSError as error:
                self.note("refused", str(error), add=True)
                why = f"reached {self.limit}"
                return Answer(None, ExecutionFailure("timeout", why), wall_s, died=True, came_to_limit=True)
        return Answer(None, ExecutionFailure("timeout", why), wall_s, died=True)

    # Files

    def note(self, what: str, text: str, *, add: bool = False) -> None:
        with (
            contextlib.suppress(OSError),
            (self.folder / f"{self.name}.{what}").open("a" if add else "w") as file,
        ):
            file.write(f"{text}\n")

    def noted(self, what: str) -> str:
        try:
            return (self.folder / f"{self.name}.{what}").read_text(encoding="utf-8")
        except OSError:
            return ""


def _let_go(work: Work) -> str:
    return "" if work.let_go is None else str(work.let_go(work.item))


def _to_the_queue(left: int) -> NoReturn:
    """Raises OSError where the queue does not take the job back."""
    import subprocess

    from submitit import JobEnvironment

    try:
        JobEnvironment()._requeue(left)
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error
    raise SystemExit(0)
