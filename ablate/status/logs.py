"""What a trial has to say: its log, what it printed, and why it failed."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable
from pathlib import Path

from ablate.failures import way_out
from ablate.record import Failure
from ablate.store import Damaged, Store, TrialPaths

INTERVAL_S = 0.5


def render_log(store: Store, trial_id: str) -> str:
    """The whole log; while the trial runs also what it printed so far; of a failed one the traceback.

    Of a trial that is being trained again, what its new attempt says.
    """
    paths = _current(store, trial_id)
    parts = [_text(store.confined(paths.log))]
    if printed := _text(store.confined(paths.output)).strip():
        parts.append(f"printed so far:\n{printed}\n")
    return "".join(parts) + _ending(store, trial_id)


def follow_log(
    store: Store,
    trial_id: str,
    write: Callable[[str], object],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write the log as it grows, until the trial has ended; one that has not begun is waited for."""
    tail: _Tail | None = None
    while True:
        over = store.holder(trial_id) is None and _has_ended(store, trial_id)
        # Asked before reading, so that what was written until the end is read after it.
        current = store.confined(_current(store, trial_id).log)
        if tail is None or (current.exists() and tail.path != current):
            tail = _Tail(current)
        write(tail.read())
        if over:
            write(_ending(store, trial_id))
            return
        sleep(INTERVAL_S)


def _has_ended(store: Store, trial_id: str) -> bool:
    try:
        return store.read_trial(trial_id) is not None
    except Damaged:  # nothing more will come of it
        return True


class _Tail:
    """What is new in a growing file; a file that was begun anew is read from its start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> str:
        try:
            with self.path.open("rb") as file:
                if self.path.stat().st_size < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return ""
        self._offset += len(new)
        return self._decoder.decode(new)


def _current(store: Store, trial_id: str) -> TrialPaths:
    again = store.trial_again(trial_id)
    return again if again.folder.is_dir() and store.holder(trial_id) else store.trial(trial_id)


def _ending(store: Store, trial_id: str) -> str:
    """How it stands with the trial, as far as the log does not say."""
    if (holder := store.holder(trial_id)) is not None:
        return f"running ({holder})\n"
    try:
        record = store.read_trial(trial_id)
    except Damaged as damage:
        return f"damaged: {damage}\n"
    if record is None:
        begun = store.trial(trial_id).folder.is_dir()
        return "not finished: `ablate run` takes it up\n" if begun else "not begun yet\n"
    if record.failure is None:
        return ""
    return _failure(record.failure, _text(store.trial(trial_id).log)) + f"way out: {way_out(record)}\n"


def _failure(failure: Failure, log: str) -> str:
    """What the log does not say itself; where there is no log, its end from the record."""
    tail = "" if log else "".join(f"{line}\n" for line in failure.log_tail)
    if failure.message in (log or tail) and failure.traceback.strip() in (log or tail):
        return tail
    trace = f"\n{failure.traceback.rstrip()}\n" if failure.traceback.strip() else ""
    return f"{tail}\nfailed: {failure.kind}: {failure.message}\n{trace}"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
