"""Trials that another run on the same tree is training: left to it, and waited for at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ablate.record import TrialRecord
from ablate.runner.job import Job, has_come_since
from ablate.store import Holder, Lock, Store, Watch

POLL_S = 1.0
_LAST_BREATH_S = 10.0  # for a killed worker to be gone


@dataclass
class Others:
    """What others hold of this run's trials. note: tells the user. finished: ids of what they ended."""

    store: Store
    note: Callable[[str], None]
    watch: Watch = field(default_factory=Watch)
    sleep: Callable[[float], None] = time.sleep
    finished: set[str] = field(default_factory=set)
    _held: dict[str, tuple[Job, Holder | None]] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, trial_id: str) -> bool:
        return trial_id in self._held

    def add(self, job: Job, holder: Holder | None) -> None:
        """holder: None for a trial that was met finished, or was given up a moment ago."""
        self._held[job.trial_id] = (job, holder)
        if holder is not None and str(holder) not in self._told:
            self._told.add(str(holder))
            self.note(f"another run trains on this tree ({holder}): what it has begun is left to it")

    def wait(self) -> tuple[list[TrialRecord], list[Job]]:
        """Until something is free or nothing is held: records of what others finished, and what they left.

        A lock of another machine that stands still for `STALE_AFTER_S` is given up for it.
        """
        holders = sorted({str(holder) for _, holder in self._held.values() if holder is not None})
        waiting = False
        while self._held:
            free = [job for job, _ in self._held.values() if self.store.free(job.trial_id, self.watch)]
            if free:
                return self._sorted(free)
            if not waiting:
                count = len(self._held)
                are = "trial is" if count == 1 else "trials are"
                self.note(f"{count} {are} being trained by another run ({', '.join(holders)}): waiting")
                waiting = True
            self.sleep(POLL_S)
        return [], []

    def _sorted(self, free: list[Job]) -> tuple[list[TrialRecord], list[Job]]:
        finished, left = [], []
        for job in free:
            del self._held[job.trial_id]
            record = self.store.read_trial(job.trial_id)
            if record is not None and has_come_since(job, record):
                finished.append(record)
                self.finished.add(record.id)
            else:
                left.append(job)
        return finished, left


def take_after_worker(job: Job) -> Lock | Holder:
    """The lock of a trial whose worker was just killed: it may take a moment to be gone."""
    store, until = Store(job.root), time.monotonic() + _LAST_BREATH_S
    while True:
        lock = store.take_trial(job.trial_id)
        ours = isinstance(lock, Holder) and lock.machine_is_ours and lock.run_pid == os.getpid()
        if isinstance(lock, Lock) or not ours or time.monotonic() > until:
            return lock
        time.sleep(0.05)
