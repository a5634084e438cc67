"""Where a fit stands: the rows of its curves, and `FitState`, all that it needs to go on from any step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ablate.train.groups import check_recipe, freeze_all_but, parameter_groups, trainable
from ablate.train.recipe import Recipe, Span, make_optimizer, timetable
from ablate.train.schedule import Schedule, make_schedule


class EpochRow(NamedTuple):
    """One finished epoch, counted from 1 over all stages.

    Accuracies in percent; lr is the highest of any parameter at the first step; the training loss is the one
    that was minimised, with label smoothing; seconds cover the training steps, not the validation. stage:
    counted from 1.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    images_per_s: float
    stage: int = 1


class StepRow(NamedTuple):
    """One training step, counted from 1 over the whole run. Accuracy in percent of its batch."""

    step: int
    epoch: int
    loss: float
    accuracy: float


@dataclass
class Partial:
    """An epoch that is under way: images, loss and hits of each step so far, left on the device.

    generators: torch's global ones, from which dropout draws, as they were after these steps. Order and
    augmentation need none: the epoch's own seed gives them.
    """

    sizes: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0  # of runs before this one
    generators: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class FitState:
    """All that a fit needs to go on. No generator is in it after an epoch: each epoch seeds its own.

    spans: the stages on the clock of the run. learnable: parameters that are not the network's own constants.
    best_epoch: the epoch (from 1; 0: none yet) of the highest validation accuracy; between equals the lower
    validation loss and then the earlier epoch decide. best_weights: the network's state then, on the CPU.
    steps: rows of all finished epochs' steps. partial: the epoch that is under way, None between two.
    Set by `enter`: stage (from 0), its optimizer and schedule, and `frozen`, the modules in eval mode.
    """

    network: nn.Module
    spans: tuple[Span, ...]
    scaler: torch.amp.GradScaler
    learnable: tuple[nn.Parameter, ...]
    history: list[EpochRow] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    steps: list[StepRow] = field(default_factory=list)
    partial: Partial | None = None
    stage: int = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    schedule: Schedule = field(init=False)
    frozen: list[nn.Module] = field(init=False)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    @property
    def span(self) -> Span:
        return self.spans[self.stage]

    def enter(self, stage: int) -> None:
        """Begin a stage: freeze what it does not train; a new optimiser and a new schedule."""
        self.stage = stage
        self.frozen = freeze_all_but(self.network, self.span.recipe.train, self.learnable)
        groups = parameter_groups(self.network, self.span.recipe)
        self.optimizer = make_optimizer(groups, self.span.recipe)
        self.schedule = make_schedule(self.optimizer, self.span.recipe, self.span.epoch_steps)

    def finish_epoch(self, row: EpochRow, steps: Sequence[StepRow] = ()) -> None:
        self.partial = None
        self.history.append(row)
        self.steps.extend(steps)
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
        return {
            **parts,
            "stage": self.stage,
            "history": [list(row) for row in self.history],
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "steps": torch.tensor(self.steps, dtype=torch.float64).reshape(-1, len(StepRow._fields)),
            "partial": None if self.partial is None else _plain(self.partial),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.enter(state["stage"])
        for name in ("network", "optimizer", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.history = [EpochRow(*row) for row in state["history"]]
        self.best_epoch = state["best_epoch"]
        self.best_weights = dict(state["best_weights"])
        self.steps = [
            StepRow(int(step), int(epoch), loss, hit) for step, epoch, loss, hit in state["steps"].tolist()
        ]
        partial = state["partial"]
        self.partial = None if partial is None else _partial(partial, next(self.network.parameters()).device)


def _plain(partial: Partial) -> dict[str, Any]:
    return {
        "sizes": list(partial.sizes),
        "losses": torch.stack(partial.losses),
        "hits": torch.stack(partial.hits),
        "seconds": partial.seconds,
        "generators": dict(partial.generators),
    }


def _partial(plain: Mapping[str, Any], device: torch.device) -> Partial:
    losses, hits = (list(plain[name].to(device).unbind()) for name in ("losses", "hits"))
    return Partial(list(plain["sizes"]), losses, hits, plain["seconds"], dict(plain["generators"]))


def _merit(row: EpochRow) -> tuple[float, float]:
    return row.validation_accuracy, -row.validation_loss


class EpochLog(Protocol):
    """Told of every finished epoch: where curves are written."""

    def epoch(self, row: EpochRow, steps: Sequence[StepRow], state: FitState) -> None: ...

    def resume(self, state: FitState) -> None:
        """A fit goes on from here: what was told of before is told again, and no more than that."""


class Saver(Protocol):
    """Brings a state to where it outlives the process: see `ablate.train.checkpoint`."""

    def due(self, *, epoch_ended: bool) -> bool:
        """Whether now is the time; asked after every step."""

    def save(self, state: FitState) -> None: ...


def prepare(network: nn.Module, recipe: Recipe, epoch_steps: int, device: torch.device) -> FitState:
    """Everything in place before the first step: network on the device, optimiser, schedule, scaler.

    Raises AblateError for whatever is wrong with any stage of the recipe.
    """
    check_recipe(network, recipe)
    network.to(device)
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    state = FitState(network, timetable(recipe, epoch_steps), scaler, tuple(trainable(network)))
    for stage in reversed(range(len(state.spans))):  # each once, so that none is refused hours later
        state.enter(stage)
    return state
