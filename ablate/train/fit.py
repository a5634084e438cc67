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
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ablate.errors import AblateError, MachineError
from ablate.train.accelerate import Choice, choose
from ablate.train.evaluate import Batches, Evaluation, evaluate
from ablate.train.generators import generators_kept, get_generators, seed_generators, set_generators
from ablate.train.groups import gradients_kept
from ablate.train.log import Progress
from ablate.train.pooling import fast_pools
from ablate.train.precision import numerics
from ablate.train.recipe import Recipe
from ablate.train.recompute import recomputed
from ablate.train.state import EpochLog, EpochRow, FitState, Partial, Saver, StepRow, prepare
from ablate.train.step import Gradients, in_training_mode, train_step

if TYPE_CHECKING:
    from ablate.train.distributed import Ranks, SharedGradients


class NonFiniteLoss(AblateError):
    """The loss became NaN or infinite: the trial has no result."""

    failure_kind = "non-finite"


@dataclass(frozen=True)
class FitResult:
    """The network itself holds the weights of the last epoch; `state.best_weights` those of the best.

    images_per_s: the median epoch's training images a second. fell_back: one sentence for each stage whose
    `accelerate` asked for a way by name that was not taken. waited_share: of the training time of several
    processes, what the first of them waited for the others; None of one process, or where it is not told.
    """

    state: FitState
    images_per_s: float
    fell_back: tuple[str, ...] = ()
    waited_share: float | None = None

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
    saver: Saver | None = None,
    say: Callable[[str], None] = lambda _: None,
    ranks: Ranks | None = None,
) -> FitResult:
    """Train `network` (moved to `device`, in place) for all epochs or steps of the recipe, stage by stage.

    start: the `state_dict` of a `FitState` to go on from, to the same last bit as if it had never stopped.
    saver: asked after every step whether to save one. on_progress: told at most twice a second of epoch,
    epochs, step, steps (of this epoch), stage, stages (where there are several), loss, accuracy,
    images_per_s; a GPU's figures are the last epoch's. say: told what `recipe.accelerate` led to. Afterwards
    the same parameters as before take gradients. Raises NonFiniteLoss at the end of the epoch in which the
    loss stopped being a number.

    ranks: the processes that call this together, each with the same network; `train` then gives each its
    share of every batch, as `distributed.positions` says. log, saver: of the first of them alone.
    """
    device = torch.device(device)
    steps = count_steps(train, recipe)
    with (
        gradients_kept(network),
        numerics(deterministic=recipe.deterministic),
        generators_kept(device),
        _compile_explained(recipe),
        fast_pools(network),
        recomputed(network) if recipe.gradient_checkpointing else nullcontext(),
    ):
        state = prepare(network, recipe, steps, device)
        if start is not None:
            state.load_state_dict(start)
            start = None  # as large as the state itself, and of no more use
            if log is not None:
                log.resume(state)
        if ranks is not None:
            ranks.waited_s = 0.0
            ranks.agree("how far it came", (state.epoch, len(state.partial.sizes) if state.partial else 0))
        model = torch.compile(network) if recipe.compile else network
        progress = Progress(on_progress, state.spans[-1].end, steps, device, len(state.spans))
        choice: Choice | None = None
        shared: SharedGradients | None = None
        fell_back: list[str] = []
        while state.epoch < state.spans[-1].end:
            if state.epoch == state.span.end:
                state.enter(state.stage + 1)
                choice = None  # a graph is of one stage
                if shared is not None:
                    shared.end()
                if recipe.compile:
                    torch.compiler.reset()  # after eight graphs of one network the compiler gives up
            if choice is None:
                if ranks is None:
                    choice = choose(model, state, recipe, lambda: next(iter(train.epoch(state.epoch))))
                else:
                    choice, shared = _share_out(network, state, recipe, ranks, train, dropout_seed)
                if choice.said:
                    say(f"train.accelerate: {recipe.accelerate}: {choice.said}")
                fell_back += [choice.said] if choice.fell_back else []
            seed_generators(dropout_seed + state.epoch, device)
            passed = _train_epoch(model, state, train, recipe, progress, saver, choice.gradients, shared)
            _check_losses(passed.losses, state, recipe)
            figures = _validate(model, validation, recipe, device, state, ranks)
            row, step_rows = _epoch_row(state, passed, figures), _step_rows(state, passed)
            state.finish_epoch(row, step_rows)
            progress.finished(row)
            if log is not None:
                log.epoch(row, step_rows, state)
            if saver is not None and state.epoch < state.spans[-1].end and saver.due(epoch_ended=True):
                saver.save(state)
    rates = [row.images_per_s for row in state.history]
    waited_share = None
    if ranks is not None and shared is not None and shared.end():
        waited_share = ranks.waited_s / sum(row.seconds for row in state.history)
    return FitResult(state, float(np.median(rates)), tuple(fell_back), waited_share)


def _share_out(
    network: nn.Module, state: FitState, recipe: Recipe, ranks: Ranks, train: Batches, dropout_seed: int
) -> tuple[Choice, SharedGradients]:
    """The way of several processes to the gradients for the stage that `state` is in."""
    from ablate.train.distributed import SharedGradients  # only where it is asked for: it loads much of torch

    gradients = SharedGradients(network, state, recipe, ranks, train, dropout_seed)
    by_name = recipe.accelerate in ("graphs", "compile")
    said = f"plain steps: {ranks.size} processes share each of them" if by_name else ""
    return Choice(gradients, said, by_name), gradients


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


