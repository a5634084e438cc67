"""One trial as work for any executor: a small picklable job, and the function that turns it into a record."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ablate.errors import AblateError, StoreError
from ablate.execute import ExecutionFailure, describe_error, replace_worker, where_in_dump
from ablate.record import Environment, TrialRecord
from ablate.runner.again import recover, start_afresh, take_over
from ablate.spec import Settings
from ablate.spec.names import pretraining_of
from ablate.store import Holder, Lock, LockLost, Store, TrialPaths, takes_no_more
from ablate.store.files import sentence
from ablate.variants import weights_sha256

OUTPUT_LIMIT_BYTES = 64 * 1024  # of what a trial printed, its end


@dataclass(frozen=True)
class Job:
    """All that a worker needs to train one trial and file its record.

    device: as the worker sees it. capture: what the process prints goes into the trial's log; for processes
    of their own only, since it moves the standard output of the whole process.
    weights: the file that the backbone starts from. after: the id of the trial that leaves it; None for a
    file that was there when the study was planned. other_classes: that trial is trained on other ones.
    again: there is a record already, which stays, with all its files, until this training has ended well.
    replaces: `mark_of` the record that was there when the study was planned.
    """

    settings: Settings
    seed: int
    trial_id: str
    variant_id: str
    identity: dict[str, Any]
    root: Path
    device: str
    environment: Environment
    capture: bool = False
    weights: Path | None = None
    after: str | None = None
    other_classes: bool = False
    again: bool = False
    replaces: str | None = None

    @property
    def paths(self) -> TrialPaths:
        """Where the trial stands."""
        return Store(self.root).trial(self.trial_id)

    @property
    def working(self) -> TrialPaths:
        """Where it is trained."""
        store = Store(self.root)
        return store.trial_again(self.trial_id) if self.again else store.trial(self.trial_id)


@dataclass(frozen=True)
class Elsewhere:
    """In place of a record: another run has the trial. holder: None when that run has ended it."""

    holder: Holder | None


def mark_of(record: TrialRecord | None) -> str | None:
    """Tells the record of one training from that of another of the same trial."""
    return None if record is None else f"{record.started} {record.wall_s}"


def has_come_since(job: Job, record: TrialRecord | None) -> bool:
    """Whether this record was not there when the study was planned."""
    return record is not None and mark_of(record) != job.replaces


@dataclass(frozen=True)
class Stopped:
    """In place of a record: `on_epoch` ended the trial after this epoch; a later run goes on from it."""

    epoch: int


# Told of the epochs so far after each but the last; True: stop.
OnEpoch = Callable[[Sequence[Any]], bool]


def run_job(job: Job) -> TrialRecord | Elsewhere:
    """Train, and write the record last. A failure of the trial is a record too; StoreError is the tree's.

    What another run trains now, or has trained since the study was planned, is left to it.
    """
    ended = run_watched(job, None)
    if isinstance(ended, Stopped):
        raise RuntimeError("a trial that nobody watches was stopped")
    return ended


def run_watched(job: Job, on_epoch: OnEpoch | None) -> TrialRecord | Elsewhere | Stopped:
    """`run_job`, and `on_epoch` may stop the trial at the end of an epoch."""
    store = Store(job.root)
    lock = store.take_trial(job.trial_id)
    if isinstance(lock, Holder):
        return Elsewhere(lock)
    with lock:
        recover(job.paths, store.trial_again(job.trial_id))
        if has_come_since(job, store.read_trial(job.trial_id)):
            return Elsewhere(None)
        try:
            return _run_locked(job, lock, on_epoch)
        except LockLost:
            return Elsewhere(store.holder(job.trial_id))


def _run_locked(job: Job, lock: Lock, on_epoch: OnEpoch | None) -> TrialRecord | Stopped:
    from ablate.environment import require_torch

    began = datetime.now(UTC)
    if job.again:
        start_afresh(job.working)
    record, failure = None, None
    with _captured(job.working) if job.capture else contextlib.nullcontext():
        try:
            require_torch().set_num_threads(job.environment.threads)
            _check_weights(job)
            record = _train(replace(job, environment=_as_seen_here(job)), lock, on_epoch)
        except StoreError:
            raise
        except (Exception, SystemExit) as error:
            if on_epoch is not None and (stopped := _stopped(error)) is not None:
                return stopped
            _raise_if_full(job, getattr(error, "os_error", None) or error)
            failure = _told_by_rank(error) or describe_error(error)
            if failure.kind == "out-of-memory" or "CUDA error" in failure.message:
                replace_worker()
    lock.check_now()
    if failure is not None or record is None:
        seconds = (datetime.now(UTC) - began).total_seconds()
        return write_failure(job, failure or ExecutionFailure("exception", "gave no record"), seconds)
    return file_record(job, record)


def load_libraries() -> None:
    """In a new worker, before its first trial begins: a time limit is one on the training."""
    from ablate.environment import require_torch

    require_torch()
    import ablate.trial.run  # noqa: F401


def _check_weights(job: Job) -> None:
    """What it starts from is there, and is what the identity says it is; else AblateError."""
    if job.weights is None:
        return
    if job.after is None:
        planned = job.identity["weights_sha256"]
        if weights_sha256(job.weights) != planned:
            raise AblateError(
                f"the weights in {job.weights} have changed since the study was planned (SHA-256 was "
                f"{planned[:12]}…); run the study again"
            )
        return
    before = Store(job.root).read_trial(job.after)
    if before is None or before.status != "done" or not job.weights.is_file():
        name = pretraining_of(job.settings.model.weights)
        state = "failed" if before is not None and before.status == "failed" else "has left no weights"
        raise AblateError(
            f"the pretraining {name!r} with seed {job.seed}, which this trial starts from, {state} (trial "
            f"{job.after}); mend it, then run with --retry-failed"
        )


def _stopped(error: BaseException) -> Stopped | None:
    from ablate.trial import StoppedEarly

    return Stopped(error.epoch) if isinstance(error, StoppedEarly) else None


def _told_by_rank(error: BaseException) -> ExecutionFailure | None:
    """What failed, where one of several processes has told already."""
    from ablate.trial.launch import RankFailed

    return error.failure if isinstance(error, RankFailed) else None


def _train(job: Job, lock: Lock, on_epoch: OnEpoch | None) -> TrialRecord:
    processes = job.environment.processes
    if processes == 1:
        watch = {} if on_epoch is None else {"on_epoch": on_epoch}
        return _train_here(job, on_progress=lambda _: lock.check(), **watch)
    if on_epoch is not None:
        raise ValueError("a trial that several processes train cannot be watched")
    from ablate.trial.launch import in_ranks

    return in_ranks(train_rank, job, processes, job.device, look=lock.check)


def train_rank(job: Job, ranks: Any, device: str) -> TrialRecord:
    """What each of several processes does of a trial. ranks: `ablate.train.distributed.Ranks`."""
    from ablate.environment import require_torch

    require_torch().set_num_threads(job.environment.threads)
    return _train_here(replace(job, device=device), ranks=ranks)


def _train_here(job: Job, **how: Any) -> TrialRecord:
    from ablate.trial import run_trial

    return run_trial(
        job.settings,
        job.seed,
        folder=job.working.folder,
        trial_id=job.trial_id,
        variant_id=job.variant_id,
        identity=job.identity,
        device=job.device,
        environment=job.environment,
        weights=job.weights,
        other_classes=job.other_classes,
        checkpoints=checkpoints_of(job).folder,
        **how,
    )


def checkpoints_of(job: Job) -> TrialPaths:
    """Where the trial leaves how far it came. One that failed goes on from there; one that was done, and is
    to be trained anew, begins at the beginning."""
    before = Store(job.root).read_trial(job.trial_id) if job.again else None
    return job.working if before is not None and before.status == "done" else job.paths


def file_record(job: Job, record: TrialRecord) -> TrialRecord:
    store = Store(job.root)
    written = store.write_trial_again(record) if job.again else store.write_trial(record)
    after_record(job, written)
    return written


def after_record(job: Job, record: TrialRecord) -> None:
    """What follows the record that was written where the job worked: checkpoints that are of no more use go,
    and a trial that was trained again takes its place. A result gives way to a result only, not to a failure.
    """
    if not job.again:
        if _of_no_more_use(record):
            _remove(job.paths.checkpoints)
        return
    before = Store(job.root).read_trial(job.trial_id)
    if record.status == "done":
        _remove(job.working.checkpoints)
        take_over(job.paths, job.working)
    elif before is None or before.status != "done":
        if not _of_no_more_use(record):
            with contextlib.suppress(OSError):  # the next attempt goes on from here
                for path in job.paths.checkpoints:
                    path.rename(job.working.folder / path.name)
        take_over(job.paths, job.working)


def _of_no_more_use(record: TrialRecord) -> bool:
    """Whether nobody is to go on from this trial's checkpoints: it is done, or the last of them may already
    hold the broken numbers that ended it."""
    return record.failure is None or record.failure.kind == "non-finite"


def _remove(paths: Sequence[Path]) -> None:
    """`ablate clean` removes what cannot be removed now."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def write_failure(job: Job, failure: ExecutionFailure, wall_s: float) -> TrialRecord:
    """File the record of a trial that failed, wherever its failure came to light."""
    from ablate.trial import failed_record

    collect_output(job.working)
    if failure.kind == "crashed" and "SIGKILL" not in failure.message and not failure.where:
        failure = replace(failure, where=where_in_dump(_end_of(job.working.log)))
    record = failed_record(
        trial_id=job.trial_id,
        variant_id=job.variant_id,
        seed=job.seed,
        identity=job.identity,
        environment=job.environment,
        started=(datetime.now(UTC) - timedelta(seconds=wall_s)).isoformat(timespec="seconds"),
        wall_s=wall_s,
        kind=failure.kind,
        message=failure.message,
        traceback=failure.traceback,
        error=failure.error,
        where=failure.where,
        attempts=failure.attempts,
        log=job.working.log,
    )
    kind = record.failure.kind if record.failure else failure.kind
    _log_failure(job.working, kind, failure)
    return file_record(job, record)


