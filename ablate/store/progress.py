"""What a running trial last said of itself: progress.json, news and no record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


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


def read_progress(path: Path) -> Progress | None:
    """None where there is none, or none that can be read."""
    try:
        said = json.loads(path.read_bytes())
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
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
