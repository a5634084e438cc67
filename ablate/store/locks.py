"""One process at a time for each trial, whether on this machine or on another that shares the tree.

A lock is a file that names its holder. It appears by `link`, which one process alone wins on local disks and
on NFS; the holder touches it every `HEARTBEAT_S`. Nobody compares clocks: of a holder on this machine the
kernel says whether it lives; one on another machine is given up when somebody has watched its file stand
still for `STALE_AFTER_S`.

What is left open: a machine that sleeps or is cut off for longer than that may wake to a trial that another
one trains by now. It notices at its next heartbeat, and `Lock.check` keeps it from filing anything; a line of
its log or curves may still have come among those of the other.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from ablate.errors import StoreError
from ablate.store.files import explained, temporary_beside
from ablate.store.processes import host_name, start_of, this_machine

HEARTBEAT_S = 10.0
STALE_AFTER_S = 120.0
# A look counts for this long at most, so that a watcher who slept, or hung on a server that hung for the
# holder as well, does not take its own absence for the holder's.
_LOOK_S = 10.0
_ATTEMPTS, _PAUSE_S = 20, 0.05
_NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL, errno.EXDEV}
)
_tokens_held_here: set[str] = set()


class LockLost(StoreError):
    """Another process took the trial over while this one was away; what it has is not to be filed."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock. run_pid: of the command that started it. start, machine: see `processes`."""

    host: str
    pid: int
    run_pid: int
    start: str
    machine: str
    token: str  # no two locks have the same

    def __str__(self) -> str:
        return f"{self.host}, process {self.run_pid}"

    @property
    def dead(self) -> bool:
        """Known to be gone. Of a process on another machine nothing is known."""
        if not self.machine_is_ours:
            return False
        if self.pid == os.getpid():
            return self.token not in _tokens_held_here
        start = start_of(self.pid)
        return start is None or (start != "?" and start != self.start)

    @property
    def machine_is_ours(self) -> bool:
        return (self.host, self.machine) == (host_name(), this_machine())


@dataclass(frozen=True, slots=True)
class Seen:
    """A lock at one look. touched_ns: the file's time, as its file system set it."""

    holder: Holder
    touched_ns: int

    @property
    def mark(self) -> tuple[str, int]:
        return self.holder.token, self.touched_ns


