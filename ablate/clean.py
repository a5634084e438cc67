"""What lies in a results tree for nobody: found and told first, removed after.

Kept: every trial and cost that some study's plan names, under whatever name, and everything that a process
still works on. Links are not followed, and `published/` is a tree of its own that nothing here enters.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ablate.errors import StoreError, did_you_mean
from ablate.record import StudyPlan
from ablate.store import Damaged, Holder, Store, explained, together
from ablate.store.locks import look, remove
from ablate.store.paths import ID, TrialPaths
from ablate.store.reading import read_bytes

ORPHANED_TRIAL: Final = "trials that no study names"
ORPHANED_COST: Final = "costs that no study names"
REPLACED: Final = "left of trials that were trained again"
TEMPORARY: Final = "temporary files of processes that are gone"
LEFT_OVER: Final = "what a trial needs only while it runs"
STALE_LOCK: Final = "locks of processes that are gone"
_SHOWN = 10
# Such a file lives for a moment; a clock that is wrong by this much is not believed by anything else either.
_TEMPORARY_AGE_S = 3600.0
_FOREIGN_LOCK_AGE_S = 86400.0
_TEMPORARY_NAME = re.compile(r"\..+\.tmp|\.probe-[0-9a-f]+|\.progress\.json\.\d+|\.checkpoint-.+")
_CHECKPOINT_NAME = re.compile(r"checkpoint-.+\.safetensors")
_TRIAL_NAME = re.compile(rf"({ID.pattern})(\.new|\.old|\.lock(?:\.[0-9A-Za-z]+)?)?")
_IDS_IN_A_PLAN = re.compile(rf"(?<![0-9a-z])(?:{ID.pattern})(?![0-9a-z])")


@dataclass(frozen=True, slots=True)
class Waste:
    """One file or folder to remove. trial_id: whose lock has to be had for it."""

    path: Path
    kind: str
    bytes: int
    trial_id: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """kept: why something that looks like waste stays, one sentence each."""

    waste: tuple[Waste, ...]
    kept: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.waste)


def find_waste(
    store: Store, studies: Sequence[str] = (), *, now: Callable[[], float] = time.time
) -> Findings:
    """All that can go. studies: only what these, and the trials that they name, left behind.

    Raises StoreError when a plan cannot be read: what it names is not known then.
    """
    if store.root.absolute().name == "published":
        raise StoreError(f"{store.root} holds published results: nothing is cleaned there")
    for name in studies:
        if name not in store.studies():
            hint = did_you_mean(name, store.studies()) or f"there is: {', '.join(store.studies()) or 'none'}"
            raise StoreError(f"no study {name!r} was run under {store.root}\n    {hint}")
    return _Search(store, frozenset(studies), now()).findings()


def remove_waste(store: Store, findings: Findings) -> tuple[int, tuple[str, ...]]:
    """Remove what was found. Gives back the bytes that are free now, and why something was left after all.

    Time may have passed since the search: each trial is locked first, and plans are read again.
    """
    named = _named(store, store.studies())
    freed, kept = 0, []
    for each in findings.waste:
        if each.kind in (ORPHANED_TRIAL, ORPHANED_COST) and each.path.name in named:
            kept.append(f"{each.path}: a study names it by now")
        elif each.kind == STALE_LOCK:
            freed += each.bytes * _remove_lock(each.path)
        elif each.trial_id is None:
            _remove(each.path)
            freed += each.bytes
        else:
            try:
                lock = store.take_trial(each.trial_id)
            except StoreError as error:  # a link in it: for a person to look at
                kept.append(str(error))
                continue
            if isinstance(lock, Holder):
                kept.append(f"{each.path}: being trained ({lock})")
                continue
            with lock:
                _remove(each.path)
            freed += each.bytes
    return freed, tuple(kept)


def remove_left_over(store: Store, study: str) -> None:
    """After a run: what processes that were killed left of this study's trials, but no result of any.

    Only what a lock, or the kernel, vouches for: nothing is judged by its age, which follows a wall clock.
    What cannot be read or removed is left to `ablate clean`, which says why.
    """
    with contextlib.suppress(StoreError):
        findings = find_waste(store, [study])
        remove_waste(store, replace(findings, waste=tuple(filter(_is_of_the_dead, findings.waste))))


def _is_of_the_dead(waste: Waste) -> bool:
    if waste.kind == STALE_LOCK:
        with explained("read", waste.path):
            seen = look(waste.path)
        return seen is not None and seen.holder.dead
    if (
        waste.kind == REPLACED
    ):  # a record says why the attempt failed, or is a result that has yet to be moved
        return waste.path.suffix == ".old" or not TrialPaths(waste.path).record.exists()
    return waste.kind in (TEMPORARY, LEFT_OVER) and waste.trial_id is not None


def _remove_lock(path: Path) -> bool:
    with explained("remove", path):
        seen = look(path)
        return seen is not None and remove(path, seen)


def _remove(path: Path) -> None:
    with explained("remove", path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _tuning_of(store: Store, study: str) -> str:
    """What `ablate tune` wrote of its trials; empty where a study was not tuned."""
    content = read_bytes(store.confined(store.study(study).tuning))
    return "" if content is None else content.decode(errors="replace")


def _named(store: Store, studies: Collection[str]) -> frozenset[str]:
    """Every id that these plans mention, wherever: better one too many than one too few."""
    plans: list[StudyPlan | None] = []
    damaged: list[Damaged] = []
    for name in studies:
        try:
            plans.append(store.read_plan(name))
        except Damaged as damage:
            damaged.append(damage)
    if damaged:  # what they name is not known, so nothing could be told from waste
        raise together(damaged)
    texts = [plan.model_dump_json() for plan in plans if plan is not None]
    texts += [_tuning_of(store, name) for name in studies]
    return frozenset(found for text in texts for found in _IDS_IN_A_PLAN.findall(text))


class _Search:
    def __init__(self, store: Store, studies: frozenset[str], now: float) -> None:
        self.store, self.now = store, now
        self.everywhere = not studies
        self.studies = sorted(studies or store.studies())
        # Whatever another study names is not waste, also where only some studies are cleaned.
        self.named = _named(store, store.studies())
        self.concerned = _named(store, self.studies)
        self.kept: list[str] = []

    def findings(self) -> Findings:
        found = [*self._trials(), *self._studies(), *(self._costs() if self.everywhere else ())]
        return Findings(tuple(found), tuple(dict.fromkeys(self.kept)))

    def _trials(self) -> Iterator[Waste]:
        for path in _inside(self.store.root / "trials"):
            if (fits := _TRIAL_NAME.fullmatch(path.name)) is None:
                yield from self._temporary(path)
                continue
            trial_id, suffix = fits.groups()
            if not self.everywhere and trial_id not in self.concerned:
                continue
            if suffix and suffix.startswith(".lock"):
                yield from self._lock(path)
            elif (holder := self._holder(trial_id)) is not None:
                self.kept.append(f"{path.parent / trial_id}: being trained ({holder})")
            elif suffix is None and trial_id not in self.named:
                yield Waste(path, ORPHANED_TRIAL, _size(path), trial_id)
            elif suffix is None:
                yield from self._left_over(path, trial_id)
            elif self.store.trial(trial_id).folder.is_dir() or trial_id not in self.named:
                yield Waste(path, REPLACED, _size(path), trial_id)

    def _holder(self, trial_id: str) -> Holder | None:
        path = self.store.trial_lock(trial_id)
        return None if next(self._lock(path), None) else self.store.holder(trial_id)

    def _lock(self, path: Path) -> Iterator[Waste]:
        """Of a process that is gone; one of another machine once it has not been touched for a day."""
        with explained("read", path):
            seen = look(path)
        if seen is None:
            return
        foreign = not seen.holder.machine_is_ours
        if seen.holder.dead or (foreign and self.now - seen.touched_ns / 1e9 > _FOREIGN_LOCK_AGE_S):
            yield Waste(path, STALE_LOCK, _size(path))

    def _left_over(self, folder: Path, trial_id: str) -> Iterator[Waste]:
        """A trial that has not ended keeps its checkpoints: it goes on from them."""
        ended = self._is_done(trial_id)
        paths = self.store.trial(trial_id)
        for path in _inside(folder):
            goes_with_the_end = path == paths.output or _CHECKPOINT_NAME.fullmatch(path.name)
            if _TEMPORARY_NAME.fullmatch(path.name):
                yield Waste(path, TEMPORARY, _size(path), trial_id)
            elif path == paths.progress or (ended and goes_with_the_end):
                yield Waste(path, LEFT_OVER, _size(path), trial_id)

    def _is_done(self, trial_id: str) -> bool:
        try:
            record = self.store.read_trial(trial_id)
        except Damaged as damage:  # whether its checkpoints are of use is for whoever mends it to say
            self.kept.append(f"{damage.where} {damage.fault}; its trial is left as it is")
            return False
        return record is not None and record.status == "done"

    def _studies(self) -> Iterator[Waste]:
        for name in self.studies:
            paths = self.store.study(name)
            for folder in (paths.folder, paths.tables, paths.figures):
                for path in _inside(folder):
                    yield from self._temporary(path)
        if self.everywhere:
            for path in _inside(self.store.root):
                yield from self._temporary(path)

    def _costs(self) -> Iterator[Waste]:
        for folder in _inside(self.store.root / "costs"):
            if folder.is_dir() and ID.fullmatch(folder.name) and folder.name not in self.named:
                yield Waste(folder, ORPHANED_COST, _size(folder))
                continue
            for path in _inside(folder):
                yield from self._temporary(path)

    def _temporary(self, path: Path) -> Iterator[Waste]:
        """No lock says whether somebody is at it, so its age has to."""
        if not path.is_file() or not _TEMPORARY_NAME.fullmatch(path.name):
            return
        with explained("read", path):
            if self.now - path.stat().st_mtime > _TEMPORARY_AGE_S:
                yield Waste(path, TEMPORARY, _size(path))


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder, links left out; nothing where there is no such folder, or only a link to one."""
    if folder.is_symlink():
        return []
    try:
        with explained("read", folder), os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry in found if not entry.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    """Bytes of all files in it."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if file.is_file() or file.is_symlink())


def render_waste(store: Store, findings: Findings, *, every: bool = False) -> str:
    """A line a kind with the bytes, and the paths under it: all, or the first few."""
    if not findings.waste:
        return "\n".join(["nothing to clean", *(f"kept: {sentence}" for sentence in findings.kept)])
    by_kind: dict[str, list[Waste]] = defaultdict(list)
    for each in findings.waste:
        by_kind[each.kind].append(each)
    lines: list[str] = []
    for kind, waste in by_kind.items():
        lines.append(f"{kind}: {len(waste)}, {readable_bytes(sum(each.bytes for each in waste))}")
        shown = waste if every else waste[:_SHOWN]
        lines += [f"    {each.path.relative_to(store.root)}  {readable_bytes(each.bytes)}" for each in shown]
        if len(waste) > len(shown):
            lines.append(f"    … and {len(waste) - len(shown)} more (--dry-run lists all)")
    lines += [f"kept: {sentence}" for sentence in findings.kept]
    lines.append(f"together {readable_bytes(findings.bytes)} under {store.root}")
    return "\n".join(lines)


def readable_bytes(count: int) -> str:
    """ "512 B", "1.4 MB"; a kB has 1,000."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
