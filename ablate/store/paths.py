"""Where every file of a results tree lies, and which names may become paths.

A file name is a property of `TrialPaths` or `StudyPaths` and stands nowhere else.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ablate.errors import StoreError

STUDY_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
MACHINE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
ID: Final = re.compile(r"[0-9a-f]{4,64}")
# Folders of the root that are no study's; `published` is a results tree of its own.
RESERVED_NAMES: Final = frozenset({"trials", "costs", "published"})


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

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """How far a trial that has not ended came; temporary files of a process that was killed, too."""
        return tuple(sorted((*self.folder.glob("checkpoint-*"), *self.folder.glob(".checkpoint-*"))))

    @property
    def vouched(self) -> tuple[Path, ...]:
        """What the record of a finished trial vouches for. Not the log: lines may still come to it."""
        return self.settings, self.epochs, self.steps, self.predictions, self.weights


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
    def report_tex(self) -> Path:
        return self.folder / "report.tex"

    @property
    def report_html(self) -> Path:
        return self.folder / "report.html"

    @property
    def look_html(self) -> Path:
        return self.folder / "look.html"

    @property
    def look(self) -> Path:
        """Figures and figures' numbers of `ablate look`."""
        return self.folder / "look"

    @property
    def tune(self) -> Path:
        """What `ablate tune` found, and the database of its search."""
        return self.folder / "tune"

    @property
    def tuning(self) -> Path:
        return self.tune / "tuning.json"

    @property
    def promoted(self) -> Path:
        """Of a study that `ablate tune --promote` wrote: which tuning its variants come from."""
        return self.tune / "promoted.json"

    @property
    def tensorboard(self) -> Path:
        """Event files of the study's trials: `tensorboard --logdir` shows them."""
        return self.folder / "tensorboard"

    @property
    def mlflow(self) -> Path:
        """MLflow's own files of this study, where no server was named."""
        return self.folder / "mlflow"

    def tracking_lock(self, tracker: str) -> Path:
        """Who writes to this tracker now."""
        return self.folder / f".{tracker}.lock"

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"


def checked_name(value: str, pattern: re.Pattern[str], what: str) -> str:
    """Names become paths, so nothing with a slash or a dot passes: no name can leave the root."""
    if not pattern.fullmatch(value):
        raise StoreError(f"{value!r} is no {what}: it must match {pattern.pattern}")
    return value


def confined(path: Path, root: Path) -> Path:
    """`path`, unless a symbolic link on the way leads out of the tree: StoreError. The root may be a link."""
    if _has_no_link(path, root):  # nearly always, and ten times as fast to see
        return path
    if not path.resolve().is_relative_to(root.resolve()):
        raise StoreError(
            f"{path} lies behind a symbolic link that leads out of the results tree, to {path.resolve()}: "
            "it is neither read nor written\n"
            "    copy what it points to into the tree, or name that other tree with --output DIR"
        )
    return path


def _has_no_link(path: Path, root: Path) -> bool:
    """Whether every step from the root down to the path is known to be none that leads elsewhere."""
    base, full = str(root), str(path)
    if not full.startswith(base + os.sep) or ".." in path.parts:
        return False
    for name in path.parts[len(root.parts) :]:
        base = f"{base}{os.sep}{name}"
        if os.path.islink(base):  # noqa: PTH114 - asked ten thousand times for a large report
            return False
    return True
