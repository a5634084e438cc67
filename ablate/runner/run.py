"""Run what is left of a study: train through an executor, measure costs after it, write the report."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ablate.clean import remove_left_over
from ablate.display import Display, NullDisplay, Opening, WatchedTrial
from ablate.errors import StoreError
from ablate.execute import Executor, InlineExecutor, Outcome
from ablate.record import TrialRecord
from ablate.runner.costs import measure_costs
from ablate.runner.describe import plan_text, sharing, stale
from ablate.runner.executors import ExecutorOptions, Need, make_executor
from ablate.runner.gpus import largest_peak_bytes
from ablate.runner.inspection import load_torch
from ablate.runner.interrupts import INTERRUPTED, interruptible
from ablate.runner.job import (
    Elsewhere,
    Job,
    has_come_since,
    run_job,
    tidy_up,
    write_failure,
)
from ablate.runner.losses import RETRIES, when_lost
from ablate.runner.others import Others, take_after_worker
from ablate.runner.patience import Teller
from ablate.runner.plan import Plan, next_stage, plan_study
from ablate.runner.trials import Trial
from ablate.spec import Study, to_yaml
from ablate.store import Holder, Store, write_text
from ablate.track import AT_AN_INTERRUPT_S, Tracking, Wanted

STOPPED = 1
# How a trial of this run ended, by its id; the records stay on the disk, however many there are.
Ending = Literal["done", "failed"]


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    total, done, failed, missing: of the trials that were asked for. trained: by this run. skipped: failed in
    an earlier run and not tried again. report: None when none was written.
    """

    exit_code: int
    total: int
    done: int
    trained: int
    failed: int
    skipped: int
    report: Path | None
    message: str

    @property
    def missing(self) -> int:
        return self.total - self.done - self.failed


def run_study(
    study: Study,
    *,
    output: str | Path = "results",
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    jobs: int | None = None,
    device: str = "auto",
    executor: str | Executor = "local",
    executor_options: ExecutorOptions | None = None,
    retry_failed: bool = False,
    force: Sequence[str] = (),
    fail_fast: bool = False,
    timeout: float | None = None,
    until_decided: bool = False,
    gpus_per_trial: int = 1,
    dry_run: bool = False,
    track: Wanted | None = None,
    display: Display | None = None,
) -> RunSummary:
    """Train what is missing, measure what each variant costs, write the report; print through `display` only.

    jobs: workers; by default a core each, or one a GPU. executor: a name in `executors.EXECUTORS`, or an
    `Executor`; executor_options: what some of them are told besides. timeout: seconds for one trial.
    until_decided: train in stages, and go on only with what the looks at the results leave open.
    gpus_per_trial: as many processes train each trial together, each with a share of every batch. track:
    where the trials are written to besides. An interrupt ends the run with exit code 130 and keeps all that
    is finished.
    Raises what `plan_study` raises, before anything is written, and StoreError when the tree cannot be
    written to begin with; a tree that takes no more later on ends the run with exit code 1 and keeps all that
    is finished.
    """
    display, track = display or NullDisplay(), track or Wanted()
    track.check()
    try:
        plan = plan_study(
            study,
            output=output,
            seeds=seeds,
            only=only,
            exclude=exclude,
            device=device,
            retry_failed=retry_failed,
            force=force,
            until_decided=until_decided,
            gpus_per_trial=gpus_per_trial,
            elsewhere=executor not in ("local", "inline"),
            tell=Teller(display.note, display.step),
        )
    finally:
        display.step("")
    if dry_run:
        display.end(plan_text(plan), "")
        return _summary(plan, {}, None, 0)
    _require_libraries(plan, Teller(display.note, display.step))
    options = replace(executor_options or ExecutorOptions(), per_trial=gpus_per_trial)
    pool = make_executor(executor, _need(plan, device, jobs, timeout), options)
    plan.store.prepare()
    workers = pool.workers if plan.wanted else None  # of the run that trained last
    plan.store.write_plan(plan.record.model_copy(update={"workers": workers}))
    write_text(plan.store.study(study.name).study, study_as_run(study))
    plan.store.write_last(study.name)
    ended: dict[str, Ending] = {}
    others = Others(plan.store, display.note)
    tracking = Tracking(plan.store, study.name, track.trackers(plan.store, study.name), display.note)
    with interruptible():
        try:
            tracking.start()
            with contextlib.closing(pool):
                while _train(plan, pool, ended, others, display, fail_fast=fail_fast, timeout=timeout):
                    plan, goes_on = next_stage(plan, display.note)
                    if not goes_on:
                        break
            tracking.pause()
            measure_costs(plan, display)
            tracking.finish()
            report = _write_report(plan, display)
            remove_left_over(plan.store, study.name)
            summary = _summary(plan, ended, report, None, others.finished)
        except KeyboardInterrupt:
            summary = _summary(plan, ended, None, INTERRUPTED, others.finished)
        except StoreError as error:
            summary = _summary(plan, ended, None, STOPPED, others.finished, stopped_by=error)
        tracking.finish(AT_AN_INTERRUPT_S)
        display.end(summary.message, str(summary.report or ""))
    return summary


