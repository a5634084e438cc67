"""What a trial leaves in its folder beside predictions and record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import yaml

from ablate.models import Network
from ablate.spec.settings import Settings
from ablate.store import TrialPaths
from ablate.train import CurveFiles, EpochRow, FitState, ProgressFile, StepRow


@contextmanager
def open_files(
    paths: TrialPaths, on_progress: Callable[[dict[str, Any]], None] | None, *, resumed: bool
) -> Iterator[tuple[CurveFiles, Callable[[dict[str, Any]], None]]]:
    """The curves and the log, open while the trial runs; progress.json goes when it ends, however it ends."""
    progress = ProgressFile(paths.progress)

    def report(figures: dict[str, Any]) -> None:
        progress(figures)
        if on_progress is not None:
            on_progress(figures)

    try:
        with CurveFiles(paths.epochs, paths.steps, paths.log, resumed=resumed) as log:
            try:
                yield log, report
            except BaseException as error:
                log.line(f"ended by {type(error).__name__}: {error}")
                raise
    finally:
        progress.remove()


class NoFiles:
    """In place of `CurveFiles` in a process that writes nothing: another of the same trial does."""

    def epoch(self, row: EpochRow, steps: Sequence[StepRow], state: FitState) -> None: ...

    def resume(self, state: FitState) -> None: ...

    def line(self, text: str) -> None: ...


@contextmanager
def no_files() -> Iterator[tuple[NoFiles, Callable[[dict[str, Any]], None]]]:
    yield NoFiles(), lambda _: None


def dump_settings(settings: Settings) -> str:
    """settings.yaml: every setting of the trial, defaults included."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def write_weights(network: Network, path: Path) -> None:
    safetensors.torch.save_model(network, str(path))
    path.chmod(0o644)  # safetensors leaves it to its owner alone, and trees are shared
    sync(path)


def sync(path: Path) -> None:
    """The record that comes after vouches for this file, so it has to be on the disk by then."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
