"""Which trials of a study are done, running, failed, pending: from plan.json, records, locks and progress."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ablate.errors import StoreError
from ablate.failures import headline, way_out
from ablate.record import Failure, StudyPlan, TrialRecord
from ablate.status.find import known_studies
from ablate.store import STALE_AFTER_S, Damaged, Holder, Progress, Store, Watch

# A trial reports at least twice a minute unless its epochs' evaluation takes longer; a dead one never again.
FRESH_S = 60.0
State = Literal["done", "running", "failed", "pending", "damaged"]


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """One planned trial. accuracy: percent, of the test set once done, of training while running.

    holder: the process that trains it. seconds: that its training took, or will take as far as it shows; None
    while nothing tells. way_out: of a failed one. damage: why its record cannot be read.
    """

    variant: str
    seed: int
    trial_id: str
    state: State
    accuracy: float | None = None
    progress: Progress | None = None
    holder: Holder | None = None
    failure: Failure | None = None
    seconds: float | None = None
    way_out: str = ""
    damage: Damaged | None = None

    @property
    def message(self) -> str:
        """Kind, class and first line of the failure, and where in the user's code it was."""
        if self.failure is None:
            return ""
        where = self.failure.where
        return headline(self.failure) + ("" if where in self.failure.message else f", at {where}")


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """All planned trials of a study, pretrainings first, then breadth first as they are run."""

    study: str
    trials: tuple[TrialStatus, ...]

    def of(self, state: State) -> tuple[TrialStatus, ...]:
        return tuple(trial for trial in self.trials if trial.state == state)

    @property
    def over(self) -> bool:
        """Nothing runs and nothing is left to run."""
        return not self.of("running") and not self.of("pending")

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last trial ends if as many go on at once as do now; None while nothing tells."""
        running = self.of("running")
        known = [trial.seconds for trial in self.trials if trial.seconds is not None]
        if not running or not known:
            return None
        left = [
            self._expected(trial, known) * (1 - (trial.progress.fraction if trial.progress else 0.0))
            for trial in running
        ]
        waiting = sum(self._expected(trial, known) for trial in self.of("pending"))
        return max(*left, (sum(left) + waiting) / len(running))

    def _expected(self, trial: TrialStatus, known: list[float]) -> float:
        """What it says itself, else the others of its variant, else all of the study."""
        if trial.seconds is not None:
            return trial.seconds
        alike = [
            other.seconds
            for other in self.trials
            if other.variant == trial.variant and other.seconds is not None
        ]
        return statistics.fmean(alike or known)


def read_study(
    store: Store, name: str, *, now: Callable[[], float] = time.time, watch: Watch | None = None
) -> StudyStatus:
    """The states of all planned trials. Raises StoreError for a study without a plan.

    watch: remembers locks of other machines from one call to the next; without it one look has to do, and
    goes by the clocks.
    """
    plan = store.read_plan(name)
    if plan is None:
        where = store.study(name).plan
        raise StoreError(f"{where} does not exist: run the study first\n    {known_studies(store)}")
    return StudyStatus(name, tuple(_statuses(store, plan, now(), watch)))


def read_status(store: Store, name: str, *, now: Callable[[], float] = time.time) -> tuple[TrialStatus, ...]:
    """Like `read_study`; the trials only."""
    return read_study(store, name, now=now).trials


def _statuses(store: Store, plan: StudyPlan, now: float, watch: Watch | None) -> list[TrialStatus]:
    found: list[TrialStatus] = []
    for variants in (plan.pretraining, plan.variants):
        for seed in plan.seeds:
            for variant in variants:
                if seed in variant.trials:
                    name = f"pretraining {variant.name}" if variants is plan.pretraining else variant.name
                    found.append(_status(store, name, seed, variant.trials[seed], now, watch))
    return found


def _status(
    store: Store, variant: str, seed: int, trial_id: str, now: float, watch: Watch | None
) -> TrialStatus:
    try:
        record = store.read_trial(trial_id)
    except Damaged as damage:
        return TrialStatus(variant, seed, trial_id, "damaged", damage=damage)
    # One with a record runs only where it is trained again; else the record came while we looked.
    if record is None or store.trial_again(trial_id).folder.is_dir():
        holder, progress = _holder(store, trial_id, now, watch), store.read_progress(trial_id)
        if progress is not None and not _is_of(progress, holder) and not is_running(progress, now):
            progress = None
        if holder is not None or progress is not None:
            return TrialStatus(
                variant,
                seed,
                trial_id,
                "running",
                progress.accuracy if progress else None,
                progress,
                holder,
                seconds=_projected(store, trial_id, progress),
            )
    return _ended(variant, seed, trial_id, record)


def _ended(variant: str, seed: int, trial_id: str, record: TrialRecord | None) -> TrialStatus:
    if record is None:
        return TrialStatus(variant, seed, trial_id, "pending")
    if record.status == "failed":
        return TrialStatus(variant, seed, trial_id, "failed", failure=record.failure, way_out=way_out(record))
    accuracy = record.metrics.accuracy if record.metrics is not None else None
    return TrialStatus(variant, seed, trial_id, "done", accuracy, seconds=record.wall_s)


def _projected(store: Store, trial_id: str, progress: Progress | None) -> float | None:
    """All its epochs at the pace of those behind it."""
    if progress is None:
        return None
    try:
        seconds = [row.get("seconds") for row in store.read_epochs(trial_id)]
    except StoreError:  # read while a line was being written
        return None
    known = [value for value in seconds if value is not None]
    return statistics.fmean(known) * progress.epochs if known else None


def _holder(store: Store, trial_id: str, now: float, watch: Watch | None) -> Holder | None:
    """Who trains it. A lock of another machine that stands still is nobody's any more."""
    seen = store.look_at_lock(trial_id)
    if seen is None or seen.holder.dead:
        return None
    if seen.holder.machine_is_ours:
        return seen.holder
    still = watch is not None and watch.stands_still(store.trial_lock(trial_id), seen)
    old = watch is None and abs(now - seen.touched_ns / 1e9) > STALE_AFTER_S
    return None if still or old else seen.holder


def _is_of(progress: Progress, holder: Holder | None) -> bool:
    """However old: an epoch's evaluation may take long."""
    return holder is not None and (progress.host, progress.pid) == (holder.host, holder.pid)


def is_running(progress: Progress, now: float) -> bool:
    """Fresh, and on this machine its process is there; what a killed run leaves is neither for long."""
    if now - progress.updated > FRESH_S:
        return False
    if progress.host != platform.node():
        return True
    import psutil

    try:
        process = psutil.Process(progress.pid)
        # A number can be given to another process once its own has gone.
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= progress.updated + 1
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
