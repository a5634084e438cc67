"""Where a fit stands: the rows of its curves, and `FitState`, all that it needs to go on after an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ablate.train.recipe import Recipe, Schedule, make_optimizer, make_schedule, trainable


class EpochRow(NamedTuple):
    """One finished epoch, counted from 1.

    Accuracies in percent; lr is that of the first step; the training loss is the one that was minimised, with
    label smoothing; seconds cover the training steps, not the validation.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    images_per_s: float


class StepRow(NamedTuple):
    """One training step, counted from 1 over the whole run. Accuracy in percent of its batch."""

    step: int
    epoch: int
    loss: float
    accuracy: float


@dataclass
class FitState:
    """All that a fit needs to go on after an epoch. No generator is in it: each epoch seeds its own.

    best_epoch: the epoch (from 1; 0: none yet) of the highest validation accuracy; between equals the lower
    validation loss and then the earlier epoch decide. best_weights: the network's state then, on the CPU.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    history: list[EpochRow] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def finish_epoch(self, row: EpochRow) -> None:
        self.history.append(row)
        self.schedule.after_epoch(row.validation_loss)
        best = self.history[self.best_epoch - 1] if self.best_epoch else None
        if best is None or _merit(row) > _merit(best):
            self.best_epoch = row.epoch
            self.best_weights = {
                key: value.detach().to("cpu", copy=True) for key, value in self.network.state_dict().items()
            }

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values; as with torch's own, the tensors are shared with the fit, not copied."""
        parts = {
            name: getattr(self, name).state_dict() for name in ("network", "optimizer", "schedule", "scaler")
        }
        history = [list(row) for row in self.history]
        return {**parts, "history": history, "best_epoch": self.best_epoch, "best_weights": self.best_weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in ("network", "optimizer", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.history = [EpochRow(*row) for row in state["history"]]
        self.best_epoch = state["best_epoch"]
        self.best_weights = dict(state["best_weights"])


def _merit(row: EpochRow) -> tuple[float, float]:
    return row.validation_accuracy, -row.validation_loss


class EpochLog(Protocol):
    """Told of every finished epoch: where curves are written, and where a checkpoint of `state` would be."""

    def epoch(self, row: EpochRow, steps: Sequence[StepRow], state: FitState) -> None: ...


def prepare(network: nn.Module, recipe: Recipe, steps: int, device: torch.device) -> FitState:
    """Everything in place before the first step: network on the device, optimiser, schedule, scaler."""
    network.to(device)
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(trainable(network), recipe)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    return FitState(network, optimizer, make_schedule(optimizer, recipe, steps), scaler)
