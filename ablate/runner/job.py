"""One trial as work for any executor: a small picklable job, and the function that turns it into a record."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ablate.errors import StoreError
from ablate.execute import ExecutionFailure, describe_error
from ablate.record import Environment, TrialRecord
from ablate.spec import Settings
from ablate.store import Store, TrialPaths

OUTPUT_LIMIT_BYTES = 64 * 1024  # of what a trial printed, its end


@dataclass(frozen=True)
class Job:
    """All that a worker needs to train one trial and file its record.

    device: as the worker sees it. capture: what the process prints goes into the trial's log; for processes
    of their own only, since it moves the standard output of the whole process.
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

    @property
    def paths(self) -> TrialPaths:
        return Store(self.root).trial(self.trial_id)


def run_job(job: Job) -> TrialRecord:
    """Train, and write the record last. A failure of the trial is a record too; StoreError is the tree's."""
    from ablate.environment import require_torch

    began = datetime.now(UTC)
    _retract(job.paths)
    record, failure = None, None
    with _captured(job.paths) if job.capture else contextlib.nullcontext():
        try:
            require_torch().set_num_threads(job.environment.threads)
            record = _train(replace(job, environment=_as_seen_here(job)))
        except StoreError:
            raise
        except (Exception, SystemExit) as error:
            failure = describe_error(error)
    if failure is not None or record is None:
        seconds = (datetime.now(UTC) - began).total_seconds()
        return write_failure(job, failure or ExecutionFailure("exception", "gave no record"), seconds)
    Store(job.root).write_trial(record)
    return record


def _train(job: Job) -> TrialRecord:
    from ablate.trial import run_trial

    return run_trial(
        job.settings,
        job.seed,
        folder=job.paths.folder,
        trial_id=job.trial_id,
        variant_id=job.variant_id,
        identity=job.identity,
        device=job.device,
        environment=job.environment,
    )


def write_failure(job: Job, failure: ExecutionFailure, wall_s: float) -> TrialRecord:
    """File the record of a trial that failed, wherever its failure came to light."""
    from ablate.trial import failed_record

    collect_output(job.paths)
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
        log=job.paths.log,
    )
    Store(job.root).write_trial(record)
    return record


def tidy_up(job: Job) -> None:
    """After a trial that did not end: it runs no more, and what it printed is in its log."""
    collect_output(job.paths)
    with contextlib.suppress(OSError):
        job.paths.progress.unlink(missing_ok=True)


def _retract(paths: TrialPaths) -> None:
    """A trial that is trained again does not count until it has ended: its files are about to change."""
    try:
        paths.record.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{paths.record} cannot be replaced: {error.strerror}") from error


def _as_seen_here(job: Job) -> Environment:
    """Several GPUs need not be of one kind; only the worker sees which one it was given."""
    if not job.device.startswith("cuda"):
        return job.environment
    import torch

    return job.environment.model_copy(update={"device_name": torch.cuda.get_device_name(job.device)})


# What a trial prints


@contextlib.contextmanager
def _captured(paths: TrialPaths) -> Iterator[None]:
    """Standard output and error into a file, below Python too: a crash leaves its last words."""
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        target = os.open(paths.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    except OSError as error:
        raise StoreError(f"cannot write {paths.output}: {error.strerror}") from error
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
        raise StoreError(f"cannot write {paths.log}: {error.strerror}") from error