class Lock:
    """A lock that this process holds; a thread touches its file until `release`. To be used with `with`."""

    def __init__(self, path: Path, holder: Holder, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.path, self.holder = path, holder
        self._interval_s = heartbeat_s
        self._lost, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="ablate-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LockLost when the lock is another's by now."""
        if self._lost.is_set():
            raise LockLost(
                f"{self.path} was taken over by another process while this one did not answer: what it "
                "trained is dropped"
            )

    def release(self) -> None:
        """Give the lock up, if it is still ours. A file that cannot be removed dies with this process."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_ours():
                self.path.unlink()
        _tokens_held_here.discard(self.holder.token)

    def check_now(self) -> None:
        """Like `check`, with a look at the file: for the moment before something is filed."""
        with contextlib.suppress(OSError):
            if not self._is_ours():
                self._lost.set()
        self.check()

    def _beat(self) -> None:
        while not self._ended.wait(self._interval_s):
            # A server that does not answer for a while is no reason to give up.
            with contextlib.suppress(OSError):
                if not self._is_ours():
                    self._lost.set()
                    return
                os.utime(self.path)

    def _is_ours(self) -> bool:
        seen = look(self.path)
        return seen is not None and seen.holder.token == self.holder.token

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def take(path: Path) -> Lock | Holder:
    """The lock at `path`, or who holds it. That of a dead process of this machine is taken over.

    Raises StoreError where the tree cannot be written.
    """
    own = _own()
    # Before the file is there: another thread of ours that sees it must not take it for a dead one.
    _tokens_held_here.add(own.token)
    lock: Lock | None = None
    try:
        with explained("write", path):
            for _ in range(_ATTEMPTS):
                if _create(path, own):
                    lock = Lock(path, own)
                    return lock
                seen = look(path)
                if seen is not None and not seen.holder.dead:
                    return seen.holder
                if seen is not None and not remove(path, seen):
                    time.sleep(_PAUSE_S)
        raise StoreError(f"cannot write {path}: others take and leave it all the time\n    run again")
    finally:
        if lock is None:
            _tokens_held_here.discard(own.token)


def look(path: Path) -> Seen | None:
    """The lock as it is now; None without one. Opening the file makes an NFS client ask its server."""
    try:
        with path.open("rb") as file:
            touched_ns = os.fstat(file.fileno()).st_mtime_ns
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # removed on another machine while we opened it
            return None
        raise
    return Seen(_holder(content), touched_ns)


def remove(path: Path, seen: Seen, watch: Watch | None = None) -> bool:
    """Remove a lock whose holder is dead, as it was seen; False where that was not possible just now.

    Two that judged the same lock must not both remove what lies there: the second would remove the lock of
    the first. So only the holder of a second lock, named after the first one's token, may remove it.
    watch: to give up that second lock, too, if its holder stands still.
    """
    guard_path = path.with_name(f"{path.name}.{seen.holder.token}")
    guard = take(guard_path)
    if isinstance(guard, Holder):
        standing = look(guard_path)
        if watch is not None and standing is not None and watch.stands_still(guard_path, standing):
            remove(guard_path, standing, watch)
        return False
    with guard:
        now = look(path)
        if now is None or now.mark != seen.mark:
            return False
        path.unlink()
        return True


@dataclass
class Watch:
    """Watches locks of other machines stand still, by this process's own steady clock."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[tuple[str, int], float, float]] = field(default_factory=dict)

    def stands_still(self, path: Path, seen: Seen) -> bool:
        """To be called at each look: whether the file has not changed for `STALE_AFTER_S` of watching."""
        now = self.clock()
        mark, still_s, looked = self._seen.get(path, (None, 0.0, now))
        still_s = still_s + min(now - looked, _LOOK_S) if mark == seen.mark else 0.0
        self._seen[path] = (seen.mark, still_s, now)
        return still_s >= STALE_AFTER_S


# The file


def _own() -> Holder:
    parent = multiprocessing.parent_process()
    run_pid = os.getpid() if parent is None or parent.pid is None else parent.pid
    start = start_of(os.getpid()) or "?"
    return Holder(host_name(), os.getpid(), run_pid, start, this_machine(), secrets.token_hex(8))


def _holder(content: bytes) -> Holder:
    """A file that says nothing is somebody's, too: written just now without links, or torn by a power cut."""
    try:
        said = json.loads(content)
        return Holder(
            host=str(said["host"]),
            pid=int(said["pid"]),
            run_pid=int(said["run_pid"]),
            start=str(said["start"]),
            machine=str(said["machine"]),
            token=_word(said["token"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Holder("unknown", 0, 0, "?", "unknown", hashlib.sha256(content).hexdigest()[:16])


def _word(token: object) -> str:
    """Tokens become file names."""
    if not isinstance(token, str) or not token.isascii() or not token.isalnum() or len(token) > 64:
        raise ValueError("no token")
    return token


def _create(path: Path, holder: Holder) -> bool:
    """Make the file, content and all, in one step; False if there is one."""
    content = json.dumps(asdict(holder)).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        temporary.write_bytes(content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # NFS says so, too, when the answer to a first request was lost and a second found its work done.
            return temporary.stat().st_nlink > 1
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _create_without_links(path, content)
        return True
    except FileNotFoundError:  # `ablate clean` took the empty folder away between two of these lines
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _create_without_links(path: Path, content: bytes) -> bool:
    """Exclusive as well, but a reader may find the file while it is still empty."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True
