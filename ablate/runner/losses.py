"""When a worker dies with a trial in hand: what it left, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from ablate.execute import Loss
from ablate.record import TrialRecord
from ablate.runner.again import recover
from ablate.runner.job import Job, after_record, has_come_since, tidy_up
from ablate.runner.others import take_after_worker
from ablate.store import Holder, Store
from ablate.store.reading import read_record

# A crash may be bad luck once; what comes again has a cause.
RETRIES = 1


class SeveralJobs(Protocol):
    """An item of trials one after the other, as a search has them."""

    @property
    def before(self) -> tuple[Job, ...]: ...

    @property
    def jobs(self) -> tuple[Job, ...]: ...


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

    What the worker did not come to after that is done here.
    """
    if job.again:
        recover(job.paths, job.working)  # a result takes its place; what still lies there is a failure
        failed = read_record(job.working.record, TrialRecord)
        if failed is not None:
            after_record(job, failed)
            return failed
    record = Store(job.root).read_trial(job.trial_id)
    if record is None or not has_come_since(job, record):
        return None
    after_record(replace(job, again=False), record)
    return record


def let_go(item: Job | SeveralJobs) -> str:
    """On the machine of a worker that was stopped, for others cannot tell that it is dead: give up its lock.

    Says how far its trial came, in words that change when it comes further.
    """
    reached = []
    for job in (item,) if isinstance(item, Job) else (*item.before, *item.jobs):
        lock = take_after_worker(job)
        if isinstance(lock, Holder):
            continue
        with lock:
            ended = Store(job.root).read_trial(job.trial_id)
            if not has_come_since(job, ended):
                tidy_up(job)
                kept = (*job.paths.checkpoints, *job.working.checkpoints)
                reached += [job.trial_id, *(path.name for path in kept)]
    return " ".join(reached)
