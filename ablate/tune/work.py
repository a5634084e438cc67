"""One setting with all tuning seeds as work for any executor, and the work of a search as it comes up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.record import TrialRecord
from ablate.runner.job import Elsewhere, Job, Stopped, has_come_since, run_job, run_watched
from ablate.runner.others import POLL_S
from ablate.store import Store, Watch
from ablate.tune.pruning import Stopping, report_curve, watcher
from ablate.tune.storage import STORAGE_ERRORS


@dataclass(frozen=True)
class Setting:
    """A trial of Optuna's. number: its own there. changes: dotted settings.

    jobs: one a seed, in their order. before: pretrainings that these start from, the first one first.
    """

    number: int
    changes: dict[str, Any]
    jobs: tuple[Job, ...]
    before: tuple[Job, ...] = ()
    stopping: Stopping | None = None


@dataclass(frozen=True)
class Ran:
    """records: of the seeds that ended, in their order. stopped: (seed, epoch) where it was cut short.

    epochs: trained by this worker, on whatever seed. trained: seeds that this worker trained.
    """

    records: tuple[TrialRecord, ...]
    stopped: tuple[int, int] | None
    trained: tuple[int, ...]


def run_setting(setting: Setting) -> Ran:
    """Train what the results tree does not hold, seed after seed; the first that fails or is stopped ends it.

    A trial that another process trains is waited for. Raises StoreError.
    """
    for job in setting.before:
        _run(job, run_job)
    optuna_trial = setting.stopping.opened() if setting.stopping is not None else None
    records: list[TrialRecord] = []
    trained: list[int] = []
    for position, job in enumerate(setting.jobs):
        start = position * setting.stopping.epochs if setting.stopping is not None else 0
        if ended_before(job) is None:
            trained.append(job.seed)
        if optuna_trial is None:
            ended = _run(job, run_job)
        else:
            on_epoch = watcher(optuna_trial, start)
            ended = _run(job, lambda job, on_epoch=on_epoch: run_watched(job, on_epoch))
        if isinstance(ended, Stopped):
            return Ran(tuple(records), (job.seed, ended.epoch), tuple(trained))
        records.append(ended)
        if ended.status != "done":
            break
        if optuna_trial is not None:
            with contextlib.suppress(*STORAGE_ERRORS):  # it is told once more when the setting has ended
                report_curve(optuna_trial, start, curve(Store(job.root), job.trial_id))
    return Ran(tuple(records), None, tuple(trained))


def _run(job: Job, run: Callable[[Job], TrialRecord | Elsewhere | Stopped]) -> TrialRecord | Stopped:
    """What the tree knows already, or what comes of training; others that train it are waited for."""
    store, watch = Store(job.root), Watch()
    while True:
        record = ended_before(job)
        if record is not None:
            return record
        ended = run(job)
        if not isinstance(ended, Elsewhere):
            return ended
        while not store.free(job.trial_id, watch):
            time.sleep(POLL_S)


def ended_before(job: Job) -> TrialRecord | None:
    """The record that there is no need to train for."""
    record = Store(job.root).read_trial(job.trial_id)
    return record if has_come_since(job, record) else None


def curve(store: Store, trial_id: str) -> list[float]:
    """Validation accuracy after each epoch, in percent; empty where no curve was kept."""
    found = [row.get("validation_accuracy") for row in store.read_epochs(trial_id)]
    return [value for value in found if value is not None]


@dataclass
class Work(Sequence[Setting]):
    """Settings as workers become free for them.

    An executor asks how many items there are whenever it has room for one: then, and not before, the search
    is asked for the next, so that its choice rests on all that has ended until then.
    """

    claim: Callable[[], Setting | None]
    workers: int
    ended: int = 0
    _given: list[Setting] = field(default_factory=list)

    def __len__(self) -> int:
        while len(self._given) - self.ended < self.workers:
            setting = self.claim()
            if setting is None:
                break
            self._given.append(setting)
        return len(self._given)

    def __getitem__(self, index: Any) -> Any:
        return self._given[index]

    def __iter__(self) -> Iterator[Setting]:
        index = 0
        while index < len(self):
            yield self._given[index]
            index += 1
