"""`fit`: train a network by a recipe, guided by the training and the validation images alone.

Within an epoch the host never waits for the device: losses and hits stay there and come back once, at the
end.
Every random draw of epoch e depends on (seed, e) alone: the batches see to order and augmentation, `fit` to
dropout. So two variants of a seed meet the same images and the same masks, and a fit that stopped after an
epoch goes on from its `FitState` to the same last bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.errors import AblateError, MachineError
from ablate.train.evaluate import Batches, Evaluation, evaluate
from ablate.train.log import Progress
from ablate.train.precision import autocast, numerics
from ablate.train.recipe import Recipe, trainable
from ablate.train.state import EpochLog, EpochRow, FitState, StepRow, prepare


class NonFiniteLoss(AblateError):
    """The loss became NaN or infinite: the trial has no result."""

    failure_kind = "non-finite"


@dataclass(frozen=True)
class FitResult:
    """The network itself holds the weights of the last epoch; `state.best_weights` those of the best.

    images_per_s: the median epoch's training images a second.
    """

    state: FitState
    images_per_s: float

    @property
    def history(self) -> list[EpochRow]:
        return self.state.history


def fit(
    network: nn.Module,
    train: Batches,
    validation: Batches,
    recipe: Recipe,
    *,
    device: str | torch.device,
    dropout_seed: int,
    log: EpochLog | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    start: Mapping[str, Any] | None = None,
) -> FitResult:
    """Train `network` (moved to `device`, in place) for `recipe.epochs` epochs.

    start: the `state_dict` of a `FitState` to go on from. on_progress: told at most twice a second of epoch,
    epochs, step, steps (of this epoch), loss, accuracy, images_per_s; a GPU's figures are the last epoch's.
    Raises NonFiniteLoss at the end of the epoch in which the loss stopped being a number.
    """
    device = torch.device(device)
    steps = count_steps(train, recipe)
    state = prepare(network, recipe, steps, device)
    if start is not None:
        state.load_state_dict(start)
    model = torch.compile(network) if recipe.compile else network
    progress = Progress(on_progress, recipe.epochs, steps, device)
    with numerics(deterministic=recipe.deterministic), _generators_kept(device), _compile_explained(recipe):
        while state.epoch < recipe.epochs:
            _seed_generators(dropout_seed + state.epoch, device)
            passed = _train_epoch(model, state, train, recipe, steps, progress)
            _check_losses(passed.losses, state, recipe)
            figures = _validate(model, validation, recipe, device, state.epoch + 1)
            row, step_rows = _epoch_row(state, passed, figures), _step_rows(state.epoch, passed)
            state.finish_epoch(row)
            progress.finished(row)
            if log is not None:
                log.epoch(row, step_rows, state)
    rates = [row.images_per_s for row in state.history]
    return FitResult(state, float(np.median(rates)))


def count_steps(train: Batches, recipe: Recipe) -> int:
    """Training steps an epoch.

    A last batch of one image is left out (each epoch shuffles anew, so no image is lost for good): batch norm
    has no variance to take from it, and fails or writes noise into its statistics. All networks are treated
    alike, so that variants stay paired.
    """
    steps = len(train)
    lone = recipe.batch_size > 1 and steps > 1 and train.count % recipe.batch_size == 1
    if not train.count:
        raise AblateError("there are no images to train on")
    return steps - lone


def train_step(
    model: nn.Module, state: FitState, x: Tensor, y: Tensor, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """One step on images [B,C,H,W] and labels [B]: (loss, number of hits), both left on the device."""
    if recipe.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with autocast(recipe.precision, x.device):
        logits = model(x)
    logits = logits.float()
    loss = functional.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()
    if recipe.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(trainable(state.network), recipe.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return loss.detach(), (logits.detach().argmax(1) == y).sum()


@dataclass(frozen=True)
class _Pass:
    """One pass over the training images: size, mean loss and hits of each batch, and how long it took."""

    sizes: list[int]
    losses: np.ndarray
    hits: np.ndarray
    seconds: float


def _train_epoch(
    model: nn.Module, state: FitState, train: Batches, recipe: Recipe, steps: int, progress: Progress
) -> _Pass:
    began = time.perf_counter()
    model.train()
    sizes: list[int] = []
    losses: list[Tensor] = []
    hits: list[Tensor] = []
    for step, (x, y) in enumerate(islice(train.epoch(state.epoch), steps)):
        state.schedule.before_step(state.epoch * steps + step)
        loss, hit = train_step(model, state, x, y, recipe)
        sizes.append(len(y))
        losses.append(loss)
        hits.append(hit)
        progress.step(state.epoch, sizes, losses, hits)
    on_host = torch.stack([torch.stack(losses), torch.stack(hits).float()]).cpu().numpy()
    return _Pass(sizes, on_host[0], on_host[1], time.perf_counter() - began)


def _validate(
    model: nn.Module, validation: Batches, recipe: Recipe, device: torch.device, epoch: int
) -> Evaluation:
    figures = evaluate(
        model, validation, device=device, precision=recipe.precision, channels_last=recipe.channels_last
    )
    if not np.isfinite(figures.loss):
        raise NonFiniteLoss(_broke_down(f"the validation loss is {figures.loss} after epoch {epoch}", recipe))
    return figures


def _epoch_row(state: FitState, passed: _Pass, figures: Evaluation) -> EpochRow:
    count = sum(passed.sizes)
    return EpochRow(
        epoch=state.epoch + 1,
        lr=_lr_of(state, state.epoch * len(passed.sizes)),
        train_loss=float(np.average(passed.losses.astype(np.float64), weights=passed.sizes)),
        train_accuracy=100 * float(passed.hits.sum()) / count,
        validation_loss=figures.loss,
        validation_accuracy=figures.accuracy,
        seconds=passed.seconds,
        images_per_s=count / passed.seconds,
    )


def _step_rows(epoch: int, passed: _Pass) -> list[StepRow]:
    batches = zip(passed.sizes, passed.losses, passed.hits, strict=True)
    return [
        StepRow(step, epoch + 1, float(loss), 100 * float(hit) / size)
        for step, (size, loss, hit) in enumerate(batches, start=epoch * len(passed.sizes) + 1)
    ]


def _lr_of(state: FitState, step: int) -> float:
    state.schedule.before_step(step)
    return float(state.optimizer.param_groups[0]["lr"])


def _check_losses(losses: np.ndarray, state: FitState, recipe: Recipe) -> None:
    wrong = np.flatnonzero(~np.isfinite(losses))
    if not len(wrong):
        return
    step = int(wrong[0])
    before = ", ".join(f"{loss:.4g}" for loss in losses[max(0, step - 3) : step])
    lr = _lr_of(state, state.epoch * len(losses) + step)
    place = f"epoch {state.epoch + 1}, step {step + 1} of {len(losses)}, lr {lr:g}"
    came = f", after {before}" if before else ""
    raise NonFiniteLoss(_broke_down(f"the training loss is {losses[step]} at {place}{came}", recipe))


def _broke_down(what: str, recipe: Recipe) -> str:
    ways = [
        "lower train.optimizer.lr",
        "set train.clip_norm, such as 1.0",
        "warm up with the cosine schedule",
    ]
    if recipe.precision != "fp32":
        ways.append("set train.precision: fp32")
    return f"{what}\n    {'; '.join(ways)}"


def _seed_generators(seed: int, device: torch.device) -> None:
    """Dropout draws from torch's global generators; there is no way to hand it one."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def _generators_kept(device: torch.device) -> Iterator[None]:
    """The caller's global generators come back as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def _compile_explained(recipe: Recipe) -> Iterator[None]:
    if not recipe.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # slow to import, and only compiling needs it

    try:
        yield
    except TorchDynamoException as error:
        # "backend=… raised:" stands on a line of its own before what was raised.
        reason = " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2])
        message = f"train.compile: torch.compile cannot build this network here: {reason}"
        raise MachineError(f"{message}\n    set train.compile: false") from error
