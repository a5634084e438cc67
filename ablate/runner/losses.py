"""When a worker dies with a trial in hand: what it left, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ablate.execute import Loss
from ablate.record import TrialRecord
from ablate.runner.again import take_over
from ablate.runner.job import Job, tidy_up
from ablate.runner.others import take_after_worker
from ablate.store import Holder, Store

# A crash may be bad luck once; what comes again has a cause.
RETRIES = 1


def when_lost(
    named: Mapping[str, object], note: Callable[[str], None]
) -> Callable[[Loss[Job]], TrialRecord | None]:
    """What `Executor.run` is to call. named: by trial id, as a person names it."""

    def on_loss(loss: Loss[Job]) -> TrialRecord | None:
        lock = take_after_worker(loss.item)
        if isinstance(lock, Holder):  # another run was quicker
            return None
        with lock:
            record = record_left(loss.item)
            if record is None and loss.again:
                tidy_up(loss.item)
                note(f"{named[loss.item.trial_id]}: {loss.failure.message}; it is begun again")
        return record

    return on_loss


def record_left(job: Job) -> TrialRecord | None:
    """The record of a trial whose worker died after it had written it: then nothing was lost.

    A trial that is trained again writes beside its old folder; there, too, the record comes last.
    """
    store = Store(job.root)
    if not job.again:
        return store.read_trial(job.trial_id)
    if not job.working.record.exists():
        return None
    record = TrialRecord.model_validate_json(job.working.record.read_bytes())
    if record.status == "done":
        take_over(job.paths, job.working)
    return record
