"""What is told of a trial while it runs, and kept of it afterwards: progress, curves as CSV, log lines."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import torch
from torch import Tensor

from ablate.train.state import EpochRow, FitState, StepRow


class CurveFiles:
    """An `EpochLog` that writes CSV files and log as epochs end, so an interrupted fit leaves what it has.

    Floats are written in full, so reading gives back the same number.
    """

    def __init__(self, epochs: Path, steps: Path, log: Path, *, resumed: bool = False) -> None:
        """resumed: the log goes on after what it holds."""
        self._files = [path.open("w", encoding="utf-8", newline="") for path in (epochs, steps)]
        self._log: TextIO = log.open("a" if resumed else "w", encoding="utf-8", newline="")
        self._files.append(self._log)
        self._epochs, self._steps = (csv.writer(file, lineterminator="\n") for file in self._files[:2])
        self._epochs.writerow(EpochRow._fields)
        self._steps.writerow(StepRow._fields)

    def __enter__(self) -> CurveFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())  # the record that comes after vouches for these files
            file.close()

    def epoch(self, row: EpochRow, steps: Sequence[StepRow], state: FitState) -> None:
        self._epochs.writerow(row)
        self._steps.writerows(steps)
        best = " (best so far)" if state.best_epoch == row.epoch else ""
        stage = f"stage {row.stage} of {len(state.spans)}, " if len(state.spans) > 1 else ""
        self.line(
            f"{stage}epoch {row.epoch}: lr {row.lr:.3g}, train loss {row.train_loss:.4f}, "
            f"accuracy {row.train_accuracy:.2f} %; validation loss {row.validation_loss:.4f}, "
            f"accuracy {row.validation_accuracy:.2f} %{best}; {row.images_per_s:.0f} images/s"
        )

    def resume(self, state: FitState) -> None:
        self._epochs.writerows(state.history)
        self._steps.writerows(state.steps)
        under_way = f" and {len(state.partial.sizes)} steps of the next" if state.partial else ""
        self.line(f"goes on after epoch {state.epoch}{under_way}, from a checkpoint")

    def line(self, text: str) -> None:
        """One dated line of the log; everything written so far reaches the files."""
        self._log.write(f"{_now()} {text}\n")
        for file in self._files:
            file.flush()


class ProgressFile:
    """progress.json, replaced in one piece each time, so that a reader never meets half of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")

    def __call__(self, figures: dict[str, Any]) -> None:
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in figures.items()
        }
        written = {"pid": os.getpid(), "host": platform.node(), **finite, "updated": _now()}
        self._temporary.write_text(json.dumps(written), encoding="utf-8")
        self._temporary.replace(self.path)

    def remove(self) -> None:
        self._temporary.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Progress:
    """Tells the caller how far the fit is, at most twice a second.

    epochs: in all stages. steps: of an epoch; `begin` sets those of an epoch that is cut short.
    """

    INTERVAL_S = 0.5

    def __init__(
        self,
        tell: Callable[[dict[str, Any]], None] | None,
        epochs: int,
        steps: int,
        device: torch.device,
        stages: int = 1,
    ) -> None:
        self.tell, self.epochs, self.steps, self.stages = tell, epochs, steps, stages
        self.where: dict[str, int] = {}
        # Reading a running loss makes the host wait for any device but the CPU.
        self.device = device
        self.reads_running = device.type == "cpu"
        self.figures: dict[str, Any] = {"loss": None, "accuracy": None, "images_per_s": None}
        self.began = time.monotonic()
        self.told = -float("inf")

    def begin(self, stage: int, steps: int) -> None:
        """An epoch of so many steps begins in this stage, counted from 1."""
        self.steps = steps
        if self.stages > 1:
            self.where = {"stage": stage, "stages": self.stages}

    def step(self, epoch: int, sizes: list[int], losses: list[Tensor], hits: list[Tensor]) -> None:
        now = time.monotonic()
        if self.tell is None or now - self.told < self.INTERVAL_S:
            return
        self.told = now
        if self.reads_running:
            count = sum(sizes)
            self.figures = {
                "loss": float(torch.stack(losses).mean()),
                "accuracy": 100 * float(torch.stack(hits).sum()) / count,
                "images_per_s": count / (now - self.began),
            }
        self.tell(
            {
                "epoch": epoch + 1,
                "epochs": self.epochs,
                "step": len(sizes),
                "steps": self.steps,
                **self.where,
                **self.figures,
            }
        )

    def finished(self, row: EpochRow) -> None:
        self.figures = {
            "loss": row.train_loss,
            "accuracy": row.train_accuracy,
            "images_per_s": row.images_per_s,
        }
        self.began = time.monotonic()
