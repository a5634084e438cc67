"""How far a trial came before, and what saves how far it comes now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.environment import installed_version
from ablate.record import Environment
from ablate.spec.settings import Settings
from ablate.train import Checkpoints, FitState, TimedSaver
from ablate.train.state import EpochRow, Saver
from ablate.variants import weights_sha256


class StoppedEarly(Exception):
    """`run_trial` was told to stop after an epoch: no failure, and no result either.

    epoch: 1-based, the last one trained; it can be gone on from.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__(f"stopped after epoch {epoch}, as asked")
        self.epoch = epoch


@dataclass
class Kept:
    """How far the trial came before. fit: the state to go on from. wall_s: spent on it until then.

    checkpoints: None where none are asked for.
    """

    checkpoints: Checkpoints | None = None
    fit: Mapping[str, Any] | None = None
    wall_s: float = 0.0
    resumed: int = 0

    @classmethod
    def read(cls, folder: Path, made_by: Mapping[str, str]) -> Kept:
        checkpoints = Checkpoints(folder, made_by)
        found = checkpoints.newest()
        if found is None:
            return cls(checkpoints)
        return cls(checkpoints, found["fit"], found["wall_s"], found["resumed"] + 1)

    @property
    def passed_over(self) -> Sequence[str]:
        return self.checkpoints.passed_over if self.checkpoints else ()

    def hand_over(self) -> Mapping[str, Any] | None:
        """`fit`, and no hold on it any more: it is as large as a network and its optimizer."""
        fit, self.fit = self.fit, None
        return fit

    def saver(self, began: float, say: Callable[[str], None]) -> TimedSaver | None:
        """began: `time.perf_counter` at the start of this attempt."""
        if self.checkpoints is None:
            return None

        def extra() -> dict[str, Any]:
            return {"wall_s": self.wall_s + time.perf_counter() - began, "resumed": self.resumed}

        return TimedSaver(self.checkpoints, extra, on_fault=say)


@dataclass
class Watched:
    """A `Saver` that asks at every epoch's end whether to stop, and saves before it does."""

    saver: Saver | None
    on_epoch: Callable[[Sequence[EpochRow]], bool]

    def due(self, *, epoch_ended: bool) -> bool:
        return epoch_ended or (self.saver is not None and self.saver.due(epoch_ended=False))

    def save(self, state: FitState) -> None:
        ended = state.partial is None
        stop = ended and self.on_epoch(state.history)
        if self.saver is not None and (stop or not ended or self.saver.due(epoch_ended=True)):
            self.saver.save(state)
        if stop:
            raise StoppedEarly(state.epoch)


def watched(saver: Saver | None, on_epoch: Callable[[Sequence[EpochRow]], bool] | None) -> Saver | None:
    return saver if on_epoch is None else Watched(saver, on_epoch)


def made_by(
    settings: Settings,
    trial_id: str,
    identity: Mapping[str, Any],
    environment: Environment,
    weights: Path | None,
) -> dict[str, str]:
    """What a checkpoint depends on beside the trial's identity. One made otherwise is not gone on from: the
    result would belong neither there nor here."""
    names = ("ablate", "torch", "torchvision", "numpy", "device_name", "cuda", "cudnn")
    found = {name: str(getattr(environment, name)) for name in (*names, "threads", "deterministic")}
    if environment.processes != 1:
        found["processes"] = str(environment.processes)
    if settings.model.backbone.startswith("timm:"):
        found["timm"] = str(installed_version("timm"))
    if weights is not None and str(identity.get("weights_sha256")).startswith("trial:"):
        found["weights"] = weights_sha256(weights)  # that trial may have been trained again elsewhere
    return {"trial": trial_id, **found}
