"""The results tree: where every file lies, atomic writes, checked reads, iteration.

A file name is a property of `TrialPaths` or `StudyPaths` and stands nowhere else. A record appears by an
atomic rename and is the sole proof that its trial is done; copying trees from two machines together merges
them.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import re
import secrets
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from ablate.errors import StoreError
from ablate.record import SCHEMA_VERSION, CostRecord, Look, Record, StudyPlan, TrialRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Checked = TypeVar("Checked", bound=Record)

_STUDY_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_MACHINE_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_ID = re.compile(r"[0-9a-f]{4,64}")
# Folders of the root that are no study's; `published` is a results tree of its own.
RESERVED_NAMES: Final = frozenset({"trials", "costs", "published"})
PREDICTION_ARRAYS: Final = ("label", "predicted", "predicted_best", "probability", "index")


@dataclass(frozen=True, slots=True)
class TrialPaths:
    """The files of one trial. `progress` and `output` exist only while the trial runs."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "settings.yaml"

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    @property
    def epochs(self) -> Path:
        return self.folder / "epochs.csv"

    @property
    def steps(self) -> Path:
        return self.folder / "steps.csv"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.npz"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def progress(self) -> Path:
        return self.folder / "progress.json"

    @property
    def output(self) -> Path:
        """What a running trial's process prints; it ends up in the log."""
        return self.folder / "output.txt"


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """The files of one study."""

    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "study.yaml"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def report_md(self) -> Path:
        return self.folder / "report.md"

    @property
    def report_json(self) -> Path:
        return self.folder / "report.json"

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running trial last said of itself. loss, accuracy (percent) and speed are of training."""

    pid: int
    host: str
    epoch: int  # 1-based
    epochs: int
    step: int
    steps: int
    loss: float | None
    accuracy: float | None
    images_per_s: float | None
    updated: float  # seconds since 1970; the file says it in whole ones

    @property
    def fraction(self) -> float:
        """The part of the training that is behind it."""
        return min(1.0, max(0.0, (self.epoch - 1 + self.step / max(1, self.steps)) / max(1, self.epochs)))


class Store:
    """One results tree. Opening it touches no disk; in an absent tree a reader finds nothing, no error."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def trial(self, trial_id: str) -> TrialPaths:
        return TrialPaths(self.root / "trials" / _name(trial_id, _ID, "trial id"))

    def study(self, name: str) -> StudyPaths:
        if name in RESERVED_NAMES:
            raise StoreError(
                f"no study can be named {name!r}: that folder of {self.root} holds something else"
            )
        return StudyPaths(self.root / _name(name, _STUDY_NAME, "study name"))

    def cost(self, cost_id: str, machine: str) -> Path:
        folder = self.root / "costs" / _name(cost_id, _ID, "cost id")
        return folder / f"{_name(machine, _MACHINE_NAME, 'machine name')}.json"

    def prepare(self) -> None:
        """Create the root and prove that it can be written, before hours are spent on something to write."""
        probe = self.root / f".probe-{secrets.token_hex(4)}"
        with _explained("write", self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_bytes(b"")
            finally:
                probe.unlink(missing_ok=True)

    # Trials

    def read_trial(self, trial_id: str) -> TrialRecord | None:
        """None where no record lies. Raises StoreError for one that is torn, edited, or of another schema."""
        path = self.trial(trial_id).record
        record = _read(path, TrialRecord)
        if record is not None and record.id != trial_id:
            raise StoreError(
                f"{path}: the record says trial {record.id}, its folder says {trial_id}\n{_WAY_OUT}"
            )
        return record

    def write_trial(self, record: TrialRecord) -> None:
        """The last act of a trial: from here on it counts."""
        write_text(self.trial(record.id).record, _dump(record))

    def trials(self) -> Iterator[TrialRecord]:
        """Every recorded trial, by id. A trial that has not ended is no part of it."""
        for trial_id in _entries(self.root / "trials", _ID):
            record = self.read_trial(trial_id)
            if record is not None:
                yield record

    def read_epochs(self, trial_id: str) -> list[dict[str, float | None]]:
        """Rows of epochs.csv, an empty cell as None; no rows where there is no file."""
        return _read_csv(self.trial(trial_id).epochs)

    def read_steps(self, trial_id: str) -> list[dict[str, float | None]]:
        """Rows of steps.csv: step, epoch, loss, accuracy (percent)."""
        return _read_csv(self.trial(trial_id).steps)

    def read_predictions(self, trial_id: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of predictions.npz, each [N] over the test images; None where there is no file.

        label, predicted (last epoch), predicted_best (best validation epoch), index (row in the source's test
        set): int64; probability (of the predicted class, last epoch): float32.
        """
        return _read_arrays(self.trial(trial_id).predictions, PREDICTION_ARRAYS)

    def read_progress(self, trial_id: str) -> Progress | None:
        """None where there is none, or none that can be read: progress is news, not a record."""
        try:
            said = json.loads(self.trial(trial_id).progress.read_bytes())
            return Progress(
                pid=int(said["pid"]),
                host=str(said["host"]),
                epoch=int(said["epoch"]),
                epochs=int(said["epochs"]),
                step=int(said["step"]),
                steps=int(said["steps"]),
                loss=_optional(said.get("loss")),
                accuracy=_optional(said.get("accuracy")),
                images_per_s=_optional(said.get("images_per_s")),
                updated=datetime.fromisoformat(said["updated"]).timestamp(),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    # Costs

    def read_costs(self, cost_id: str) -> tuple[CostRecord, ...]:
        """One record a machine, by machine name."""
        folder = self.root / "costs" / _name(cost_id, _ID, "cost id")
        with _explained("read", folder):
            paths = sorted(path for path in folder.glob("*.json") if _MACHINE_NAME.fullmatch(path.stem))
        return tuple(record for path in paths if (record := _read(path, CostRecord)) is not None)

    def write_cost(self, record: CostRecord) -> None:
        write_text(self.cost(record.id, record.machine), _dump(record))

    # Studies

    def studies(self) -> tuple[str, ...]:
        """Names of the studies that were planned under this root."""
        names = _entries(self.root, _STUDY_NAME)
        return tuple(name for name in names if name not in RESERVED_NAMES and self.study(name).plan.is_file())

    def read_plan(self, name: str) -> StudyPlan | None:
        return _read(self.study(name).plan, StudyPlan)

    def write_plan(self, plan: StudyPlan) -> StudyPlan:
        """Write the plan, and give back what was written.

        `planned` stays the date on which these claims and this analysis were first written, and no look is
        ever
        forgotten: together they show whether a claim came before or after the results were seen.
        """
        before = self.read_plan(plan.study)
        if before is not None:
            same = before.analysis_hash == plan.analysis_hash
            looks = (*before.looks, *(look for look in plan.looks if look not in before.looks))
            plan = plan.model_copy(
                update={"planned": before.planned if same else plan.planned, "looks": looks},
            )
        write_text(self.study(plan.study).plan, _dump(plan))
        return plan

    def add_look(self, name: str, look: Look) -> None:
        """Note in the plan that the results were read."""
        plan = self.read_plan(name)
        if plan is None:
            raise StoreError(f"{self.study(name).plan} does not exist: run the study first")
        self.write_plan(plan.model_copy(update={"looks": (*plan.looks, look)}))

    @property
    def _last(self) -> Path:
        return self.root / ".last"

    def read_last(self) -> str | None:
        """The study that was run last under this root, if its plan is still there."""
        try:
            name = self._last.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return name if name in self.studies() else None

    def write_last(self, name: str) -> None:
        write_text(self._last, f"{self.study(name).folder.name}\n")


# Writing


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write the whole file or none of it: a temporary name beside it, flush, then rename over it.

    durable: also wait until the disk has it, so that a power cut loses nothing; not worth its time for
    progress.
    Raises StoreError where the disk is full, the folder cannot be written, or something else stands in the
    way.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with _explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk with its folder. Some file systems, and Windows, cannot sync one."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _dump(record: Record) -> str:
    return record.model_dump_json(indent=2) + "\n"


@contextlib.contextmanager
def _explained(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if verb == "read" and isinstance(error, FileNotFoundError):
            raise  # what is not there is no fault: the readers answer with None
        raise StoreError(_sentence(error, verb, path)) from error


def _sentence(error: OSError, verb: str, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"cannot {verb} {path}: the disk or the quota is full\n"
            "    free some space and run again: what is finished is kept, only what is missing is done"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"cannot {verb} {path}: {os.strerror(error.errno).lower()}\n"
            "    change the permissions, or choose another place with --output DIR"
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return (
            f"cannot {verb} {path}: a file stands where a folder is needed\n"
            "    move it away, or choose another place with --output DIR"
        )
    return f"cannot {verb} {path}: {error.strerror or error}\n    choose another place with --output DIR"


# Reading

_WAY_OUT = "    nothing was overwritten; move the file away and run again: what it held is done anew"


def _read(path: Path, kind: type[Checked]) -> Checked | None:
    try:
        with _explained("read", path):
            content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        _refuse_schema(path, _schema_version(content))
        raise StoreError(f"{path} {_fault(error, content)}\n{_WAY_OUT}") from error
    _refuse_schema(path, getattr(record, "schema_version", SCHEMA_VERSION))
    return record


def _schema_version(content: bytes) -> Any:
    """What the file says of its schema, whatever else is wrong with it."""
    try:
        document = json.loads(content)
    except ValueError:
        return SCHEMA_VERSION
    return document.get("schema_version", SCHEMA_VERSION) if isinstance(document, dict) else SCHEMA_VERSION


def _refuse_schema(path: Path, version: Any) -> None:
    if version == SCHEMA_VERSION:
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer ablate (schema {version}, this one reads {SCHEMA_VERSION})\n"
            "    upgrade with `pip install --upgrade ablate-bench`, or choose another place with --output DIR"
        )
    raise StoreError(
        f"{path} has schema {version!r}, which this ablate (schema {SCHEMA_VERSION}) does not read\n"
        "    read it with the ablate that wrote it, or choose another place with --output DIR"
    )


def _fault(error: ValidationError, content: bytes) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        state = (
            "is empty"
            if not content.strip()
            else "is torn or was edited by hand: it is no whole JSON document"
        )
        return f"{state} ({first['msg'].removeprefix('Invalid JSON: ')})" if content.strip() else state
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"was edited by hand or is not ours: {where}: {first['msg'].lower()}"


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _read_csv(path: Path) -> list[dict[str, float | None]]:
    try:
        with _explained("read", path), path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, restkey="", restval=None))
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is no text\n{_WAY_OUT}") from error
    numbers: list[dict[str, float | None]] = []
    for line, row in enumerate(rows, start=2):
        try:
            if "" in row or None in row.values():
                raise ValueError(f"{len(row)} cells")
            numbers.append({key: float(cell) if cell else None for key, cell in row.items()})
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path}:{line} is torn or was edited by hand ({error})\n{_WAY_OUT}") from error
    return numbers


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
    import numpy as np

    try:
        with _explained("read", path), np.load(path, allow_pickle=False) as arrays:
            found: dict[str, np.ndarray[Any, Any]] = {name: arrays[name] for name in names}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is torn or was edited by hand ({error})\n{_WAY_OUT}") from error
    lengths = {name: array.shape for name, array in found.items()}
    if len(set(lengths.values())) != 1:
        raise StoreError(f"{path} is torn or was edited by hand: shapes differ ({lengths})\n{_WAY_OUT}")
    return found


def _entries(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Sorted names of the sub-folders that fit the pattern; none where there is no such folder."""
    try:
        with _explained("read", folder), os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if pattern.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []


def _name(value: str, pattern: re.Pattern[str], what: str) -> str:
    """Names become paths, so nothing with a slash or a dot passes: no name can leave the root."""
    if not pattern.fullmatch(value):
        raise StoreError(f"{value!r} is no {what}: it must match {pattern.pattern}")
    return value
