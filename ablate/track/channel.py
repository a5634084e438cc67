"""What one tracker is given of one study: every change of every trial, once.

The files of the trials are read, nothing else; so every executor is followed alike, and what was missed is
made good by reading them once more.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ablate.record import CostRecord
from ablate.store import Damaged, Holder, Lock, Store
from ablate.store import locks as store_locks
from ablate.track.base import Tracker
from ablate.track.snapshot import (
    Snapshot,
    TrackedTrial,
    cost_of,
    mark_of,
    planned_trials,
    signature,
    take,
    tuned_trials,
)

_SAID = 160  # characters of an error: clients of servers say all they know in one line
_FAULTS_IN_A_ROW = 3  # then the tracker is away, and not a trial at fault


@dataclass
class Round:
    """What came of going over the trials once. fault: the first one; empty when there was none."""

    written: int = 0
    running: int = 0
    fault: str = ""
    holder: Holder | None = None


@dataclass
class Channel:
    """One tracker of one study, and what it has been given. To be used by one thread alone.

    hurry: asked between two trials; True leaves the rest to another round.
    """

    store: Store
    study: str
    tracker: Tracker
    hurry: Callable[[], bool] = lambda: False
    written: int = 0  # in all rounds
    progress: int = 0  # grows while the tracker answers
    settled: set[str] = field(default_factory=set)  # ids of trials that were there already
    _lock: Lock | None = None
    _open: bool = False
    _known: tuple[TrackedTrial, ...] = ()
    _known_by: tuple[float, ...] = ()
    _seen: dict[str, tuple[object, ...]] = field(default_factory=dict)
    _marks: dict[str, str] = field(default_factory=dict)
    _costs: dict[tuple[str, str], CostRecord | None] = field(default_factory=dict)
    _watch: store_locks.Watch = field(default_factory=store_locks.Watch)

    def go_over(self, *, thoroughly: bool = False) -> Round:
        """Write what is new. thoroughly: also what came to trials that ended before, such as costs."""
        found = Round()
        try:
            if thoroughly:
                self._seen.clear()
                self._costs.clear()
            found.holder = self._take_lock()
            if found.holder is None:
                self._make_open()
                self._go_over(found)
        except Exception as error:
            # A tracker is another's library and another's server, and may fail in any way.
            self._failed(found, error)
        return found

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.tracker.close()
        self._open = False
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _go_over(self, found: Round) -> None:
        faults = 0
        names = _names(self.store)
        for trial in self._trials(found):
            locked = f"{trial.id}.lock" in names
            if not locked and (trial.id not in names or self._is_at_rest(trial)):
                continue
            if self.hurry():
                return
            try:
                self._one(trial, found, held=locked)
                faults = 0
            except Damaged as damage:  # says nothing of the other trials, nor of the tracker
                found.fault = found.fault or _said(damage)
            except Exception as error:
                self._failed(found, error)
                faults += 1
                if faults == _FAULTS_IN_A_ROW:
                    return
                self._make_open()

    def _is_at_rest(self, trial: TrackedTrial) -> bool:
        """Ended, written, and held by nobody when it was last looked at: most of a large study, most of the
        time. What came to it nevertheless is for a thorough round."""
        return trial.id in self._marks and not self._seen.get(trial.id, (True,))[0]

    def _one(self, trial: TrackedTrial, found: Round, *, held: bool) -> None:
        held = held and self.store.holder(trial.id) is not None
        found.running += held
        seen = signature(self.store, trial, held=held)
        if self._seen.get(trial.id) == seen:
            return
        try:
            snapshot = self._lacking(trial, held=held)
        except Damaged:
            self._seen[trial.id] = seen  # it stays so until somebody mends it
            raise
        if snapshot is not None:
            self._write(trial, snapshot, found)
        self._seen[trial.id] = seen

    def _lacking(self, trial: TrackedTrial, *, held: bool) -> Snapshot | None:
        """The trial, unless it has not begun or all of it is there already."""
        record = self.store.read_trial(trial.id)
        if record is None or (held and record.status == "failed"):
            return take(self.store, trial, None, held=held)
        of = trial.cost_id, record.environment.machine
        if of not in self._costs:
            self._costs[of] = cost_of(self.store, trial, record)
        cost = self._costs[of]
        mark = mark_of(trial, record, cost)
        if self._marks.get(trial.id) == mark:
            return None
        if self.tracker.is_settled(trial, mark):
            self._marks[trial.id] = mark
            self.settled.add(trial.id)
            return None
        return take(self.store, trial, record, cost, held=held)

    def _write(self, trial: TrackedTrial, snapshot: Snapshot, found: Round) -> None:
        self.tracker.write(snapshot)
        if snapshot.ended:
            self._marks[trial.id] = snapshot.mark
        found.written += 1
        self.written += 1
        self.progress += 1

    def _trials(self, found: Round) -> Sequence[TrackedTrial]:
        """Of the plan as it stands, which a run in stages writes anew, and of searches."""
        paths = self.store.study(self.study)
        by = tuple(path.stat().st_mtime_ns if path.exists() else -1 for path in (paths.plan, paths.tuning))
        if by != self._known_by:
            plan = self.store.read_plan(self.study)
            tuned: tuple[TrackedTrial, ...] = ()
            try:
                tuned = tuple(tuned_trials(self.store, self.study))
            except Damaged as damage:
                found.fault = _said(damage)
            every = (*tuned, *(() if plan is None else planned_trials(plan)))
            self._known, self._known_by = tuple({trial.id: trial for trial in every}.values()), by
        return self._known

    def _take_lock(self) -> Holder | None:
        """Who else writes to this tracker. Two would write everything twice."""
        if self._lock is not None:
            self._lock.check()
            return None
        path = self.store.confined(self.store.study(self.study).tracking_lock(self.tracker.name))
        taken = store_locks.take(path)
        if isinstance(taken, Lock):
            self._lock = taken
            return None
        seen = store_locks.look(path)
        if seen is not None and self._watch.stands_still(path, seen):
            store_locks.remove(path, seen, self._watch)
        return taken

    def _make_open(self) -> None:
        if not self._open:
            self.tracker.open()
            self._open = True
            self.progress += 1

    def _failed(self, found: Round, error: Exception) -> None:
        found.fault = found.fault or _said(error)
        if isinstance(error, store_locks.LockLost):
            self._lock = None
        self._open = False


def _names(store: Store) -> frozenset[str]:
    """Of all that lies under trials/: one request, however many trials there are."""
    try:
        with os.scandir(store.root / "trials") as found:
            return frozenset(entry.name for entry in found)
    except FileNotFoundError:
        return frozenset()


def _said(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    shown = first if len(first) <= _SAID else f"{first[:_SAID]}…"
    return f"{type(error).__name__}: {shown}".removesuffix(": ")