def _require_libraries(plan: Plan, tell: Teller) -> None:
    """A plan of known networks loads no torch, and one that is broken is to be told before workers start."""
    for settings in {trial.variant.id: trial.variant.settings for trial in plan.wanted}.values():
        load_torch(settings, tell)
    tell.step("", "")


def study_as_run(study: Study) -> str:
    """The study with what the command line changed, as a study file that runs again."""
    changed = [
        ".".join(map(str, place))
        for place, where in study.document.places.items()
        if where == "command line" and place
    ]
    said = f"; from the command line: {', '.join(changed)}" if changed else ""
    return f"# {study.document.path} as it was run{said}\n{to_yaml(study.document.data)}"


def _need(plan: Plan, device: str, jobs: int | None, timeout: float | None) -> Need:
    # Under a rule the first stage may have less to train than those after it.
    most = None if plan.record.until_decided else len(plan.wanted)
    return Need(
        root=plan.store.root,
        name=plan.study.name,
        device=plan.device,
        asked=device,
        jobs=jobs,
        most=most,
        timeout_s=timeout,
        peak_bytes=lambda: largest_peak_bytes(plan),
        travels=True,
    )


# Training


def _train(
    plan: Plan,
    pool: Executor,
    ended: dict[str, Ending],
    others: Others,
    display: Display,
    *,
    fail_fast: bool,
    timeout: float | None,
) -> bool:
    """Fill `ended` as trials end; whether all did. What did not end leaves no trace that counts."""
    watched = tuple(_watched(trial) for wave in plan.waves for trial in wave)
    done = sum(trial.state == "done" and not trial.wanted for trial in plan.selected)
    workers = pool.workers if watched else 1  # no cluster is asked for nothing; it may end with fewer
    display.start(Opening(plan.study.name, len(plan.selected), done, watched, workers, plan.store))
    told_before = bool(ended)  # by an earlier stage
    for note in () if told_before else (*sharing(plan), *plan.warnings, *stale(plan), *_skipped(plan)):
        display.note(f"note: {note}")
    own_process = not isinstance(pool, InlineExecutor)
    work: list[Job] = []
    whole = False
    try:
        for wave in plan.waves:
            work = [_for_worker(trial.job) if own_process else trial.job for trial in wave]
            named = {trial.job.trial_id: _watched(trial) for trial in wave}
            while work or others:
                outcomes = pool.run(
                    run_job,
                    work,
                    timeout_s=timeout,
                    retries=RETRIES,
                    on_loss=when_lost(named, display.note),
                    on_note=display.note,
                )
                for outcome in outcomes:
                    record = _file(outcome)
                    if isinstance(record, Elsewhere):
                        others.add(outcome.item, record.holder)
                    elif record is not None:
                        ended[record.id] = record.status
                        display.finished(named[record.id], record)
                        if fail_fast and record.status == "failed":
                            return False
                finished, work = others.wait()
                for record in finished:
                    ended[record.id] = record.status
                    display.finished(named[record.id], record)
        whole = True
    finally:
        if not whole:
            pool.cancel()
        # Trials start in order, so only these can have begun; others may belong to a run beside this one.
        begun = [job for job in work if job.trial_id not in ended and job.trial_id not in others]
        for job in begun[:workers]:
            with contextlib.suppress(StoreError):  # a full disk is being told of already
                _tidy_up(job)
    return whole


def _tidy_up(job: Job) -> None:
    lock = take_after_worker(job)
    if not isinstance(lock, Holder):
        with lock:
            tidy_up(job)


_STORE_ERROR = f"{StoreError.__module__}.{StoreError.__qualname__}"


def _for_worker(job: Job) -> Job:
    """A worker prints into the trial's log, and sees one GPU alone, whichever that is."""
    return replace(job, capture=True, device="cuda:0" if job.device.startswith("cuda") else job.device)


def _skipped(plan: Plan) -> list[str]:
    count = sum(trial.state == "failed" and not trial.wanted for trial in plan.selected)
    return (
        [f"trials that failed in an earlier run: {count}; --retry-failed tries them again"] if count else []
    )


def _watched(trial: Trial) -> WatchedTrial:
    name = trial.variant.name
    shown = f"pretraining {name}" if trial.variant.origin == "pretraining" else name
    return WatchedTrial(shown, trial.job.seed, trial.job.trial_id)