def _end_of(log: Path) -> str:
    """A crash may have left its stack there as its last words."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - OUTPUT_LIMIT_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _log_failure(paths: TrialPaths, kind: str, failure: ExecutionFailure) -> None:
    """The log says how the trial ended, for those who open it first. kind: as the record has it."""
    try:
        with paths.log.open("a", encoding="utf-8") as log:
            log.write(f"failed ({kind}): {failure.message}\n{failure.traceback}")
    except FileNotFoundError:
        return  # the folder never came to be
    except OSError as error:
        raise StoreError(sentence(error, "write", paths.log)) from error


def tidy_up(job: Job) -> None:
    """After a trial that did not end: it runs no more, and what it printed is in its log."""
    collect_output(job.working)
    with contextlib.suppress(OSError):
        job.working.progress.unlink(missing_ok=True)
    if job.again and not job.working.record.exists():
        shutil.rmtree(job.working.folder, ignore_errors=True)


# What safetensors, written in Rust, says of a full disk.
_FULL = f"(os error {errno.ENOSPC})"


def _raise_if_full(job: Job, error: BaseException) -> None:
    """A tree that takes no more files is no failure of the trial: the next one would meet it, too."""
    if _FULL in str(error):
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if isinstance(error, OSError) and takes_no_more(error) and not _is_elsewhere(error, job.root):
        raise StoreError(sentence(error, "write", job.working.folder)) from error


def _is_elsewhere(error: OSError, root: Path) -> bool:
    """A user's own module may write to another file system, which is that trial's affair."""
    if not isinstance(error.filename, str | bytes):
        return False
    folder = Path(os.fsdecode(error.filename)).absolute().parent
    try:
        return folder.stat().st_dev != root.stat().st_dev
    except OSError:
        return False


def _as_seen_here(job: Job) -> Environment:
    """Several GPUs need not be of one kind, and a cluster has many machines: only the worker sees its own."""
    from ablate.environment import describe, machine_name

    planned = job.environment
    if machine_name(job.device) != planned.machine:
        here = describe(job.device, threads=planned.threads, deterministic=planned.deterministic)
        kept = ("commit", "diff", "processes")
        return here.model_copy(update={name: getattr(planned, name) for name in kept})
    if not job.device.startswith("cuda"):
        return planned
    import torch

    return planned.model_copy(update={"device_name": torch.cuda.get_device_name(job.device)})


# What a trial prints


@contextlib.contextmanager
def _captured(paths: TrialPaths) -> Iterator[None]:
    """Standard output and error into a file, below Python too: a crash leaves its last words."""
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        target = os.open(paths.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    except OSError as error:
        raise StoreError(sentence(error, "write", paths.output)) from error
    _flush()
    saved = os.dup(1), os.dup(2)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        _flush()
        for number, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        collect_output(paths)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, or closed by the user's code
            stream.flush()


def collect_output(paths: TrialPaths) -> None:
    """Move what the trial's process printed to the end of its log."""
    try:
        with paths.output.open("rb") as file:
            file.seek(max(0, paths.output.stat().st_size - OUTPUT_LIMIT_BYTES))
            printed = file.read()
        if printed.strip():
            with paths.log.open("ab") as log:
                log.write(b"printed while it ran:\n" + printed)
        paths.output.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(sentence(error, "write", paths.log)) from error
