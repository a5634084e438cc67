"""MLflow: a run a trial, found again by its tag; only what is missing there is logged.

MLflow takes no point back. A trial that goes on from a checkpoint gives the same curves again, so its run
goes on as well; what differs (another training of the same trial) moves the run to MLflow's deleted ones and
begins another. Figures of the clock differ each time that an epoch is trained: they come when the trial is
done.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from ablate.store import Store
from ablate.track.curves import CLOCK, COST, CURVES, Curves, Point, missing, same
from ablate.track.parameters import word
from ablate.track.snapshot import Snapshot, State, TrackedTrial

TRIAL: Final = "ablate.trial"
SETTLED: Final = "ablate.settled"  # the mark of the snapshot that was written last, and whole
STATUS: Final[dict[State, str]] = {
    "running": "RUNNING",
    "stopped": "KILLED",
    "done": "FINISHED",
    "failed": "FAILED",
}
# What the client would do without a word: report its use to its makers, and wait minutes for a server that is
# away. What the user's environment says of it holds.
ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
_PAGE = 1000
_METRICS, _PARAMETERS, _TAGS = 500, 100, 100  # in one request: MLflow takes 1000, 100, 100 and 1 MB
_KEY, _VALUE, _TAG = 250, 6000, 5000  # characters
Member = TypeVar("Member")


@dataclass
class _Run:
    """A run at the server, as far as it is known. logged: None until it was read."""

    id: str
    status: str
    tags: dict[str, str]
    parameters: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # of its metrics
    logged: dict[str, dict[int, float]] | None = None


class MlflowRuns:
    """See `Tracker`. uri: of a server or store; else MLFLOW_TRACKING_URI; else a database in the tree."""

    name = "mlflow"

    def __init__(self, store: Store, study: str, uri: str | None = None) -> None:
        self._study = study
        self._folder = store.study(study).mlflow
        self._store = store
        given = uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._local = not given
        self.uri = given or f"sqlite:///{self._folder / 'mlflow.db'}"
        self.shown_by = _shown_by(self.uri)
        self._client: Any = None
        self._experiment = ""
        self._runs: dict[str, _Run] = {}

    def open(self) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)  # the one note of a fault is ours
        if self._local:
            self._store.confined(self._folder).mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=self.uri)
        found = self._client.get_experiment_by_name(self._study)
        self._experiment = self._new_experiment() if found is None else found.experiment_id
        self._runs = self._known_runs()

    def _new_experiment(self) -> str:
        where = (self._folder / "artifacts").absolute().as_uri() if self._local else None
        return str(self._client.create_experiment(self._study, artifact_location=where))

    def close(self) -> None:
        self._client, self._runs = None, {}

    def _known_runs(self) -> dict[str, _Run]:
        """The oldest of each trial; a second one can only come of a request that was sent twice, and goes."""
        found: dict[str, _Run] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                trial_id = run.data.tags.get(TRIAL)
                if trial_id in found:
                    self._client.delete_run(run.info.run_id)
                elif trial_id is not None:
                    known = dict(run.data.tags), dict(run.data.params), tuple(run.data.metrics)
                    found[trial_id] = _Run(run.info.run_id, run.info.status, *known)
            token = page.token
            if not token:
                return found

    def is_settled(self, trial: TrackedTrial, mark: str) -> bool:
        run = self._runs.get(trial.id)
        return run is not None and run.tags.get(SETTLED) == mark

    def write(self, snapshot: Snapshot) -> None:
        try:
            self._write(snapshot)
        except BaseException:  # what got through is not known: it is asked for before more is sent
            if (run := self._runs.get(snapshot.trial.id)) is not None:
                run.logged = None
            raise

    def _write(self, snapshot: Snapshot) -> None:
        wanted = snapshot.curves
        if snapshot.state != "done":
            wanted = {name: points for name, points in wanted.items() if name not in CLOCK}
        parameters = {_key(name): _cut(word(value), _VALUE) for name, value in snapshot.parameters.items()}
        run = self._runs.get(snapshot.trial.id)
        if run is not None and run.logged is None:
            self._read(run)
        gap = None if run is None else _gap(run, parameters, wanted, ended=snapshot.ended)
        if run is None or gap is None:
            if run is not None:
                self._client.delete_run(run.id)
                del self._runs[snapshot.trial.id]
            run, gap = self._create(snapshot), wanted
        self._log(run, snapshot, parameters, gap)
        self._set_status(run, snapshot)
        if snapshot.ended:
            self._client.set_tag(run.id, SETTLED, snapshot.mark)
            run.tags[SETTLED] = snapshot.mark
            run.logged = None  # finished trials are many

    def _read(self, run: _Run) -> None:
        """From the server: another process may have written there since."""
        now = self._client.get_run(run.id)
        run.tags, run.parameters = dict(now.data.tags), dict(now.data.params)
        run.status, run.names = now.info.status, tuple(now.data.metrics)
        run.logged = {
            name: {metric.step: metric.value for metric in self._client.get_metric_history(run.id, name)}
            for name in run.names
            if name.startswith((*CURVES, COST))  # a person may have added others
        }

    def _create(self, snapshot: Snapshot) -> _Run:
        tags = {name: _cut(value, _TAG) for name, value in snapshot.tags.items()}
        made = self._client.create_run(
            self._experiment,
            start_time=int(snapshot.began_s * 1000),
            tags=tags,
            run_name=str(snapshot.trial),
        )
        run = _Run(made.info.run_id, made.info.status, dict(made.data.tags), logged={})
        self._runs[snapshot.trial.id] = run
        return run

    def _log(self, run: _Run, snapshot: Snapshot, parameters: dict[str, str], gap: Curves) -> None:
        from mlflow.entities import Metric, Param, RunTag

        logged = run.logged if run.logged is not None else {}
        points = [(name, step, point) for name, steps in gap.items() for step, point in sorted(steps.items())]
        points += _new_costs(snapshot, logged)
        new = {name: value for name, value in parameters.items() if name not in run.parameters}
        tags = {name: _cut(value, _TAG) for name, value in snapshot.tags.items()}
        changed = {name: value for name, value in tags.items() if run.tags.get(name) != value}
        for some in _batches(list(new.items()), _PARAMETERS):
            self._client.log_batch(run.id, params=[Param(*each) for each in some])
        for chosen in _batches(points, _METRICS):
            metrics = [
                Metric(name, point.value, int(point.time_s * 1000), step) for name, step, point in chosen
            ]
            self._client.log_batch(run.id, metrics=metrics)
        for some in _batches(list(changed.items()), _TAGS):
            self._client.log_batch(run.id, tags=[RunTag(*each) for each in some])
        run.parameters |= new
        run.tags |= changed
        for name, step, point in points:
            logged.setdefault(name, {})[step] = point.value

    def _set_status(self, run: _Run, snapshot: Snapshot) -> None:
        status = STATUS[snapshot.state]
        if run.status == status:
            return
        if snapshot.state == "running":
            self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status, int(snapshot.ended_s * 1000))
        run.status = status


def _gap(run: _Run, parameters: dict[str, str], wanted: Curves, *, ended: bool) -> Curves | None:
    """What the run lacks; None where it is of another training."""
    if any(parameters.get(name, value) != value for name, value in run.parameters.items()):
        return None
    logged = {name: steps for name, steps in (run.logged or {}).items() if name.startswith(CURVES)}
    return missing(logged, wanted, ended=ended)


def _new_costs(snapshot: Snapshot, logged: dict[str, dict[int, float]]) -> list[tuple[str, int, Point]]:
    """A cost that was measured anew is another point: steps count the measurements."""
    found = []
    for name, value in snapshot.costs.items():
        before = logged.get(name, {})
        if not before or not same(before[max(before)], value):
            found.append((name, max(before, default=-1) + 1, Point(value, snapshot.ended_s)))
    return found


def _batches(members: Sequence[Member], size: int) -> Iterator[list[Member]]:
    left = iter(members)
    while some := list(islice(left, size)):
        yield some


def _key(name: str) -> str:
    """MLflow's names are at most 250 of these characters."""
    plain = re.sub(r"[^\w.\- /]", "_", name)
    if plain == name and len(name) <= _KEY:
        return name
    return f"{plain[: _KEY - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else f"{value[: length - 1]}…"


def _shown_by(uri: str) -> str:
    """A password in the address is nobody's to read over a shoulder."""
    shown = re.sub(r"//[^/@]*@", "//", uri)
    if uri.startswith(("http://", "https://")):
        return f"open {shown}"
    return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
