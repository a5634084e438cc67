"""`ablate tune`: the searches of a study one after another, each shared with whoever searches beside us."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ablate.clean import remove_left_over
from ablate.display import Display, NullDisplay
from ablate.errors import AblateError, MachineError, Problem, Problems, StoreError, StudyError
from ablate.execute import Executor, InlineExecutor, LocalExecutor, Loss, Outcome
from ablate.record import TrialRecord
from ablate.runner import Plan, Teller, plan_study
from ablate.runner.gpus import worker_slots
from ablate.runner.interrupts import INTERRUPTED, interruptible
from ablate.runner.job import Job, load_libraries, tidy_up, write_failure
from ablate.runner.losses import RETRIES, record_left
from ablate.runner.others import take_after_worker
from ablate.runner.run import WORKER_ENVIRONMENT
from ablate.spec import Study
from ablate.spec.dotted import lay_over
from ablate.spec.settings import Settings
from ablate.spec.study import variant_data
from ablate.spec.tune import Tune
from ablate.store import Holder, Store
from ablate.tune.objective import MEASURED, Costs, Limits
from ablate.tune.rows import write_rows
from ablate.tune.search import FINISHED, Search, said, search_name
from ablate.tune.space import Space
from ablate.tune.storage import Beat, Owner, Place
from ablate.tune.work import Ran, Setting, Work, run_setting

POLL_S = 1.0
DEFAULTS = "the defaults"
_STORE_ERROR = f"{StoreError.__module__}.{StoreError.__qualname__}"


@dataclass(frozen=True)
class TuneSummary:
    """How a search ended. asked, finished: settings, over all starts. report: None when none was written."""

    exit_code: int
    asked: int
    finished: int
    report: Path | None
    message: str


@dataclass
class _Tuning:
    """What all searches of a study have in common while they run. until: on the steady clock, or None."""

    plan: Plan
    tune: Tune
    costs: Costs
    limits: Limits
    pool: Executor
    display: Display
    until: float | None


def tune_study(
    study: Study,
    *,
    output: str | Path = "results",
    storage: str | None = None,
    jobs: int | None = None,
    device: str = "auto",
    executor: str | Executor = "local",
    dry_run: bool = False,
    display: Display | None = None,
) -> TuneSummary:
    """Search around the variant that `tune.from` names, then, with the same budget, around those in `also`.

    storage: `sqlite:///FILE`, `journal:FILE` or another URL; by default a file under the results tree.
    Raises StudyError for whatever is wrong with the space before anything is trained, and what `plan_study`
    raises.
    """
    display = display or NullDisplay()
    if study.tune is None:
        problem = Problem("is missing: nothing says what to search", study.where(), "tune", (), _EXAMPLE)
        raise StudyError([problem])
    tune = study.tune
    try:
        plan = plan_study(study, output=output, device=device, tell=Teller(display.note, display.step))
    finally:
        display.step("")
    place = Place(storage or f"sqlite:///{(plan.store.study(study.name).folder / 'tune' / 'search.db')}")
    measured = any(metric in MEASURED for metric in tune.objectives)
    if measured and jobs not in (None, 1):
        raise MachineError("latency and memory are measured while nothing else runs: leave -j out, or say 1")
    starts = _starts(plan, tune)
    costs = _costs(plan)
    baseline = plan.inspections[study.baseline]
    limits = Limits(
        tune.constraints, {"param_count": float(baseline.param_count), "macs": float(baseline.macs)}
    )
    _check(plan, tune, starts, costs, limits)
    if dry_run:
        message = _described(plan, tune, starts, place)
        display.end(message, "")
        return TuneSummary(0, 0, 0, None, message)
    plan.store.prepare()
    if plan.store.read_plan(study.name) is None:
        plan.store.write_plan(plan.record)
    plan.store.write_last(study.name)
    for note in _notes(plan, tune):
        display.note(f"note: {note}")
    pool = _make_executor(executor, plan, device, 1 if measured else jobs)
    searches: list[Search] = []
    with interruptible():
        try:
            opened = place.open()
            until = None if tune.timeout is None else time.monotonic() + tune.timeout
            tuning = _Tuning(plan, tune, costs, limits, pool, display, until)
            with contextlib.closing(pool):
                for name, space in starts:
                    search = _search(tuning, name, space, place, opened)
                    searches.append(search)
                    with Beat(search.study, search.owner):
                        _run(tuning, search)
            summary = _summary(plan, searches, None)
        except KeyboardInterrupt:
            summary = _summary(plan, searches, INTERRUPTED)
        if searches:
            display.note("writing the report")
            report = _write(plan, tune, searches, place)
            remove_left_over(plan.store, study.name)
            summary = replace(summary, report=report)
    display.end("\n".join(filter(None, (summary.message, _where(summary)))), str(summary.report or ""))
    return summary


_EXAMPLE = "add it: tune: {from: VARIANT, space: {train.optimizer.lr: {low: 1e-4, high: 0.1, log: true}}}"


# Before anything is trained


def _starts(plan: Plan, tune: Tune) -> list[tuple[str, Space]]:
    """What is searched around, the one that `from` names first."""
    study = plan.study
    defaults = study.defaults.model_dump()
    found = []
    for name in (tune.start, *tune.also):
        if name is None:
            data = defaults
        elif name in study.variants:
            data = variant_data(defaults, study.variants, name)
        else:  # of a sweep, a design or a matrix
            data = next(v for v in plan.variants if name in (v.name, *v.aliases)).settings.model_dump()
        base = lay_over(data, tune.overrides)[0]
        Settings.model_validate(base)
        found.append((name or DEFAULTS, Space(base, tune.space)))
    return found


def _check(plan: Plan, tune: Tune, starts: list[tuple[str, Space]], costs: Costs, limits: Limits) -> None:
    """Build every network that a single choice leads to: what no network bears is an error now, with its
    line, and not a failed trial hours later."""
    study, problems, space = plan.study, Problems(), starts[0][1]
    for key, dimension in tune.space.items():
        where = study.where("tune", "space", key)
        if key not in space.dimensions:
            problems.add("there is no such setting around what is searched", where=where, field=key)
            continue
        if not key.startswith(("model.", "train.lr", "train.stages", "data.")):
            continue
        for inner, value in dimension.ends():
            try:
                data = space.laid_over({key: _choice(space, key, value)})
                costs.inspected(Settings.model_validate(data))
            except ValueError:
                continue  # it goes with another choice alone, which the loader has seen to
            except AblateError as error:
                if not _hangs_on_another(space, key):
                    place = study.where("tune", "space", key, inner)
                    problems.add(str(error).splitlines()[0], where=place, field=f"tune.space: {key}")
    for name, each in starts if tune.constraints and not problems.found else ():
        points = each.points()
        if points is not None and not any(
            limits.kept(lambda point=point, each=each: each.settings(point), costs) for point in points
        ):
            texts = " and ".join(constraint.text for constraint in tune.constraints)
            where = study.where("tune", "constraints")
            problems.add(f"no setting around {name} keeps {texts}", where=where, field="tune.constraints")
    problems.raise_if_any()


def _choice(space: Space, key: str, value: Any) -> Any:
    from ablate.tune.space import word_for

    return value if space.dimensions[key].values is None else word_for(value)


def _hangs_on_another(space: Space, key: str) -> bool:
    return not space.exists(key, {}) or len([one for one in space.dimensions if one.startswith("model.")]) > 1


def _costs(plan: Plan) -> Costs:
    if plan.ground is None:
        raise RuntimeError("a plan without its ground was never made by plan_study")
    around = plan.ground.around
    every = plan.ground.controlled.expansion.pretraining
    around.pretraining = {**around.pretraining, **{variant.name: variant for variant in every}}
    return Costs(around)


def _search(tuning: _Tuning, name: str, space: Space, place: Place, storage: Any) -> Search:
    plan, tune, costs = tuning.plan, tuning.tune, tuning.costs
    seeds = tune.seeds_beside(plan.study.seeds)
    content = [
        Settings.model_validate(space.base).model_dump(mode="json"),
        {key: found.model_dump(mode="json") for key, found in sorted(space.dimensions.items())},
        sorted(seeds),
        dict(tune.objectives),
        [constraint.text for constraint in tune.constraints],
        plan.record.data,
    ]
    return Search(
        tune=tune,
        name=name,
        space=space,
        seeds=seeds,
        around=costs.around,
        limits=tuning.limits,
        costs=costs,
        place=place,
        storage=storage,
        owner=Owner.of_this_process(),
        study_name=search_name(plan.study.name, name, content),
        own_process=not isinstance(tuning.pool, InlineExecutor),
    )


def _notes(plan: Plan, tune: Tune) -> list[str]:
    notes = []
    if tune.pruner != "none" and len(tune.objectives) > 1:
        notes.append(f"nothing is stopped early by {tune.pruner}: Optuna prunes for one objective only")
    if plan.study.baseline not in (tune.start, *tune.also):
        notes.append(
            f"the baseline {plan.study.baseline!r} is not tuned: what is tuned has an advantage over it; "
            f"write also: [{plan.study.baseline}] to give it the same budget"
        )
    return notes


def _described(plan: Plan, tune: Tune, starts: list[tuple[str, Space]], place: Place) -> str:
    seeds = tune.seeds_beside(plan.study.seeds)
    lines = []
    for name, space in starts:
        points = space.points()
        size = "endless" if points is None else f"{len(points)} settings"
        count = tune.trials if points is None else min(tune.trials, len(points))
        keys = ", ".join(space.dimensions) or "nothing that exists there"
        lines.append(
            f"{name}: {count} trials of {len(seeds)} seeds ({', '.join(map(str, seeds))}) over {keys}: "
            f"a space of {size}"
        )
    return "\n".join([*lines, f"sampler {tune.sampler}, pruner {tune.pruner}; kept in {place.shown}"])


def _make_executor(executor: str | Executor, plan: Plan, device: str, jobs: int | None) -> Executor:
    if not isinstance(executor, str):
        return executor
    if executor == "inline":
        return InlineExecutor()
    if executor != "local":
        raise MachineError(f"unknown executor {executor!r}; this version has: local, inline")

    def peak() -> int | None:
        from ablate.trial import measured_peak_bytes

        settings = plan.study.defaults
        images = next(iter(plan.images.values()))
        return measured_peak_bytes(settings, images, plan.device)

    slots = worker_slots(plan.device, device, jobs, peak)
    return LocalExecutor(environment=WORKER_ENVIRONMENT, slots=slots, initializer=load_libraries)


# The search


def _run(tuning: _Tuning, search: Search) -> None:
    """Until all that were asked for have ended, here or in a process beside this one."""
    display, waiting = tuning.display, False
    before = search.finished()
    if before:
        display.note(f"{search.name}: {before} of {search.asked} trials were there already")
    while True:
        _train(tuning, search)
        if _over(tuning):
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


def _over(tuning: _Tuning) -> bool:
    return tuning.until is not None and time.monotonic() >= tuning.until


def _train(tuning: _Tuning, search: Search) -> None:
    pool, display = tuning.pool, tuning.display

    def claim() -> Setting | None:
        return None if _over(tuning) else search.claim()

    work = Work(claim, pool.workers)
    whole = False
    try:
        for outcome in pool.run(
            run_setting, work, retries=RETRIES, on_loss=_when_lost(display.note), on_note=display.note
        ):
            trial = _file(search, outcome)
            work.ended += 1
            display.note(f"[{search.finished():3}/{search.asked}] {search.name}: {line_of(search, trial)}")
        whole = True
    finally:
        if not whole:
            pool.cancel()


def line_of(search: Search, trial: FrozenTrial) -> str:
    """A trial that ended, in one line."""
    what = said(trial.user_attrs.get("settings", {})) or "as it is"
    if trial.state == TrialState.COMPLETE:
        words = []
        for metric, value in zip(search.tune.objectives, trial.values or (), strict=True):
            words.append(f"validation {value:.2f} %" if metric == "accuracy" else f"{metric} {value:,.4g}")
        return f"{what}: {', '.join(words)}"
    if trial.state == TrialState.PRUNED:
        stopped = trial.user_attrs.get("stopped", {})
        return f"{what}: stopped after epoch {stopped.get('epoch')} of seed {stopped.get('seed')}"
    return f"{what}: FAILED: {trial.user_attrs.get('why', 'without a word')}"


def _when_lost(note: Callable[[str], None]) -> Callable[[Loss[Setting]], Ran | None]:
    """A worker died: its trial's last words are kept, and what it had finished is found in the tree."""

    def on_loss(loss: Loss[Setting]) -> Ran | None:
        job = _in_hand(loss.item)
        lock = None if job is None else take_after_worker(job)
        if job is not None and lock is not None and not isinstance(lock, Holder):
            with lock:
                if record_left(job) is None and loss.again:
                    tidy_up(job)
                    note(f"{said(loss.item.changes)}: {loss.failure.message}; it is begun again")
        return None

    return on_loss


