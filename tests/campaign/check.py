"""What must hold: after every fault, and of the tree at the end."""

from __future__ import annotations

import csv
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from study import Folder

from ablate.report import MEASURED_KEYS, without_measured
from ablate.store import Store

# What may lie in a tree when nothing runs and everything is done.
_ALLOWED = re.compile(
    r"\.last|costs/[0-9a-f]+/[a-z0-9-]+\.json"
    r"|trials/[0-9a-f]+/(settings\.yaml|record\.json|epochs\.csv|steps\.csv|predictions\.npz|log\.txt)"
    r"|campaign/(study\.yaml|plan\.json|report\.(md|json|html|tex)|tables/[^/.]+\.(csv|tex)|figures/[^/.]+\.(svg|png))"
)

# Drawn from what was measured, which differs from run to run.
_MEASURED_FIGURES = ("accuracy-latency", "accuracy-memory")


def comparable(folder: Folder) -> dict[str, Any]:
    """The report without its measured lines, tables, keys and columns; of every trial, what it learned."""
    at = folder.results / "campaign"
    found: dict[str, Any] = {
        "report.md": without_measured((at / "report.md").read_text()),
        "report.json": _without_measured_keys(json.loads((at / "report.json").read_text())),
    }
    for table in sorted((at / "tables").glob("*.csv")):
        rows = list(csv.reader(table.read_text().splitlines()))
        kept = [column for column, name in enumerate(rows[0]) if name not in MEASURED_KEYS]
        found[table.name] = [[row[column] for column in kept] for row in rows]
    for figure in sorted((at / "figures").glob("*.svg")):
        if figure.stem in _MEASURED_FIGURES:
            continue
        found[figure.name] = figure.read_bytes()
    store = Store(folder.results)
    for trial_id in store.trial_ids():
        record = store.read_trial(trial_id)
        found[f"{trial_id} metrics"] = None if record is None else record.metrics
        predictions = store.read_predictions(trial_id) or {}
        found[f"{trial_id} predictions"] = {
            name: np.asarray(one).tobytes() for name, one in predictions.items()
        }
        found[f"{trial_id} epochs"] = [_without_measured_keys(row) for row in store.read_epochs(trial_id)]
        found[f"{trial_id} steps"] = store.trial(trial_id).steps.read_bytes()
        store.check_files(trial_id)
    return found


def _without_measured_keys(document: Any) -> Any:
    measured = {*MEASURED_KEYS, "seconds"}
    if isinstance(document, dict):
        return {key: _without_measured_keys(value) for key, value in document.items() if key not in measured}
    return [_without_measured_keys(value) for value in document] if isinstance(document, list) else document


def differences(ours: dict[str, Any], undisturbed: dict[str, Any]) -> list[str]:
    names = sorted({*ours, *undisturbed})
    return [f"{name} differs" for name in names if ours.get(name) != undisturbed.get(name)]


def left_over(folder: Folder, *, temporaries: bool = False) -> list[str]:
    """Files that a finished tree must not hold.

    temporaries: let pass what `ablate clean` alone removes: those of the study itself, and the folder of an
    attempt to train a finished trial again that failed, whose record says why.
    """
    names = (str(path.relative_to(folder.results)) for path in folder.results.rglob("*") if not path.is_dir())
    found = [name for name in sorted(names) if not _ALLOWED.fullmatch(name)]
    if temporaries:
        of_study = re.compile(r"(campaign/.*|trials/)?\.[^/]+\.tmp|campaign/.*\.tmp|trials/[0-9a-f]+\.new/.*")
        found = [name for name in found if not of_study.fullmatch(name)]
    return [f"{name} is left" for name in found]


def age(folder: Folder, by_s: float) -> None:
    """As if this had passed since the last run: temporary files are told from those in use by their age."""
    then = time.time() - by_s
    for path in folder.results.rglob(".*.tmp"):
        os.utime(path, (then, then))


def half_written(folder: Folder) -> list[str]:
    """Records that no reader takes: none may ever be, whatever was killed."""
    found = []
    for path in sorted(folder.results.rglob("*.json")):
        # Progress is news and never synced to the disk; it may not be torn either, as a rename brings it.
        if path.name.startswith("."):
            continue
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            continue
        except ValueError as error:
            found.append(f"{path.relative_to(folder.results)} is torn: {error}")
    return found


class Kept:
    """What was finished before a fault, to be held against what is there after it."""

    def __init__(self, folder: Folder, forced: bool = False) -> None:
        self.folder, self.forced = folder, forced
        self.before = {name: self._content(name) for name in folder.done()}

    def _content(self, name: str, suffix: str = "") -> bytes | None:
        path = Path(self.folder.results, "trials", name + suffix, "record.json")
        return path.read_bytes() if path.exists() else None

    def losses(self) -> list[str]:
        found = []
        for name, before in self.before.items():
            now = self._content(name)
            if self.forced:  # it may have been replaced by then, or stand between two renames
                beside = [self._content(name, suffix) for suffix in ("", ".old", ".new")]
                if not any(one is not None and json.loads(one)["status"] == "done" for one in beside):
                    found.append(f"trial {name} was done and is lost")
            elif now != before:
                found.append(
                    f"trial {name} was done, and its record {'is lost' if now is None else 'changed'}"
                )
        return found
