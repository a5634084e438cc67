"""Faster ways to the same gradients: CUDA graphs and torch.compile, taken only where a short probe has shown
both that they give the same and that they pay.

The probe takes real steps on the trial's first batch, plain and accelerated in turns (A B B A), and puts
everything back: parameters, buffers, optimiser, gradient scaler; each epoch seeds the generators itself.

Only forward and backward pass are accelerated. The optimiser's step stays plain, and so a graph, which
replays the very kernels that plain steps launch, gives plain results bit for bit. That is held, not hoped:
a candidate that differs is not taken. `auto` therefore changes no result, and tries what cannot change one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from ablate.train.generators import seed_generators
from ablate.train.groups import trainable
from ablate.train.recipe import Recipe
from ablate.train.state import FitState
from ablate.train.step import Gradients, add_gradients, in_training_mode, plain_gradients, train_step

TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 5e-3}
"""Where results need not be equal bit for bit: ‖g′ - g‖ / ‖g‖ of one step's gradient, and a tenth of what the
losses of the steps after it may differ by, relative to the largest."""
FASTER = 1.03  # less is within the noise of a probe
FEWEST_STEPS = 1000  # of a stage, for `auto`: the probe's hundred or so must be worth their time
_COMPARED_STEPS = 5
_ROUNDS = 4
_KNOWN = ("ablate", "torch", "torchvision", "timm")


@dataclass(frozen=True)
class Choice:
    """gradients: the way that training takes. said: what the probe found, or why there was none; "" where
    nothing was asked for and nothing tried. fell_back: a way was asked for by name and is not taken."""

    gradients: Gradients
    said: str = ""
    fell_back: bool = False


def choose(
    network: nn.Module, state: FitState, recipe: Recipe, batch: Callable[[], tuple[Tensor, Tensor]]
) -> Choice:
    """The way to the gradients for the stage that `state` is in.

    batch: gives a whole batch (x, y) of the size that nearly all steps have; asked only where one is needed.
    """
    plain = plain_gradients(network, state, recipe)
    asked = recipe.accelerate
    if asked == "off":
        return Choice(plain)
    device = next(network.parameters()).device
    if asked == "auto":
        unfit = _not_by_itself(network, state, recipe, device)
        if unfit is not None:
            return Choice(plain, unfit)
    name = "graphs" if asked == "auto" else asked
    by_name = asked == name
    if name == "graphs" and device.type != "cuda":
        return Choice(plain, f"plain steps: CUDA graphs need a CUDA device, this is {device}", by_name)
    if name == "compile":
        torch.compiler.reset()  # after eight graphs of one network the compiler gives up
    try:
        found = _probe(name, network, state, recipe, batch(), plain)
    except (RuntimeError, *_compiler_errors()) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        said = f"plain steps: {_WORDS[name]} failed here: {type(error).__name__}: {reason}"
        return Choice(plain, said, by_name)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # other trials may share the device
    return Choice(found.gradients or plain, found.said, by_name and found.gradients is None)


_WORDS = {"graphs": "a CUDA graph", "compile": "torch.compile"}


def _not_by_itself(network: nn.Module, state: FitState, recipe: Recipe, device: torch.device) -> str | None:
    """Why `auto` tries nothing: a sentence, "" where there is nothing to be said; None where it does try."""
    if device.type != "cuda" or recipe.compile:
        return ""
    foreign = {type(module).__module__.split(".")[0] for module in network.modules()} - set(_KNOWN)
    if foreign:
        return (
            f"plain steps: what {', '.join(sorted(foreign))} does in Python at each step a CUDA graph would "
            "leave out, so it has to be asked for (train.accelerate: graphs)"
        )
    if state.span.steps < FEWEST_STEPS:
        return f"plain steps: {state.span.steps} are too few for a probe to pay"
    return None


def _compiler_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    return (TorchDynamoException,)


# Ways


class Graphed:
    """Forward and backward pass of one shape of batch as one CUDA graph; other shapes go the plain way.

    A graph reads and writes the addresses of its capture: the batch is copied in, the gradients are the same
    tensors at every step. Dropout draws anew at each replay, as it would have in plain steps: torch hands the
    generator's seed and offset in.
    """

    def __init__(self, network: nn.Module, state: FitState, x: Tensor, y: Tensor, recipe: Recipe) -> None:
        self._plain = plain_gradients(network, state, recipe)
        self._x, self._y = x.clone(), y.clone()
        stream = torch.cuda.Stream(x.device)
        stream.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(stream):  # libraries set themselves up, which a capture does not allow
            for _ in range(3):
                self._plain(self._x, self._y)
        torch.cuda.current_stream(x.device).wait_stream(stream)
        state.optimizer.zero_grad(set_to_none=True)  # so that the capture writes gradients and adds to none
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss, self._hits = add_gradients(network, state, self._x, self._y, recipe)
        self._gradients = [(one, one.grad) for one in trainable(network) if one.grad is not None]

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape != self._x.shape:
            return self._plain(x, y)
        self._x.copy_(x)
        self._y.copy_(y)
        for parameter, gradient in self._gradients:  # a plain step in between left others
            parameter.grad = gradient
        self._graph.replay()
        return self._loss.clone(), self._hits.clone()


def compiled(network: nn.Module, state: FitState, x: Tensor, y: Tensor, recipe: Recipe) -> Gradients:
    """torch.compile for one shape of batch; others go the plain way, as each would be compiled anew.

    Dropout draws from torch's generators, not from the compiler's own: the masks are those of plain steps.
    """
    model = torch.compile(network, dynamic=False, options={"fallback_random": True})
    fast, plain = plain_gradients(model, state, recipe), plain_gradients(network, state, recipe)
    shape = x.shape

    def gradients(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (fast if x.shape == shape else plain)(x, y)

    return gradients


WAYS: dict[str, Callable[[nn.Module, FitState, Tensor, Tensor, Recipe], Gradients]] = {
    "graphs": Graphed,
    "compile": compiled,
}


# The probe


@dataclass(frozen=True)
class _Found:
    gradients: Gradients | None
    said: str


def _probe(
    name: str,
    network: nn.Module,
    state: FitState,
    recipe: Recipe,
    batch: tuple[Tensor, Tensor],
    plain: Gradients,
) -> _Found:
    """Whether a way gives the same as plain steps, and how much faster. Afterwards all is as before."""
    x, y = batch
    if recipe.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    before = _Before(network, state)
    in_training_mode(network, state)

    def step(gradients: Gradients) -> Tensor:
        return train_step(network, state, x, y, recipe, gradients)[0]

    def trace(gradients: Gradients) -> _Trace:
        before.restore()
        seed_generators(0, x.device)
        losses, gradient = [], None
        for _ in range(_COMPARED_STEPS):
            losses.append(step(gradients))
            if gradient is None:
                gradient = torch.cat(
                    [one.grad.flatten() for one in trainable(network) if one.grad is not None]
                )
                gradient = gradient.clone()
        weights = torch.cat([one.detach().flatten() for one in trainable(network)])
        return _Trace(torch.stack(losses), gradient, weights)

    try:
        fast = WAYS[name](network, state, x, y, recipe)
        reference, found = trace(plain), trace(fast)
        same = _differs(reference, found, trace(plain), recipe, exactly=name == "graphs")
        if same is not None:
            return _Found(None, f"plain steps: {_WORDS[name]} {same}")
        times = _times_as_fast(lambda: step(plain), lambda: step(fast))
    finally:
        before.restore()
        state.optimizer.zero_grad(set_to_none=True)
    bits = torch.equal(reference.weights, found.weights)
    equal = "bit for bit" if bits else f"within {TOLERANCE[recipe.precision]:g} of the gradient"
    if times < FASTER:
        return _Found(None, f"plain steps: {_WORDS[name]} is no faster ({times:.2f} times as fast)")
    return _Found(fast, f"{_WORDS[name]} takes each step: {times:.2f} times as fast as plain, equal {equal}")


@dataclass(frozen=True)
class _Trace:
    """A few steps: their losses, the gradient of the first, and the weights in the end."""

    losses: Tensor
    gradient: Tensor
    weights: Tensor


def _differs(one: _Trace, other: _Trace, again: _Trace, recipe: Recipe, exactly: bool) -> str | None:
    """How `other` differs from the plain steps `one` by more than it may; None where it does not.

    again: the same plain steps once more. Some operators of a GPU add in any order, and then two plain runs
    differ, too; no more can be asked of another way than of them.
    """
    repeats = all(torch.equal(getattr(one, name), getattr(again, name)) for name in vars(one))
    if exactly and (repeats or recipe.deterministic):
        equal = all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))
        return None if equal else "does not give the same bits"
    if recipe.deterministic:
        return "may round otherwise, which train.deterministic rules out"
    gradient = float((other.gradient - one.gradient).norm() / one.gradient.norm())
    losses = float((other.losses - one.losses).abs().max() / one.losses.abs().max())
    allowed = TOLERANCE[recipe.precision]
    if gradient <= allowed and losses <= 10 * allowed:  # a NaN is neither
        return None
    return (
        f"gives another gradient (by {gradient:.1g} of its length) or other losses (by {losses:.1g}); "
        f"allowed: {allowed:g} and {10 * allowed:g}"
    )


def _times_as_fast(plain: Callable[[], Tensor], fast: Callable[[], Tensor]) -> float:
    """Median over rounds of how long plain steps take to the others, in turns."""

    def seconds(step: Callable[[], Tensor], count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            loss = step()
        float(loss)  # waits for the device
        return time.perf_counter() - began

    count = int(np.clip(0.1 / seconds(plain, 1), 2, 20))
    ratios = []
    for number in range(_ROUNDS):
        turns = [plain, fast, fast, plain] if number % 2 == 0 else [fast, plain, plain, fast]
        took = [(step, seconds(step, count)) for step in turns]
        each = [sum(time_s for step, time_s in took if step is way) for way in (plain, fast)]
        ratios.append(each[0] / each[1])
    return float(np.median(ratios))


class _Before:
    """Network, optimiser and gradient scaler as they are now."""

    def __init__(self, network: nn.Module, state: FitState) -> None:
        self.state = state
        tensors = chain(network.parameters(), network.buffers())
        self.tensors = [(one, one.detach().clone()) for one in tensors]
        self.optimizer = copy.deepcopy(state.optimizer.state_dict())
        self.scaler = state.scaler.state_dict()

    @torch.no_grad()
    def restore(self) -> None:
        """Into the same tensors: a graph holds their addresses."""
        for tensor, then in self.tensors:
            tensor.copy_(then)
        self.state.optimizer.load_state_dict(copy.deepcopy(self.optimizer))
        self.state.scaler.load_state_dict(self.scaler)
