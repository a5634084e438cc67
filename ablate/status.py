"""Which trials of a study are done, running, failed, pending: from plan.json and the trials' folders."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablate.errors import StoreError, did_you_mean
from ablate.record import StudyPlan
from ablate.store import Progress, Store

# A trial reports at least twice a minute unless its epochs' evaluation takes longer; a dead one never again.
FRESH_S = 60.0
State = Literal["done", "running", "failed", "pending"]


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """One planned trial. accuracy: percent, of the test set once done, of training while running."""

    variant: str
    seed: int
    trial_id: str
    state: State
    accuracy: float | None = None
    progress: Progress | None = None
    message: str = ""


def find_study(study: str | None, output: str | Path = "results") -> tuple[Store, str]:
    """The tree and name of a planned study, given its name, its folder or its file; None: the last one run.

    Raises StoreError when there is none, naming those that there are.
    """
    store = Store(output)
    if study is None:
        name = store.read_last()
        if name is None:
            raise StoreError(f"no study was run under {store.root}\n    {_known(store)}")
        return store, name
    folder = Path(study)
    if (folder / "plan.json").is_file():
        return Store(folder.absolute().parent), folder.absolute().name
    name = _name_in_file(folder) if folder.is_file() else study
    known = store.studies()
    if name not in known:
        hint = did_you_mean(name, known) or _known(store)
        raise StoreError(f"no study {name!r} was run under {store.root}\n    {hint}")
    return store, name


def _name_in_file(path: Path) -> str:
    from ablate.spec import load_study

    return load_study(path).name


def _known(store: Store) -> str:
    known = store.studies()
    if known:
        return f"there is: {', '.join(known)}"
    return "run one with `ablate run STUDY`, or name another tree with --output DIR"


def read_status(store: Store, name: str, *, now: Callable[[], float] = time.time) -> tuple[TrialStatus, ...]:
    """Every planned trial, breadth first as they are run. Raises StoreError for a study without a plan."""
    plan = store.read_plan(name)
    if plan is None:
        raise StoreError(f"{store.study(name).plan} does not exist: run the study first\n    {_known(store)}")
    return tuple(_statuses(store, plan, now()))


def _statuses(store: Store, plan: StudyPlan, now: float) -> list[TrialStatus]:
    found: list[TrialStatus] = []
    for seed in plan.seeds:
        for variant in plan.variants:
            if seed in variant.trials:
                found.append(_status(store, variant.name, seed, variant.trials[seed], now))
    return found


def _status(store: Store, variant: str, seed: int, trial_id: str, now: float) -> TrialStatus:
    record = store.read_trial(trial_id)
    if record is not None and record.failure is not None:
        message = f"{record.failure.kind}: {record.failure.message.partition(chr(10))[0]}"
        return TrialStatus(variant, seed, trial_id, "failed", message=message)
    if record is not None:
        accuracy = record.metrics.accuracy if record.metrics is not None else None
        return TrialStatus(variant, seed, trial_id, "done", accuracy)
    progress = store.read_progress(trial_id)
    if progress is not None and is_running(progress, now):
        return TrialStatus(variant, seed, trial_id, "running", progress.accuracy, progress)
    return TrialStatus(variant, seed, trial_id, "pending")


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


def render_status(store: Store, name: str) -> str:
    """A page of text: the counts, a line a running trial, a line a failed one, and a row a variant."""
    trials = read_status(store, name)
    counts = Counter(trial.state for trial in trials)
    states: tuple[State, ...] = ("done", "running", "failed", "pending")
    lines = [
        f"{name}: " + ", ".join(f"{counts[state]} {state}" for state in states) + f" of {len(trials)} trials"
    ]
    for trial in trials:
        if trial.progress is not None:
            lines.append(f"  running  {trial.variant} seed {trial.seed}: {_live(trial.progress)}")
    for trial in trials:
        if trial.state == "failed":
            lines.append(f"  failed   {trial.variant} seed {trial.seed}: {trial.message} ({trial.trial_id})")
    lines.append("")
    width = max(len(trial.variant) for trial in trials)
    by_variant = Counter((trial.variant, trial.state) for trial in trials)
    for variant in dict.fromkeys(trial.variant for trial in trials):
        said = [f"{by_variant[variant, state]} {state}" for state in states if by_variant[variant, state]]
        lines.append(f"  {variant.ljust(width)}  {', '.join(said)}")
    return "\n".join(lines)


def _live(progress: Progress) -> str:
    parts = [f"epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.accuracy is not None:
        parts.append(f"{progress.accuracy:.1f} %")
    if progress.images_per_s is not None:
        parts.append(f"{progress.images_per_s:,.0f} images/s")
    return ", ".join(parts)
