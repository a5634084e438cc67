"""A function in several processes at once, through torch's own launcher: the ranks of one trial.

One place for what a launcher leaves open: no process outlives the one that launched, whichever way that ends;
the failure that comes back is that of the rank that failed first, in its own words, and not of those that
lost contact with it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from ablate.errors import MachineError
from ablate.execute import ExecutionFailure, describe_error, describe_exit, die_with_parent, memory_kills
from ablate.train.distributed import Ranks, ranks_joined
from ablate.train.distributed.ranks import PATIENCE_S, is_lost_contact

Item = TypeVar("Item")
Result = TypeVar("Result")
_LOOK_S = 0.2
# A rank that lost contact waits so long before it says so: the launcher ends it as soon as it has found the
# one that failed.
_MANNERS_S = 5.0
_STOP = "stop"
_PREFIX = "ablate-ranks-"
_ABANDONED_S = 2 * 24 * 3600  # a folder that nothing was written to for so long
_KILL = signal.SIGTERM if os.name == "nt" else signal.SIGKILL


class RankFailed(Exception):
    """One of the ranks failed, and the others were stopped. failure: in that rank's own words.

    os_error: what it was where the system refused something to that rank.
    """

    def __init__(self, failure: ExecutionFailure, os_error: OSError | None = None) -> None:
        super().__init__(failure.message)
        self.failure, self.os_error = failure, os_error


def in_ranks(
    function: Callable[[Item, Ranks, str], Result],
    item: Item,
    size: int,
    device: str,
    *,
    look: Callable[[], None] = lambda: None,
    patience_s: float = PATIENCE_S,
) -> Result:
    """`function(item, ranks, device)` in `size` processes that are joined: what rank 0 gave.

    function, item and the value must be picklable. device: as `resolve_device` gives it; the rank's own is
    handed to the function. look: called all the while in the caller's thread; if it raises, the ranks are
    killed and its exception goes on. patience_s: how long one rank waits for another. Raises RankFailed.
    """
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder, ended = Path(name), _Ended()
        kills = memory_kills()
        # In a thread: torch's launcher takes over the signals of a main thread, which are not its to take.
        thread = threading.Thread(
            target=ended.launch,
            args=((function, item, device, patience_s, folder), size, folder),
            name="ablate-ranks",
            daemon=True,
        )
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_LOOK_S)
                look()
        finally:
            if thread.is_alive():
                _kill(folder)
                thread.join()
        if ended.error is not None:
            now = memory_kills()
            counted = None if now is None or kills is None else now > kills
            raise _failure(folder, size, ended.error, counted) from None
        return ended.values[0]


def _remove_abandoned() -> None:
    """Folders of launchers that were killed, as a time limit does: a few small files each."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            pids = [int(path.read_text(encoding="ascii") or 0) for path in folder.glob("pid-*")]
            old = time.time() - folder.stat().st_mtime > _ABANDONED_S
            if old and not any(map(psutil.pid_exists, pids)):
                shutil.rmtree(folder, ignore_errors=True)


class _Ended:
    """How a launch came out. values: by rank."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}
        self.error: BaseException | None = None

    def launch(self, args: tuple[Any, ...], size: int, folder: Path) -> None:
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=size,
            run_id=folder.name,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=_LOOK_S / 2,
            start_method="spawn",
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "launcher")),
        )
        try:
            with _launcher_silent():
                self.values = elastic_launch(config, _rank)(*args)
        except Exception as error:  # whatever the launcher raises, its ranks' own words decide
            self.error = error


@contextlib.contextmanager
def _launcher_silent() -> Iterator[None]:
    """What it would write into the trial's log repeats a rank's failure, or warns of what is meant so."""
    names = [
        name for name in logging.root.manager.loggerDict if name.startswith(("torch.dist", "torch.mult"))
    ]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


# In a rank


def _rank(
    function: Callable[[Item, Ranks, str], Result], item: Item, device: str, patience_s: float, folder: Path
) -> Result | None:
    die_with_parent()
    rank = int(os.environ["RANK"])
    (folder / f"pid-{rank}").write_text(str(os.getpid()), encoding="ascii")
    if (folder / _STOP).exists():
        os._exit(1)
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no standard error
        faulthandler.enable()
    try:
        with ranks_joined(device, patience_s=patience_s) as (ranks, own_device):
            value = function(item, ranks, own_device)
    except (Exception, SystemExit) as error:
        if is_lost_contact(error):
            time.sleep(_MANNERS_S)
        _leave_word(folder, rank, error)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(1)  # what still hangs in a collective would keep the interpreter from ending
    return value if rank == 0 else None


def _leave_word(folder: Path, rank: int, error: BaseException) -> None:
    word: dict[str, Any] = {"failure": asdict(describe_error(error)), "lost_contact": is_lost_contact(error)}
    if isinstance(error, OSError):
        word["os_error"] = [error.errno, error.strerror, error.filename and os.fsdecode(error.filename)]
    word["at"] = time.time()
    temporary = folder / f".failed-{rank}"
    temporary.write_text(json.dumps(word), encoding="utf-8")
    temporary.replace(folder / f"failed-{rank}")


# What came of it


def _kill(folder: Path) -> None:
    """Those that have begun; one that is about to looks for `_STOP` after it has left its number."""
    (folder / _STOP).touch()
    for path in folder.glob("pid-*"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(path.read_text(encoding="ascii")), _KILL)


def _failure(
    folder: Path, size: int, error: BaseException, killed_for_memory: bool | None
) -> RankFailed | MachineError:
    """Of the rank that failed first, unless it only lost contact with one that was killed."""
    words = {
        int(path.name.rpartition("-")[2]): json.loads(path.read_text()) for path in folder.glob("failed-*")
    }
    first = sorted(words.items(), key=lambda one: (one[1]["lost_contact"], one[1]["at"]))
    found = getattr(error, "failures", {})  # of the launcher's ChildFailedError: rank -> how it ended
    killed = [(rank, one.exitcode) for rank, one in found.items() if rank not in words]
    if first and not (killed and first[0][1]["lost_contact"]):
        rank, word = first[0]
        failure = ExecutionFailure(**word["failure"])
        if word["lost_contact"]:
            said = f"rank {rank} of {size} lost contact with the others: {failure.message}"
            failure = replace(failure, message=said)
        elif rank:  # all fail alike in most faults, and the first rank speaks for them
            failure = replace(failure, message=f"rank {rank} of {size}: {failure.message}")
        return RankFailed(failure, OSError(*word["os_error"]) if "os_error" in word else None)
    if killed:
        rank, exit_code = killed[0]
        kind, how = describe_exit(exit_code, killed_for_memory)
        return RankFailed(ExecutionFailure(kind, f"the process of rank {rank} of {size} {how}"))
    return MachineError(f"torch's launcher cannot start {size} processes: {error}")