@dataclass(frozen=True)
class _Pass:
    """One pass over the training images: size, mean loss and hits of each batch, and how long it took."""

    sizes: list[int]
    losses: np.ndarray
    hits: np.ndarray
    seconds: float


def _train_epoch(
    model: nn.Module,
    state: FitState,
    train: Batches,
    recipe: Recipe,
    progress: Progress,
    saver: Saver | None,
    gradients: Gradients,
    shared: SharedGradients | None,
) -> _Pass:
    """shared: the same gradients, where several processes share each batch."""
    began = time.perf_counter()
    in_training_mode(model, state)
    first, steps = state.span.first_step(state.epoch), state.span.steps_in(state.epoch)
    progress.begin(state.stage + 1, steps)
    if state.partial is None:
        state.partial = Partial()
    else:
        set_generators(state.partial.generators, progress.device)
    if shared is not None:
        shared.begin_epoch()
    so_far, before = state.partial, state.partial.seconds
    begun = len(so_far.sizes)
    for step, (x, y) in enumerate(islice(train.epoch(state.epoch, begun), steps - begun), start=begun):
        state.schedule.before_step(first + step)
        size = len(y) if shared is None else shared.begin(step)
        loss, hit = train_step(model, state, x, y, recipe, gradients)
        so_far.sizes.append(size)
        so_far.losses.append(loss)
        so_far.hits.append(hit)
        progress.step(state.epoch, so_far.sizes, so_far.losses, so_far.hits)
        if saver is not None and step + 1 < steps and saver.due(epoch_ended=False):
            so_far.seconds = before + time.perf_counter() - began
            so_far.generators = get_generators(progress.device) if shared is None else shared.generators
            saver.save(state)
    on_host = torch.stack([torch.stack(so_far.losses), torch.stack(so_far.hits).float()]).cpu().numpy()
    return _Pass(so_far.sizes, on_host[0], on_host[1], before + time.perf_counter() - began)


def _validate(
    model: nn.Module,
    validation: Batches,
    recipe: Recipe,
    device: torch.device,
    state: FitState,
    ranks: Ranks | None,
) -> Evaluation:
    figures = evaluate(
        model,
        validation,
        device=device,
        precision=recipe.precision,
        channels_last=recipe.channels_last,
        ranks=ranks,
    )
    if not np.isfinite(figures.loss):
        what = f"the validation loss is {figures.loss} after epoch {state.epoch + 1}"
        raise NonFiniteLoss(_broke_down(what, state, recipe, in_evaluation=True))
    return figures


def _epoch_row(state: FitState, passed: _Pass, figures: Evaluation) -> EpochRow:
    count = sum(passed.sizes)
    return EpochRow(
        epoch=state.epoch + 1,
        lr=_lr_of(state, 0),
        train_loss=float(np.average(passed.losses.astype(np.float64), weights=passed.sizes)),
        train_accuracy=100 * float(passed.hits.sum()) / count,
        validation_loss=figures.loss,
        validation_accuracy=figures.accuracy,
        seconds=passed.seconds,
        images_per_s=count / passed.seconds,
        stage=state.stage + 1,
    )


def _step_rows(state: FitState, passed: _Pass) -> list[StepRow]:
    """Counted over the whole run: every epoch but the very last has all its steps."""
    batches = zip(passed.sizes, passed.losses, passed.hits, strict=True)
    return [
        StepRow(step, state.epoch + 1, float(loss), 100 * float(hit) / size)
        for step, (size, loss, hit) in enumerate(batches, start=state.epoch * state.span.epoch_steps + 1)
    ]


def _lr_of(state: FitState, step: int) -> float:
    """The highest rate of any parameter at a step of the epoch that is under way, counted from 0."""
    state.schedule.before_step(state.span.first_step(state.epoch) + step)
    return max(float(group["lr"]) for group in state.optimizer.param_groups)


def _check_losses(losses: np.ndarray, state: FitState, recipe: Recipe) -> None:
    wrong = np.flatnonzero(~np.isfinite(losses))
    if not len(wrong):
        return
    step = int(wrong[0])
    before = ", ".join(f"{loss:.4g}" for loss in losses[max(0, step - 3) : step])
    place = f"epoch {state.epoch + 1}, step {step + 1} of {len(losses)}, lr {_lr_of(state, step):g}"
    came = f", after {before}" if before else ""
    what = f"the training loss is {losses[step]} at {place}{came}"
    raise NonFiniteLoss(_broke_down(what, state, recipe, first=state.epoch == step == 0))


def _broke_down(
    what: str, state: FitState, recipe: Recipe, first: bool = False, in_evaluation: bool = False
) -> str:
    """What happened, and what can mend it.

    first: no step has been taken, so the rate is not to blame. in_evaluation: the training loss was a number.
    """
    stage = state.span.recipe
    where = "train" if len(state.spans) == 1 else f"train.stages[{state.stage}]"
    ways = []
    if first:
        ways.append("no weight has changed yet: look at the images, the initial weights and the network")
    else:
        if in_evaluation:
            ways.append(
                "the training loss was a number: see what the network does otherwise in evaluation "
                "(self.training, the running statistics of batch norm)"
            )
        ways.append(f"lower the learning rate ({where}.optimizer.lr{f', {where}.lr' * bool(stage.lr_by)})")
        ways.append("lower train.clip_norm" if recipe.clip_norm else "set train.clip_norm, such as 1.0")
        if state.epoch == state.span.first_epoch and not stage.schedule_args.get("warmup"):
            ways.append("warm up with the cosine schedule")
    if recipe.precision != "fp32":
        ways.append("set train.precision: fp32")
    return f"{what}\n    {'; '.join(ways)}"


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
