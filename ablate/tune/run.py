"""`ablate tune`: the searches of a study one after another, each shared with whoever searches beside us."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ablate.clean import remove_left_over
from ablate.display import Display, NullDisplay
from ablate.errors import MachineError, Problem, StoreError, StudyError
from ablate.execute import Executor, InlineExecutor
from ablate.runner import Plan, Teller, plan_study
from ablate.runner.executors import ExecutorOptions, Need, make_executor
from ablate.runner.interrupts import INTERRUPTED, interruptible
from ablate.runner.losses import RETRIES
from ablate.spec import Study
from ablate.spec.tune import Tune
from ablate.tune.beside import standing
from ablate.tune.objective import MEASURED, Costs, Limits
from ablate.tune.outcomes import file_outcome, when_lost
from ablate.tune.rows import write_rows
from ablate.tune.search import Search
from ablate.tune.space import Space
from ablate.tune.start import check, costs_of, described, name_of, notes_on, starts_of
from ablate.tune.storage import Beat, Owner, Place
from ablate.tune.summary import TuneSummary, line_of, stopped, summarise
from ablate.tune.work import Setting, Work, run_setting

POLL_S = 1.0
_EXAMPLE = "add it: tune: {from: VARIANT, space: {train.optimizer.lr: {low: 1e-4, high: 0.1, log: true}}}"


@dataclass
class _Tuning:
    """What all searches of a study have in common while they run. until: on the steady clock, or None."""

    plan: Plan
    tune: Tune
    costs: Costs
    limits: Limits
    place: Place
    pool: Executor
    display: Display
    until: float | None
    retry_failed: bool

    @property
    def over(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until


def tune_study(
    study: Study,
    *,
    output: str | Path = "results",
    storage: str | None = None,
    jobs: int | None = None,
    device: str = "auto",
    executor: str | Executor = "local",
    executor_options: ExecutorOptions | None = None,
    retry_failed: bool = False,
    dry_run: bool = False,
    display: Display | None = None,
) -> TuneSummary:
    """Search around the variant that `tune.from` names, then, with the same budget, around those in `also`.

    storage: `sqlite:///FILE`, `journal:FILE` or another URL; by default a file under the results tree.
    executor, executor_options: as in `run_study`. retry_failed: begin settings that failed once more. Raises
    StudyError for whatever is wrong with the space before anything is trained, and what `plan_study` raises.
    """
    display = display or NullDisplay()
    if study.tune is None:
        problem = Problem("is missing: nothing says what to search", study.where(), "tune", (), _EXAMPLE)
        raise StudyError([problem])
    tune = study.tune
    measured = any(metric in MEASURED for metric in tune.objectives)
    if measured and jobs not in (None, 1):
        raise MachineError("latency and memory are measured while nothing else runs: leave -j out, or say 1")
    try:
        plan = plan_study(study, output=output, device=device, tell=Teller(display.note, display.step))
    finally:
        display.step("")
    place = Place(storage or f"sqlite:///{plan.store.study(study.name).tune / 'search.db'}")
    starts, costs, limits = starts_of(plan, tune), costs_of(plan), _limits(plan, tune)
    check(plan, tune, starts, costs, limits)
    if dry_run:
        message = described(plan, tune, starts, place, costs, limits)
        display.end(message, "")
        return TuneSummary(0, 0, 0, None, message)
    pool = make_executor(
        executor, _need(plan, tune, starts, device, 1 if measured else jobs), executor_options
    )
    plan.store.prepare()
    if plan.store.read_plan(study.name) is None:
        plan.store.write_plan(plan.record)
    plan.store.write_last(study.name)
    for note in notes_on(plan, tune):
        display.note(f"note: {note}")
    until = None if tune.timeout is None else time.monotonic() + tune.timeout
    summary = _searched(_Tuning(plan, tune, costs, limits, place, pool, display, until, retry_failed), starts)
    where = f"report: {summary.report}" if summary.report is not None else ""
    display.end("\n".join(filter(None, (summary.message, where))), str(summary.report or ""))
    return summary


def _limits(plan: Plan, tune: Tune) -> Limits:
    baseline = plan.inspections[plan.study.baseline]
    known = {"param_count": float(baseline.param_count), "macs": float(baseline.macs)}
    return Limits(tune.constraints, known)


def _need(plan: Plan, tune: Tune, starts: list[tuple[str, Space]], device: str, jobs: int | None) -> Need:
    def peak() -> int | None:
        from ablate.trial import measured_peak_bytes

        images = next(iter(plan.images.values()))
        found = [measured_peak_bytes(space.settings({}), images, plan.device) for _, space in starts]
        return max((each for each in found if each is not None), default=None)

    sizes = [space.points() for _, space in starts]
    return Need(
        root=plan.store.root,
        name=plan.study.name,
        device=plan.device,
        asked=device,
        jobs=jobs,
        most=max(tune.trials if points is None else min(tune.trials, len(points)) for points in sizes),
        timeout_s=None,
        peak_bytes=peak,
    )


def _searched(tuning: _Tuning, starts: list[tuple[str, Space]]) -> TuneSummary:
    """All searches, and the report of what they found, however they ended."""
    plan, place = tuning.plan, tuning.place
    searches: list[Search] = []
    exit_code: int | None = None
    with interruptible():
        try:
            with contextlib.closing(tuning.pool), place.explained():
                opened = place.open()
                for name, space in starts:
                    search = _search(tuning, name, space, opened)
                    searches.append(search)
                    with Beat(search.study, search.owner):
                        _run(tuning, search)
        except KeyboardInterrupt:
            exit_code = INTERRUPTED
        except StoreError as error:
            if not searches:
                raise
            return stopped(error)
        with place.explained():
            summary = summarise(searches, exit_code)
            if searches:
                tuning.display.note("writing the report")
                report = _write(plan, tuning.tune, searches, place)
                remove_left_over(plan.store, plan.study.name)
                summary = replace(summary, report=report)
    return summary


def _search(tuning: _Tuning, name: str, space: Space, storage: Any) -> Search:
    plan, tune, costs = tuning.plan, tuning.tune, tuning.costs
    return Search(
        tune=tune,
        name=name,
        space=space,
        seeds=tune.seeds_beside(plan.study.seeds),
        around=costs.around,
        limits=tuning.limits,
        costs=costs,
        place=tuning.place,
        storage=storage,
        owner=Owner.of_this_process(),
        study_name=name_of(plan, tune, name, space),
        own_process=not isinstance(tuning.pool, InlineExecutor),
        retry_failed=tuning.retry_failed,
    )


def _run(tuning: _Tuning, search: Search) -> None:
    """Until all that were asked for have ended, here or in a process beside this one."""
    display, waiting = tuning.display, False
    search.on_unfit = partial(_tell, tuning, search)
    if said := standing(search.storage, search.study_name).sentence(search.asked):
        display.note(f"{search.name}: {said}")
    while True:
        _train(tuning, search)
        if tuning.over:
            return
        others = [trial for trial in search.open() if not search.abandoned(trial)]
        if not others and len(search.trials()) >= search.asked and not search.open():
            return
        if others and not waiting:
            owners = {str(Owner.read(trial.user_attrs.get("owner"))) for trial in others}
            display.note(f"waiting for {len(others)} that another search has ({', '.join(sorted(owners))})")
            waiting = True
        if others:
            time.sleep(POLL_S)


def _train(tuning: _Tuning, search: Search) -> None:
    pool, display = tuning.pool, tuning.display

    def claim() -> Setting | None:
        return None if tuning.over else search.claim()

    work = Work(claim, pool.workers)
    lost = when_lost(display.note)
    whole = False
    try:
        for outcome in pool.run(run_setting, work, retries=RETRIES, on_loss=lost, on_note=display.note):
            trial = file_outcome(search, outcome)
            work.ended += 1
            _tell(tuning, search, trial)
        whole = True
    finally:
        if not whole:
            pool.cancel()


def _tell(tuning: _Tuning, search: Search, trial: FrozenTrial) -> None:
    """Under the number that the report has it by."""
    display = tuning.display
    tell = display.failed if trial.state == TrialState.FAIL else display.note
    count = f"[{search.finished():3}/{search.asked}]"
    tell(f"{count} {search.name}, trial {trial.number}: {line_of(search, trial)}")


def _write(plan: Plan, tune: Tune, searches: list[Search], place: Place) -> Path | None:
    from ablate.report import write_report

    write_rows(plan, tune, searches, place)
    return Path(write_report(plan.store, plan.study.name))
