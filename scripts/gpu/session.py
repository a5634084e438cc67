"""One call of `scripts/gpu.sh`: its time, its children, and what it remembers for the next."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pack import pack

STOP_S = 20.0  # that a study may take to end in order
TIMED_OUT = 124


class Stopped(Exception):
    """By a signal, or because the time is over."""


@dataclass
class Session:
    """One call of the script. packs: of training images. root: the results tree. out: where it is packed."""

    device: str
    small: bool
    packs: int
    ends_at: float  # of time.monotonic()
    root: Path
    out: Path | None
    failed: bool = False

    @property
    def left_s(self) -> float:
        return self.ends_at - time.monotonic()

    def must_go_on(self) -> None:
        if self.left_s <= 0:
            raise Stopped("the time is over")

    def run(self, name: str, command: Sequence[str], limit_s: float, log: Path) -> int:
        """Runs it and keeps what it prints in `log`; its exit code, or 124 if it ran out of `limit_s`."""
        self.must_go_on()
        say(f"== {name}")
        log.parent.mkdir(parents=True, exist_ok=True)
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        reader = threading.Thread(target=_copy, args=(child, log), daemon=True)
        reader.start()
        try:
            return child.wait(timeout=max(1.0, min(limit_s, self.left_s)))
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        finally:
            _stop(child)
            reader.join(timeout=2)

    def keep(self) -> None:
        """Packs what there is, for a machine that is taken away."""
        if self.out is not None:
            parts, said = pack(self.root, self.out)
            say(f"packed: {said}, {len(parts)} files in {self.out}")


def say(text: str) -> None:
    print(text, flush=True)


def _copy(child: subprocess.Popen[str], log: Path) -> None:
    with log.open("w", encoding="utf-8") as file:
        for line in child.stdout or ():
            file.write(line)
            file.flush()
            say(f"   {line.rstrip()}")


def _stop(child: subprocess.Popen[str]) -> None:
    """An interrupt first: `ablate run` keeps what is finished and ends its workers."""
    for number, patience_s in ((signal.SIGINT, STOP_S), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        if child.poll() is not None:
            return
        child.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=patience_s)


class State:
    """Which phases are over, in a file beside their output; a call that was killed leaves it whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, object] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.done = json.loads(path.read_text(encoding="utf-8"))

    def note(self, key: str, value: object) -> None:
        self.done[key] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.done, indent=1), encoding="utf-8")
        temporary.replace(self.path)
