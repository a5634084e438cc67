"""A failure in words that survive pickling: from an exception, or from how a process ended."""

from __future__ import annotations

import errno
import re
import signal
import sys
import sysconfig
import traceback as traceback_module
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from ablate.execute.base import ExecutionFailure, FailureKind

# What the allocators say where they have no exception type of their own.
_MEMORY_PHRASES = (
    "DefaultCPUAllocator",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
    "std::bad_alloc",
)
_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = tuple(
    Path(folder).resolve()
    for name, folder in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
_VMSTAT = Path("/proc/vmstat")


def describe_error(error: BaseException) -> ExecutionFailure:
    """The failure that an exception stands for, in strings: the exception itself may not survive pickling."""
    kind: FailureKind = "out-of-memory" if _is_out_of_memory(error) else "exception"
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    message = str(error) if str(error) else name
    trace = "".join(traceback_module.format_exception(error))
    return ExecutionFailure(kind, message, trace, name, where_in_user_code(error))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # torch.OutOfMemoryError by name: this layer loads no torch.
    named = any(parent.__name__ == "OutOfMemoryError" for parent in type(error).__mro__)
    return named or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _MEMORY_PHRASES)
    )


def where_in_user_code(error: BaseException) -> str:
    """``"nets/gate.py:12 in forward"``: the innermost line not of ablate or a library, or ""."""
    for each in _chain(error):
        for frame in reversed(traceback_module.extract_tb(each.__traceback__)):
            if _is_users(frame.filename):
                return f"{_short(frame.filename)}:{frame.lineno} in {frame.name}"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was raised from or while handling, as Python prints them."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def where_in_stack(frame: FrameType | None, below: FrameType | None = None) -> str:
    """The same of a function that is still at work. frame: its innermost. below: of the frames called from
    this one, and no other."""
    while frame is not None and frame is not below:
        if _is_users(frame.f_code.co_filename):
            return f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""


# What faulthandler writes: a heading, then the frames of that thread, the innermost first.
_DUMP_HEADING = re.compile(r"^(Current thread |Stack ).*\(most recent call first\):", re.MULTILINE)
_DUMP_FRAME = re.compile(r'\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+) in (?P<name>[^\n]+)')


def where_in_dump(text: str) -> str:
    """The same from the last stack that faulthandler left in a text, of the thread that was at work."""
    headings = list(_DUMP_HEADING.finditer(text))
    if not headings:
        return ""
    for line in text[headings[-1].end() :].lstrip("\n").splitlines():
        frame = _DUMP_FRAME.match(line)
        if frame is None:
            break
        if _is_users(frame["file"]):
            return f"{_short(frame['file'])}:{frame['line']} in {frame['name']}"
    return ""


def _is_users(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    if _PACKAGE in path.parents or not _PACKAGE_FOLDERS.isdisjoint(path.parts):
        return False
    return not any(folder in path.parents for folder in _LIBRARIES)


def _short(filename: str) -> str:
    """As seen from the working directory where that is shorter."""
    path = Path(filename)
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


# How a process ended


def memory_kills() -> int | None:
    """How many processes the kernel has killed for want of memory; None if it keeps no count.

    /proc/vmstat, `oom_kill` (Linux 4.13): machine-wide limits and those of control groups alike.
    """
    try:
        for line in _VMSTAT.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    except (OSError, ValueError):
        return None
    return None


def describe_exit(exit_code: int | None, killed_for_memory: bool | None = None) -> tuple[FailureKind, str]:
    """Kind and words for the end of a process. exit_code: negative for a signal, None while it lives on.

    killed_for_memory: whether the kernel has counted such a kill meanwhile; None when it does not say.
    """
    if exit_code is None:
        return "crashed", "closed its connection"
    if exit_code >= 0:
        return "crashed", f"ended by itself with exit code {exit_code}"
    name = _signal_name(-exit_code)
    if name != "SIGKILL":
        return "crashed", f"died of {name}"
    if killed_for_memory is None:
        system = "kernel" if sys.platform == "linux" else "system"
        return "out-of-memory", f"was killed (SIGKILL), as the {system} does when memory runs out"
    if killed_for_memory:
        return "out-of-memory", "was killed by the kernel (SIGKILL) because memory had run out"
    return "crashed", "was killed (SIGKILL) by another process; the kernel counts no kill for want of memory"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
