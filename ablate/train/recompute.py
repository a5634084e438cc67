"""Gradient checkpointing: activations inside a segment are computed again in the backward pass, not kept.

Segments follow the √n rule of Chen et al. 2016 (arXiv:1604.06174): of a network of n layers each is a block
of at most ⌈√n⌉ layers, or a run of so many neighbours in a Sequential; only what passes between segments is
kept. Blocks are taken as the network is built, so this works on any network whose blocks are modules.
Attention that is called by a hook of its place runs within the segment that holds the place; where the place
is a segment itself, the hook runs after it, and attention is a segment of its own.

The second pass gives the same numbers: it draws the same random numbers, and meets the buffers that the
first met, as copies that are thrown away. So batch norm does not count a batch twice, and spectral norm does
not iterate twice.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ablate.errors import AblateError

_inside = threading.local()  # the backward pass of a GPU runs in a thread of its own


@contextmanager
def recomputed(network: nn.Module) -> Iterator[None]:
    """Training steps inside keep the activations between segments only. The network's names stay as they are,
    and afterwards it is as it was before."""
    wrapped: list[nn.Module] = []
    try:
        _wrap(network, network, math.ceil(math.sqrt(_count(network))), wrapped)
        yield
    finally:
        for module in wrapped:
            del module.forward


def _wrap(network: nn.Module, module: nn.Module, longest: int, wrapped: list[nn.Module]) -> None:
    """Find segments from the top down and put them in place by `forward` attributes of single modules."""
    if _is_layer(module):
        return
    if "forward" in vars(module):  # not the class's own: what it does with its children is not known
        for child in module.children():
            _wrap(network, child, longest, wrapped)
    elif _count(module) <= longest and module is not network:
        if not _begins_in_place(module):
            module.forward = _Segment(network, type(module).__name__, module.forward)
            wrapped.append(module)
    elif type(module).forward is nn.Sequential.forward:
        parts: list[Callable[..., Any]] = []
        for run in _runs(module, longest):
            if len(run) == 1 and (_is_layer(run[0]) or _count(run[0]) > longest):
                parts.append(run[0])
                _wrap(network, run[0], longest, wrapped)
            elif _begins_in_place(run[0]):
                parts += run
            else:
                parts.append(_Segment(network, f"{type(run[0]).__name__} …", _Chain(run)))
        module.forward = _Chain(parts)
        wrapped.append(module)
    else:
        for child in module.children():
            _wrap(network, child, longest, wrapped)


def _is_layer(module: nn.Module) -> bool:
    """Torch's own single layers; a module of the user's without children may compute anything."""
    return not any(True for _ in module.children()) and type(module).__module__.startswith("torch.nn.")


def _count(module: nn.Module) -> int:
    return sum(1 for inner in module.modules() if not any(True for _ in inner.children()))


def _begins_in_place(module: nn.Module) -> bool:
    """A segment that overwrites its own input cannot be computed again from it."""
    first = next(inner for inner in module.modules() if not any(True for _ in inner.children()))
    return bool(getattr(first, "inplace", False))


def _runs(chain: nn.Sequential, longest: int) -> list[list[nn.Module]]:
    """Neighbours in runs of at most `longest` layers. A layer that works in place stays with the one before;
    a child that is too large stands alone."""
    runs: list[list[nn.Module]] = []
    size = longest
    for child in chain:
        count = _count(child)
        if runs and (size + count <= longest or (size <= longest and _begins_in_place(child))):
            runs[-1].append(child)
        else:
            runs.append([child])
            size = 0
        size += count
    return runs


class _Chain:
    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __call__(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x


class _Segment:
    """A forward whose activations are not kept. Within another segment it is an ordinary forward."""

    def __init__(self, network: nn.Module, name: str, forward: Callable[..., Any]) -> None:
        self.network, self.name, self.forward = network, name, forward
        # (module, buffer's name): whether a training forward of this segment changes it. Hooks may reach
        # beyond the segment's own modules, so all of the network's are looked at, the first time.
        self.changes: dict[tuple[nn.Module, str], bool] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if getattr(_inside, "segment", False) or not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        # A list may be longer by the time of the second pass: DenseNet appends every map to its block's.
        args = tuple(list(value) if isinstance(value, list) else value for value in args)
        values = [one for value in args for one in (value if isinstance(value, list) else [value])]
        before = [(value, value._version) for value in values if isinstance(value, Tensor)]
        output = checkpoint(
            lambda *inner: self._run(inner, kwargs), *args, use_reentrant=False, context_fn=self._contexts
        )
        if any(value._version != version for value, version in before):
            raise AblateError(
                f"train.gradient_checkpointing: a {self.name} of this network changes its input in place, so "
                "it cannot be computed again\n    set train.gradient_checkpointing: false"
            )
        return output

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _inside.segment = True
        try:
            return self.forward(*args, **kwargs)
        finally:
            _inside.segment = False

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Round the first pass, and round the second."""
        buffers = _Buffers(self.network, self.changes)
        return buffers.watched(), buffers


class _Buffers:
    """The buffers that a segment changes, as they are before its first pass; a context that puts them back
    for the second pass, and takes them out again."""

    def __init__(self, network: nn.Module, changes: dict[tuple[nn.Module, str], bool]) -> None:
        self.changes = changes
        self.copies = {
            (module, name): buffer.detach().clone()
            for module in network.modules()
            if module.training
            for name, buffer in module._buffers.items()
            if buffer is not None and changes.get((module, name), True)
        }
        self.current: dict[tuple[nn.Module, str], Tensor | None] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Learn, once for each buffer, whether what runs inside changes it; drop the other copies."""
        unknown = {key: key[0]._buffers[key[1]] for key in self.copies if key not in self.changes}
        yield
        for (module, name), buffer in unknown.items():
            now, key = module._buffers[name], (module, name)
            # Batch norm changes its statistics without a new version, so values are compared.
            self.changes[key] = now is not buffer or not torch.equal(now, self.copies[key])
            if not self.changes[key]:
                del self.copies[key]

    def __enter__(self) -> None:
        for key, copy in self.copies.items():
            module, name = key
            self.current[key], module._buffers[name] = module._buffers[name], copy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for (module, name), buffer in self.current.items():
            module._buffers[name] = buffer
