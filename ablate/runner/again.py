"""A trial that is trained again: beside its old folder, which stays whole until the new one is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablate.errors import StoreError
from ablate.record import TrialRecord
from ablate.store import TrialPaths
from ablate.store.reading import read_record


def take_over(paths: TrialPaths, new: TrialPaths) -> None:
    """Put the finished folder `new` in the place of the old one.

    Two renames: a reader finds the old trial, for an instant none, then the new one, and never a mixture. A
    crash between the two loses neither; `recover` finishes what it left.
    """
    old = _old(paths)
    with _explained(paths):
        if old.exists():
            shutil.rmtree(old)
        paths.folder.rename(old)
        new.folder.rename(paths.folder)
    shutil.rmtree(old, ignore_errors=True)


def recover(paths: TrialPaths, new: TrialPaths) -> None:
    """After a crash amid `take_over`: the new trial takes its place, or else the old one its own."""
    if paths.folder.exists():
        if _is_done(new):
            take_over(paths, new)
        return
    if not _old(paths).exists():
        return
    with _explained(paths):
        (new.folder if _record(new) is not None else _old(paths)).rename(paths.folder)


def _is_done(paths: TrialPaths) -> bool:
    record = _record(paths)
    return record is not None and record.status == "done"


def _record(paths: TrialPaths) -> TrialRecord | None:
    """What cannot be read is no record that could take another's place."""
    try:
        return read_record(paths.record, TrialRecord)
    except StoreError:
        return None


def start_afresh(new: TrialPaths) -> None:
    """What an attempt before this one left in the folder is of no use."""
    with _explained(new):
        if new.folder.exists():
            shutil.rmtree(new.folder)


def _old(paths: TrialPaths) -> Path:
    return paths.folder.with_name(f"{paths.folder.name}.old")


@contextmanager
def _explained(paths: TrialPaths) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{paths.folder} cannot be replaced: {error.strerror or error}") from error