def _in_hand(setting: Setting) -> Job | None:
    """The first of its trials that has not ended."""
    for job in (*setting.before, *setting.jobs):
        if Store(job.root).read_trial(job.trial_id) is None:
            return job
    return None


def _file(search: Search, outcome: Outcome[Setting, Ran]) -> FrozenTrial:
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


# Afterwards


def _write(plan: Plan, tune: Tune, searches: list[Search], place: Place) -> Path | None:
    from ablate.report import write_report

    write_rows(plan, tune, searches, place)
    return Path(write_report(plan.store, plan.study.name))


def _where(summary: TuneSummary) -> str:
    return f"report: {summary.report}" if summary.report is not None else ""


def _summary(plan: Plan, searches: list[Search], exit_code: int | None) -> TuneSummary:
    lines = []
    asked = finished = failed = 0
    for search in searches:
        trials = [trial for trial in search.trials() if trial.state in FINISHED]
        bad = sum(trial.state == TrialState.FAIL for trial in trials)
        asked, finished, failed = asked + search.asked, finished + len(trials), failed + bad
        pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
        more = [f"{pruned} stopped early"] * bool(pruned) + [f"{bad} failed"] * bool(bad)
        lines.append(
            f"{search.name}: {len(trials)} of {search.asked} trials are done"
            + (f" ({', '.join(more)})" if more else "")
        )
        lines += [f"  best: {line_of(search, trial)}" for trial in best_trials(search)[:5]]
    if exit_code is None:
        exit_code = 0 if finished >= asked and not failed else 1
    if exit_code == INTERRUPTED:
        lines.insert(0, "interrupted: what is finished is kept; the same command goes on from here")
    elif finished < asked:
        lines.append("run the same command again for the rest")
    return TuneSummary(exit_code, asked, finished, None, "\n".join(lines))


def best_trials(search: Search) -> list[FrozenTrial]:
    """With one objective the best first; with several the Pareto set, in the order of its trials."""
    done = [trial for trial in search.trials() if trial.state == TrialState.COMPLETE]
    if len(search.tune.objectives) > 1:
        return list(search.study.best_trials)
    sign = -1 if "maximize" in search.tune.objectives.values() else 1
    return sorted(done, key=lambda trial: (sign * float(trial.value or 0.0), trial.number))
