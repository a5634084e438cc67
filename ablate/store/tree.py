"""One results tree: reading, writing, iterating over what lies in it, and locking what is trained."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ablate.errors import StoreError
from ablate.record import CostRecord, Look, Record, StudyPlan, TrialRecord
from ablate.store.files import explained, sha256_of, sha256_of_bytes, write_text
from ablate.store.first_written import merged
from ablate.store.locks import Holder, Lock, Seen, Watch, look, remove, take
from ablate.store.paths import (
    ID,
    MACHINE_NAME,
    RESERVED_NAMES,
    STUDY_NAME,
    StudyPaths,
    TrialPaths,
    checked_name,
    confined,
)
from ablate.store.progress import Progress, read_progress
from ablate.store.reading import Damaged, entries, read_arrays, read_bytes, read_csv, read_record

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREDICTION_ARRAYS: Final = ("label", "predicted", "predicted_best", "probability", "index")


class Store:
    """One results tree. Opening it touches no disk; in an absent tree a reader finds nothing, no error."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def trial(self, trial_id: str) -> TrialPaths:
        return TrialPaths(self.root / "trials" / checked_name(trial_id, ID, "trial id"))

    def trial_again(self, trial_id: str) -> TrialPaths:
        """Where a trial that has a record already is trained again; no reader takes it for a trial."""
        return TrialPaths(self.root / "trials" / f"{checked_name(trial_id, ID, 'trial id')}.new")

    def trial_lock(self, trial_id: str) -> Path:
        """Beside the trial's folder, which is replaced as a whole when the trial is trained again."""
        return self.root / "trials" / f"{checked_name(trial_id, ID, 'trial id')}.lock"

    def study(self, name: str) -> StudyPaths:
        if name in RESERVED_NAMES:
            raise StoreError(
                f"no study can be named {name!r}: that folder of {self.root} holds something else"
            )
        return StudyPaths(self.root / checked_name(name, STUDY_NAME, "study name"))

    def cost(self, cost_id: str, machine: str) -> Path:
        folder = self.root / "costs" / checked_name(cost_id, ID, "cost id")
        return folder / f"{checked_name(machine, MACHINE_NAME, 'machine name')}.json"

    def prepare(self) -> None:
        """Create the root and prove that it can be written, before hours are spent on something to write."""
        probe = self.root / f".probe-{secrets.token_hex(4)}"
        with explained("write", self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_bytes(b"")
            finally:
                probe.unlink(missing_ok=True)

    # Trials

    def read_trial(self, trial_id: str) -> TrialRecord | None:
        """None where no record lies. Raises StoreError for one that is torn, edited, or of another schema."""
        path = self.confined(self.trial(trial_id).record)
        record = read_record(path, TrialRecord)
        if record is not None and record.id != trial_id:
            raise Damaged(path, f"is of another trial: it says {record.id}, its folder says {trial_id}")
        return record

    def write_trial(self, record: TrialRecord) -> TrialRecord:
        """The last act of a trial: from here on it counts. Gives back what was written: see `vouching`."""
        return self._write_record(record, self.trial(record.id))

    def write_trial_again(self, record: TrialRecord) -> TrialRecord:
        """The record of a trial that was trained again, in its folder beside the old one."""
        return self._write_record(record, self.trial_again(record.id))

    def _write_record(self, record: TrialRecord, paths: TrialPaths) -> TrialRecord:
        self.confined(paths.record)
        written = vouching(record, paths)
        write_text(paths.record, _dump(written))
        return written

    def trials(self) -> Iterator[TrialRecord]:
        """Every recorded trial, by id. A trial that has not ended is no part of it."""
        for trial_id in self.trial_ids():
            record = self.read_trial(trial_id)
            if record is not None:
                yield record

    def trial_ids(self) -> list[str]:
        """Of every trial that has a folder, ended or not."""
        return entries(self.root / "trials", ID)

    def read_epochs(self, trial_id: str, record: TrialRecord | None = None) -> list[dict[str, float | None]]:
        """Rows of epochs.csv, an empty cell as None; no rows where there is no file.

        record: of the trial, which need not be read once more to see what it vouches for.
        """
        return self._read_curve(trial_id, self.trial(trial_id).epochs, record)

    def read_steps(self, trial_id: str) -> list[dict[str, float | None]]:
        """Rows of steps.csv: step, epoch, loss, accuracy (percent)."""
        return self._read_curve(trial_id, self.trial(trial_id).steps)

    def _read_curve(
        self, trial_id: str, path: Path, record: TrialRecord | None = None
    ) -> list[dict[str, float | None]]:
        content = read_bytes(self.confined(path))
        if content is None:
            return []
        rows = read_csv(path, content)
        self._check_vouched(trial_id, path, content, record)
        return rows

    def read_predictions(
        self, trial_id: str, record: TrialRecord | None = None
    ) -> dict[str, NDArray[Any]] | None:
        """The arrays of predictions.npz, each [N] over the test images; None where there is no file.

        label, predicted (last epoch), predicted_best (best validation epoch), index (row in the source's test
        set): int64; probability (of the predicted class, last epoch): float32. record: see `read_epochs`.
        """
        path = self.trial(trial_id).predictions
        content = read_bytes(self.confined(path))
        if content is None:
            return None
        arrays = read_arrays(path, content, PREDICTION_ARRAYS)
        self._check_vouched(trial_id, path, content, record)
        return arrays

    def check_files(self, trial_id: str) -> None:
        """Raises StoreError for a file that is not the one the record vouches for. It may be absent."""
        for path in self.trial(trial_id).vouched:
            self._check_vouched(trial_id, path)

    def _check_vouched(
        self, trial_id: str, path: Path, content: bytes | None = None, record: TrialRecord | None = None
    ) -> None:
        record = record or self.read_trial(trial_id)
        vouched = None if record is None else record.files.get(path.name)
        if vouched is None:
            return
        found = sha256_of(self.confined(path)) if content is None else sha256_of_bytes(content)
        if found not in (None, vouched):
            raise Damaged(
                path,
                "is not the file that record.json beside it vouches for (SHA-256): the folder holds "
                "files of two runs, or the file was edited",
                f"if it was copied from another machine, copy the whole folder {path.parent.name} again, "
                "from one of them; else remove the folder and run again",
            )

    def read_progress(self, trial_id: str) -> Progress | None:
        """None where there is none, or none that can be read: progress is news, not a record.

        Of a trial that is trained again, what its new attempt says.
        """
        again = read_progress(self.trial_again(trial_id).progress)
        return again or read_progress(self.trial(trial_id).progress)

    # Locks

    def take_trial(self, trial_id: str) -> Lock | Holder:
        """The right to train this trial and to write its files, or who has it.

        Raises StoreError where the tree cannot be written, or files of the trial are links that lead out of
        it: what is written to them would land elsewhere.
        """
        taken = take(self.confined(self.trial_lock(trial_id)))
        try:
            for paths in (self.trial(trial_id), self.trial_again(trial_id)):
                self._confined_whole(paths.folder)
        except BaseException:
            if isinstance(taken, Lock):
                taken.release()
            raise
        return taken

    def holder(self, trial_id: str) -> Holder | None:
        """Who trains this trial, as far as one look can tell; None, too, for one that is known to be dead."""
        seen = self.look_at_lock(trial_id)
        return None if seen is None or seen.holder.dead else seen.holder

    def look_at_lock(self, trial_id: str) -> Seen | None:
        path = self.trial_lock(trial_id)
        with explained("read", path):
            return look(path)

    def free(self, trial_id: str, watch: Watch) -> bool:
        """Whether the trial can be taken. To be asked again and again, with the same `watch`.

        A lock of a dead process, or one that `watch` saw stand still long enough, is removed.
        """
        seen = self.look_at_lock(trial_id)
        if seen is None:
            return True
        path = self.trial_lock(trial_id)
        if seen.holder.dead or watch.stands_still(path, seen):
            with explained("write", path):
                return remove(path, seen, watch)
        return False

    # Costs

    def read_costs(self, cost_id: str) -> tuple[CostRecord, ...]:
        """One record a machine, by machine name."""
        read = map(self.read_cost, self.cost_paths(cost_id))
        return tuple(record for record in read if record is not None)

    def cost_paths(self, cost_id: str) -> list[Path]:
        folder = self.root / "costs" / checked_name(cost_id, ID, "cost id")
        with explained("read", folder):
            return sorted(path for path in folder.glob("*.json") if MACHINE_NAME.fullmatch(path.stem))

    def read_cost(self, path: Path) -> CostRecord | None:
        return read_record(self.confined(path), CostRecord)

    def write_cost(self, record: CostRecord) -> None:
        write_text(self.confined(self.cost(record.id, record.machine)), _dump(record))

    def cost_ids(self) -> list[str]:
        return entries(self.root / "costs", ID)

    # Studies

    def studies(self) -> tuple[str, ...]:
        """Names of the studies that were planned under this root."""
        names = entries(self.root, STUDY_NAME)
        return tuple(name for name in names if name not in RESERVED_NAMES and self.study(name).plan.is_file())

    def read_plan(self, name: str) -> StudyPlan | None:
        """None where none lies. Raises StoreError for one that is torn, edited, or of another schema."""
        paths = self.study(name)
        plan = read_record(self.confined(paths.plan), StudyPlan)
        if plan is not None and plan.study != name:
            raise StoreError(
                f"{paths.plan} is the plan of study {plan.study!r}, but its folder is named {name!r}\n"
                f"    name the folder {plan.study!r} again; a copy under another name needs another tree"
            )
        return plan

    def write_plan(self, plan: StudyPlan) -> StudyPlan:
        """Write the plan, and give back what was written.

        `planned` stays the date on which these claims and this analysis were first written, `first_written`
        says so of each, and no look is ever forgotten: together they show what came before the results were
        seen, and what after.
        """
        before = self.read_plan(plan.study)
        dates = merged(plan, before)
        if before is not None:
            same = before.analysis_hash == plan.analysis_hash
            looks = (*before.looks, *(look for look in plan.looks if look not in before.looks))
            plan = plan.model_copy(
                update={
                    "planned": before.planned if same else plan.planned,
                    "looks": looks,
                    "workers": plan.workers or before.workers,
                },
            )
        plan = plan.model_copy(update={"first_written": dates})
        paths = self.study(plan.study)
        for folder in (paths.folder, paths.tables, paths.figures):
            self._confined_whole(folder)
        write_text(paths.plan, _dump(plan))
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

    # Links

    def confined(self, path: Path) -> Path:
        """`path`; StoreError where a symbolic link on the way leads out of the tree."""
        return confined(path, self.root)

    def _confined_whole(self, folder: Path) -> None:
        """The folder and what lies in it, for those who write there by name."""
        self.confined(folder)
        if folder.is_dir():
            with explained("write", folder):
                for path in folder.iterdir():
                    if path.is_symlink():
                        self.confined(path)


def vouching(record: TrialRecord, paths: TrialPaths) -> TrialRecord:
    """The record of a finished trial with the digests of the files that lie in its folder now.

    Folders of two machines can be copied over one another; a record shows which files are its own.
    """
    if record.status != "done":
        return record
    digests = {path.name: sha256_of(path) for path in paths.vouched}
    return record.model_copy(update={"files": {name: said for name, said in digests.items() if said}})


def _dump(record: Record) -> str:
    return record.model_dump_json(indent=2) + "\n"
