"""A planned trial as it stands in the results tree now, in the form in which trackers take it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from ablate.failures import headline
from ablate.record import CostRecord, StudyPlan, TrialRecord
from ablate.store import Damaged, Store, TrialPaths
from ablate.store.reading import read_bytes, read_csv
from ablate.track.curves import Curves, cost_figures, curves_of, final_figures
from ablate.track.parameters import Parameter, flat

FORMAT = 1  # raised when what trackers are given changes, so that all is written anew
State = Literal["running", "stopped", "done", "failed"]


@dataclass(frozen=True, slots=True)
class TrackedTrial:
    """One trial of a study. variant: its name there. cost_id: empty where no cost belongs to it."""

    study: str
    variant: str
    seed: int
    id: str
    cost_id: str
    pretraining: bool = False

    def __str__(self) -> str:
        return f"{'pretraining ' * self.pretraining}{self.variant} seed {self.seed}"


@dataclass(frozen=True)
class Snapshot:
    """stopped: begun, and trained by nobody now; the next run goes on with it. mark: see `mark_of`.

    mark_before_costs: the mark that it had, or would have had, while nothing was measured of its costs.
    """

    trial: TrackedTrial
    state: State
    parameters: dict[str, Parameter]
    tags: dict[str, str]
    curves: Curves
    began_s: float  # seconds since 1970
    ended_s: float
    costs: dict[str, float] = field(default_factory=dict)
    mark: str = ""
    mark_before_costs: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed")


def planned_trials(plan: StudyPlan) -> Iterator[TrackedTrial]:
    for variants in (plan.pretraining, plan.variants):
        for variant in variants:
            for seed, trial_id in variant.trials.items():
                first = variants is plan.pretraining
                yield TrackedTrial(plan.study, variant.name, seed, trial_id, variant.cost_id, first)


def tuned_trials(store: Store, study: str) -> Iterator[TrackedTrial]:
    """Of a search of `ablate tune`, as its own file tells them: "tune START NUMBER"."""
    path = store.confined(store.study(study).tuning)
    content = read_bytes(path)
    if content is None:
        return
    try:
        found = [
            TrackedTrial(study, f"tune {search['start']} {trial['number']}", int(seed), str(trial_id), "")
            for search in json.loads(content)["searches"]
            for trial in search["trials"]
            for seed, trial_id in trial["trials"].items()
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(path, f"is torn or was edited by hand ({error!r})") from error
    yield from found


def mark_of(trial: TrackedTrial, record: TrialRecord, cost: CostRecord | None) -> str:
    """Changes whenever there is something else to write of a trial that has ended."""
    measured = "" if cost is None else f"{cost.machine} {cost.measured}"
    return f"{FORMAT} {trial} {trial.id} {record.status} {record.started} {record.wall_s} {measured}"


def cost_of(store: Store, trial: TrackedTrial, record: TrialRecord) -> CostRecord | None:
    """Of the machine that trained it, else the one that was measured last."""
    costs = store.read_costs(trial.cost_id) if trial.cost_id else ()
    here = [cost for cost in costs if cost.machine == record.environment.machine]
    return max(here or costs, key=lambda cost: cost.measured, default=None)


def signature(store: Store, trial: TrackedTrial, *, held: bool) -> tuple[object, ...]:
    """Changes when the trial's files do; asked often, so nothing is opened."""
    again, paths = store.trial_again(trial.id), store.trial(trial.id)
    files = [paths.record, paths.settings, paths.epochs, paths.steps]
    if held:  # it may be trained again beside an earlier record
        files += [again.settings, again.epochs, again.steps]
    return (held, *(_seen(path) for path in files))


def take(
    store: Store,
    trial: TrackedTrial,
    record: TrialRecord | None,
    cost: CostRecord | None = None,
    *,
    held: bool,
) -> Snapshot | None:
    """None for a trial that has not begun. held: somebody trains it now.

    record: None while there is none that counts: a trial with a result that is trained again keeps showing
    that result until it has another one. Raises Damaged for files that cannot be read.
    """
    paths = store.trial(trial.id)
    if record is None and held and store.trial_again(trial.id).settings.exists():
        paths = store.trial_again(trial.id)
    if not paths.settings.exists():
        return None
    settings = _settings(store.confined(paths.settings))
    if settings is None and held:  # they are written just now
        return None
    if settings is None:
        raise Damaged(paths.settings, "cannot be read as settings")
    parameters = flat(settings)
    if record is not None and record.status == "done":
        epochs, steps = store.read_epochs(trial.id, record), store.read_steps(trial.id)
    else:
        epochs, steps = (_whole_rows(store.confined(path)) for path in (paths.epochs, paths.steps))
    ended_s = _ended_s(record, paths)
    stages = parameters.get("train.stages", "[]") != "[]"
    curves = curves_of(epochs, steps, ended_s=ended_s, stages=stages)
    if record is None:
        state: State = "running" if held else "stopped"
        return Snapshot(trial, state, parameters, _tags(trial), curves, _began_s(epochs, ended_s), ended_s)
    last = int(epochs[-1].get("epoch") or 0) if epochs else 0
    return Snapshot(
        trial,
        record.status,
        parameters,
        _tags(trial) | _tags_of_record(record, cost),
        curves | final_figures(record, step=last, ended_s=ended_s),
        began_s=ended_s - record.wall_s,
        ended_s=ended_s,
        costs={} if cost is None else cost_figures(cost),
        mark=mark_of(trial, record, cost),
        mark_before_costs=mark_of(trial, record, None),
    )


def _settings(path: Path) -> dict[str, Any] | None:
    """As they are: a tracker shows what an earlier version wrote, too. None where there are none."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None


def _whole_rows(path: Path) -> list[dict[str, float | None]]:
    """Of a file that may be written just now: a last line without its end is not all there."""
    content = read_bytes(path) or b""
    return read_csv(path, content[: content.rfind(b"\n") + 1])


def _ended_s(record: TrialRecord | None, paths: TrialPaths) -> float:
    """When its last epoch ended, as near as the files say. The record of a trial that went on from a
    checkpoint says when the last attempt began and how long all of them took."""
    if record is not None and not record.resumed:
        return datetime.fromisoformat(record.started).timestamp() + record.wall_s
    path = paths.epochs if paths.epochs.exists() else paths.settings
    return path.stat().st_mtime


def _began_s(epochs: list[dict[str, float | None]], ended_s: float) -> float:
    return ended_s - sum(row.get("seconds") or 0.0 for row in epochs)


def _tags(trial: TrackedTrial) -> dict[str, str]:
    """What leads back to the record. Its path is relative to the root of the results tree."""
    return {
        "ablate.study": trial.study,
        "ablate.variant": trial.variant,
        "ablate.seed": str(trial.seed),
        "ablate.trial": trial.id,
        "ablate.record": f"trials/{trial.id}/record.json",
        **({"ablate.pretraining": "true"} if trial.pretraining else {}),
    }


def _tags_of_record(record: TrialRecord, cost: CostRecord | None) -> dict[str, str]:
    where = record.environment
    found = {
        "ablate.status": record.status,
        "ablate.device": where.device_name,
        "ablate.machine": where.machine,
        "ablate.torch": where.torch,
        "ablate.version": where.ablate,
        "ablate.commit": where.commit,
        "ablate.failure": None if record.failure is None else headline(record.failure),
        "ablate.cost_machine": None if cost is None else cost.machine,
    }
    return {name: value for name, value in found.items() if value}


def _seen(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
