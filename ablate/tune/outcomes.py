"""What becomes of a setting once a worker has had it: told to Optuna, or found in the tree after a crash."""

from __future__ import annotations

from collections.abc import Callable

from optuna.trial import FrozenTrial

from ablate.errors import StoreError
from ablate.execute import Loss, Outcome
from ablate.record import TrialRecord
from ablate.report.tuning import in_words
from ablate.runner.job import Job, tidy_up, write_failure
from ablate.runner.losses import record_left
from ablate.runner.others import take_after_worker
from ablate.store import Holder
from ablate.tune.search import Search
from ablate.tune.work import Ran, Setting, ended_before

_STORE_ERROR = f"{StoreError.__module__}.{StoreError.__qualname__}"


def when_lost(note: Callable[[str], None]) -> Callable[[Loss[Setting]], Ran | None]:
    """A worker died: its trial's last words are kept, and what it had finished is found in the tree."""

    def on_loss(loss: Loss[Setting]) -> Ran | None:
        job = _in_hand(loss.item)
        lock = None if job is None else take_after_worker(job)
        if job is not None and lock is not None and not isinstance(lock, Holder):
            with lock:
                if record_left(job) is None and loss.again:
                    tidy_up(job)
                    note(f"{in_words(loss.item.changes)}: {loss.failure.message}; it is begun again")
        return None

    return on_loss


def _in_hand(setting: Setting) -> Job | None:
    """The first of its trials that has not ended."""
    for job in (*setting.before, *setting.jobs):
        if ended_before(job) is None:
            return job
    return None


def file_outcome(search: Search, outcome: Outcome[Setting, Ran]) -> FrozenTrial:
    """Raises StoreError where the tree, and not the setting, is at fault."""
    setting, failure = outcome.item, outcome.failure
    if outcome.value is not None:
        return search.tell(setting, outcome.value)
    if failure is None or failure.kind == "cancelled":
        raise KeyboardInterrupt
    if failure.error == _STORE_ERROR:
        raise StoreError(failure.message)
    record: TrialRecord | None = None
    job = _in_hand(setting)
    if job is not None and failure.kind in ("crashed", "out-of-memory", "timeout"):
        lock = take_after_worker(job)
        if not isinstance(lock, Holder):
            with lock:
                record = write_failure(job, failure, outcome.wall_s)
                tidy_up(job)
    return search.failed(setting, record, f"{failure.kind}: {failure.message.splitlines()[0]}")
