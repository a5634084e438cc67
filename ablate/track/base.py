"""What every tracker can do, and which there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Protocol

from ablate.errors import AblateError, MachineError
from ablate.store import Store
from ablate.track.snapshot import Snapshot, TrackedTrial

# name -> the module that it needs; the extra has the tracker's name
TRACKERS: Final[Mapping[str, str]] = {"tensorboard": "tensorboard", "mlflow": "mlflow"}


class Tracker(Protocol):
    """Where trials are written to. Only the holder of the study's lock for it calls it, one thread alone.

    name: a key of `TRACKERS`. shown_by: the command that shows what was written.
    """

    name: str
    shown_by: str

    def open(self) -> None:
        """Before anything else; again after something went wrong. May raise anything, as all of these."""

    def is_settled(self, trial: TrackedTrial, mark: str) -> bool:
        """Whether all of a trial that has ended is there already."""

    def write(self, snapshot: Snapshot) -> None:
        """Write what is missing, so that everything is there once; what is of another training goes."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Wanted:
    """What was asked for: names of trackers, and the URI of an MLflow server or store, if one was given."""

    names: tuple[str, ...] = ()
    mlflow_uri: str | None = None

    def check(self) -> None:
        """Raises AblateError for an unknown name, and MachineError for one whose extra is not installed."""
        for name in self.names:
            if name not in TRACKERS:
                raise AblateError(f"unknown tracker {name!r}; allowed: {', '.join(TRACKERS)}")
        for name in self.names:
            if find_spec(TRACKERS[name]) is None:
                raise MachineError(
                    f"tracking with {name} needs a package that is not installed\n"
                    f"    pip install 'ablate-bench[{name}]'"
                )

    def trackers(self, store: Store, study: str) -> tuple[Tracker, ...]:
        """Not opened: that is where a library is imported, or a server asked."""
        self.check()
        return tuple(self._tracker(name, store, study) for name in self.names)

    def _tracker(self, name: str, store: Store, study: str) -> Tracker:
        if name == "tensorboard":
            from ablate.track.event_files import EventFiles

            return EventFiles(store, study)
        from ablate.track.mlflow_runs import MlflowRuns

        return MlflowRuns(store, study, self.mlflow_uri)
