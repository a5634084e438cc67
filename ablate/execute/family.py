"""Whatever a worker started goes with it, even when worker or parent was killed and could tidy nothing up.

Process groups would do it on paper, but then Ctrl-Z would stop the parent and leave the workers computing.
So each worker carries a mark in its environment, which its descendants inherit wherever they are adopted.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

from ablate.execute import warden
from ablate.execute.warden import KILL


def new_mark() -> str:
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def kill_descendants(pid: int) -> None:
    """Those that a living process leads, marked or not: a child may have cleared its environment."""
    import psutil

    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return
    for child in children:
        with contextlib.suppress(OSError):
            os.kill(child.pid, KILL)


class Warden:
    """A small process that outlives this one by as long as it takes to kill the marked ones.

    A worker can see to its own end when its parent dies, but not to what its own children do then. apart: the
    process is no child of this one.
    """

    def __init__(self, mark: str, *, apart: bool = False) -> None:
        self._process = subprocess.Popen(
            # -P: a file beside the script must not hide a library of the same name.
            [sys.executable, "-P", str(Path(warden.__file__).resolve()), mark, *[warden.APART] * apart],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # a reader of our output must not have to wait for it
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # no signal of the terminal's reaches it
        )

    def dismiss(self) -> None:
        """All workers are gone: nothing is left to watch."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(warden.DISMISSED)
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
