"""Which process on which machine: told apart from every other, also from a later one with the same number."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path

_STATE, _START = 0, 19  # of /proc/PID/stat, counted from the field after the name (proc(5): 3 and 22)


@cache
def this_machine() -> str:
    """What has to be equal for process numbers to mean the same: boot and, for containers, their namespace.

    Two machines may share a host name; no two share a boot. Empty where the system does not say.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def host_name() -> str:
    return platform.node() or "unknown"


def start_of(pid: int) -> str | None:
    """When a process of this machine began; None where there is none, or only its remains (a zombie).

    On Linux in ticks since the boot: a date, as psutil gives it, moves with every correction of the clock.
    "?" for a process that is there but shows nothing of itself.
    """
    return _start_on_linux(pid) if sys.platform == "linux" else _start_elsewhere(pid)


def _start_on_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _start_of_the_hidden(pid)
    fields = stat.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return None if fields[_STATE] in "ZXx" else fields[_START]


def _start_of_the_hidden(pid: int) -> str | None:
    """/proc can be mounted so that it hides what belongs to other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        pass
    return "?"


def _start_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return None if gone else f"{process.create_time():.2f}"
    except psutil.AccessDenied:
        return "?"
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return None
