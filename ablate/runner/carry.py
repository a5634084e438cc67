"""A trial on a machine that does not see the results tree: what travels to it, and what comes back.

The trial's lock is held here meanwhile, and its record is written here, last: for everybody else it is a
trial like any other. There it has a tree of its own, which knows of nothing but this trial and what it needs.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ablate.errors import MachineError, StoreError
from ablate.execute.on_ray.files import AtOnce, Lacking, Parcel
from ablate.record import TrialRecord
from ablate.runner.again import recover, start_afresh
from ablate.runner.job import Elsewhere, Job, checkpoints_of, file_record, has_come_since
from ablate.store import Holder, Lock, Store, explained, sha256_of
from ablate.store.files import temporary_beside

# Names of parcels: a path in the other tree, but for decoded images, which go into the cache there.
_IMAGES = "images"
_WEIGHTS = "weights"


@dataclass
class JobCarry:
    """What is needed of a job, for `on_ray.files`."""

    def depart(self, job: Job) -> JobTrip | AtOnce:
        """Raises StoreError where the tree cannot be written, OSError where a file cannot be read."""
        store = Store(job.root)
        lock = store.take_trial(job.trial_id)
        if isinstance(lock, Holder):
            return AtOnce(Elsewhere(lock))
        try:
            recover(job.paths, store.trial_again(job.trial_id))
            if has_come_since(job, store.read_trial(job.trial_id)):
                lock.release()
                return AtOnce(Elsewhere(None))
            if job.again:
                start_afresh(job.working)
            return JobTrip(job, lock, tuple(_parcels(job)))
        except BaseException:
            lock.release()
            raise


@dataclass
class JobTrip:
    """See `on_ray.files.Trip`."""

    job: Job
    lock: Lock
    parcels: tuple[Parcel, ...]
    news: Sequence[str] = field(default=("progress.json",))

    @property
    def leaves(self) -> str:
        return _folder(self.job.trial_id)

    @property
    def lacking(self) -> Lacking:
        return partial(lacking, self.leaves)

    def item(self, scratch: str) -> Job:
        root, weights = Path(scratch), self.job.weights
        if weights is not None:
            weights = root / _weights_name(self.job, weights)
        return replace(self.job, root=root, weights=weights, again=False, replaces=None)

    def receive(self, name: str, pieces: Iterable[bytes]) -> None:
        path = PurePosixPath(name)
        paths = self.job.working
        if path.is_absolute() or ".." in path.parts:
            raise StoreError(f"{name!r} came back from a node: it would leave the trial's folder")
        if path.name == paths.record.name or path.suffix in (".tmp", ".part"):
            return
        target = Store(self.job.root).confined(paths.folder / path)
        self.lock.check()
        with explained("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_beside(target)
            try:
                with temporary.open("xb") as file:
                    file.writelines(pieces)
                temporary.replace(target)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def arrived(self, value: TrialRecord | Elsewhere) -> TrialRecord | Elsewhere:
        if isinstance(value, Elsewhere):
            raise MachineError("a trial was trained in a tree of its own, and yet by somebody else")
        self.lock.check_now()
        written = file_record(self.job, value)
        if written.files != value.files:
            changed = sorted({*written.files.items()} ^ {*value.files.items()})
            raise StoreError(f"files of trial {self.job.trial_id} changed on their way here: {changed}")
        return written

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.job.working.progress.unlink(missing_ok=True)
        self.lock.release()


def _folder(trial_id: str) -> str:
    return f"trials/{trial_id}"


def _parcels(job: Job) -> Iterator[Parcel]:
    """entry.json of an image cache last: it makes the entry one."""
    yield from _images(job)
    if job.weights is not None and job.weights.is_file():
        yield _parcel(job.weights, _weights_name(job, job.weights))
    if job.after is not None:
        record = Store(job.root).trial(job.after).record
        if record.is_file():
            yield _parcel(record, f"{_folder(job.after)}/{record.name}")
    begun = () if job.again else tuple(job.paths.folder.glob("*"))
    for path in dict.fromkeys((*begun, *checkpoints_of(job).checkpoints)):
        if path.is_file() and path != job.paths.record and path.suffix != ".tmp":
            yield _parcel(path, f"{_folder(job.trial_id)}/{path.name}")


def _images(job: Job) -> Iterator[Parcel]:
    from ablate.data.cache import cache_folder

    fingerprint = str(job.identity["data_fingerprint"])
    entry = cache_folder() / _IMAGES / fingerprint
    for path in sorted(entry.glob("*"), key=lambda path: path.suffix == ".json"):
        # The name says what is in it: the fingerprint is over all the content.
        yield Parcel(path, f"{_IMAGES}/{fingerprint}/{path.name}", "")


def _weights_name(job: Job, weights: Path) -> str:
    if job.after is not None:
        return f"{_folder(job.after)}/{weights.name}"
    return f"{_WEIGHTS}/{str(job.identity['weights_sha256'])[:16]}/{weights.name}"


def _parcel(path: Path, name: str) -> Parcel:
    return Parcel(path, name, sha256_of(path) or "")


def lacking(leaves: str, asked: tuple[str, tuple[tuple[str, str], ...]]) -> list[tuple[int, str]]:
    """On the node: which of the parcels are not there, each by its position, and where it is to be written.

    What an attempt before this one left in the trial's folder, and is not sent now, goes.
    """
    scratch, parcels = asked
    root = Path(scratch)
    sent = {name for name, _ in parcels}
    for path in (root / leaves).glob("*"):
        if f"{leaves}/{path.name}" not in sent:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = []
    for position, (name, sha256) in enumerate(parcels):
        target = _place(root, name)
        if target is not None and (not sha256 or sha256_of(target) != sha256):
            found.append((position, str(target)))
    return found


def _place(root: Path, name: str) -> Path | None:
    """None for a part of an image cache that is there whole."""
    first, _, rest = name.partition("/")
    if first != _IMAGES:
        return root / name
    from ablate.data.cache import ImageCache, cache_folder

    cache = ImageCache(cache_folder())
    fingerprint = rest.partition("/")[0]
    whole: Any = cache.open(fingerprint, "", verify=False)
    return cache.root / name if whole is None else None