def _file(outcome: Outcome[Job, TrialRecord | Elsewhere]) -> TrialRecord | Elsewhere | None:
    """The record of an outcome; None for a trial that was stopped, which stays pending.

    Raises StoreError where the tree, and not the trial, is at fault.
    """
    if outcome.value is not None:
        return outcome.value
    if outcome.failure is None or outcome.failure.kind == "cancelled":
        return None
    if outcome.failure.error == _STORE_ERROR:
        raise StoreError(outcome.failure.message)
    lock = take_after_worker(outcome.item)
    if isinstance(lock, Holder):
        return Elsewhere(lock)
    with lock:
        known = Store(outcome.item.root).read_trial(outcome.item.trial_id)
        if has_come_since(outcome.item, known):  # of a run that was quicker to take over
            return Elsewhere(None)
        record = write_failure(outcome.item, outcome.failure, outcome.wall_s)
        tidy_up(outcome.item)
    return record


# After training


def _write_report(plan: Plan, display: Display) -> Path:
    from ablate.report import write_report

    display.note("writing the report")
    return Path(write_report(plan.store, plan.study.name))


def _summary(
    plan: Plan,
    ended: dict[str, Ending],
    report: Path | None,
    exit_code: int | None,
    by_others: Collection[str] = (),
    *,
    stopped_by: StoreError | None = None,
) -> RunSummary:
    """exit_code: None to judge by what was asked for and what is done."""
    states = {
        trial.job.trial_id: ended.get(trial.job.trial_id, "pending" if trial.wanted else trial.state)
        for trial in plan.selected
    }
    total, done = len(states), sum(state == "done" for state in states.values())
    failed = sum(state == "failed" for state in states.values())
    skipped = sum(trial.state == "failed" and not trial.wanted for trial in plan.selected)
    if exit_code is None:
        exit_code = 0 if done == total else 1
    trained = sum(status == "done" and trial_id not in by_others for trial_id, status in ended.items())
    summary = RunSummary(exit_code, total, done, trained, failed, skipped, report, "")
    return replace(summary, message=_message(summary, plan, ended, stopped_by))


def _names_of_failed(plan: Plan, ended: Mapping[str, str]) -> list[str]:
    """As `ablate logs` takes them."""
    return [
        f"{plan.study.name}/{trial.variant.name}/{trial.job.seed}"
        for trial in plan.selected
        if ended.get(trial.job.trial_id, "" if trial.wanted else trial.state) == "failed"
    ]


def _never_trained(plan: Plan, ended: Mapping[str, str]) -> list[str]:
    """Variants that this run left out and no other has trained: easily missed in a report of effects."""
    asked_for = {trial.variant.name for trial in plan.selected}
    done = {
        trial.variant.name
        for trial in plan.trials
        if ended.get(trial.job.trial_id, trial.state) == "done" or trial.variant.name in asked_for
    }
    return [variant.name for variant in plan.variants if variant.name not in done]


def _message(summary: RunSummary, plan: Plan, ended: dict[str, Ending], stopped_by: StoreError | None) -> str:
    lines: list[str] = []
    rest = "run the same command again for the rest"
    if summary.done == summary.total:
        rest = "only what comes after training is missing: run the same command again, it trains nothing"
    kept_so_far = f"{summary.done} of {summary.total} trials are done and kept; {rest}"
    if stopped_by is not None:
        return f"stopped: {stopped_by}\n{kept_so_far}"
    if summary.exit_code == INTERRUPTED:
        return f"interrupted: {kept_so_far}"
    if not plan.trials:
        lines.append("nothing to train: a study of costs alone")
    elif not plan.wanted and not ended:
        lines.append(f"nothing was left to train: {summary.done} of {summary.total} trials are done")
    else:
        lines.append(f"{summary.trained} trained; {summary.done} of {summary.total} trials are done")
    if summary.failed:
        earlier = f" ({summary.skipped} of them in an earlier run)" if summary.skipped else ""
        names = _names_of_failed(plan, ended)
        lines.append(
            f"{summary.failed} failed{earlier}: {', '.join(names[:3])}{', …' * (len(names) > 3)}; "
            f'`ablate logs "{names[0]}"` says why; --retry-failed tries again'
        )
    kept = sum(
        trial.job.again and trial.state == "done" and ended.get(trial.job.trial_id) == "failed"
        for trial in plan.wanted
    )
    if kept:
        lines.append(
            f"{kept} of the failed were done before: their earlier results stay; --force tries again"
        )
    if summary.missing:
        lines.append(f"{summary.missing} were not started; run the same command again for them")
    if plan.trials and (left_out := _never_trained(plan, ended)):
        lines.append(f"without any finished trial, and not asked for in this run: {', '.join(left_out)}")
    if summary.report is not None:
        lines.append(f"report: {summary.report}")
    return "\n".join(lines)
