"""Run a copy of a network without its numbers, to learn shapes and what happens on the way."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

Observe = Callable[[nn.Module], AbstractContextManager[Any]]


def run_copy(
    module: nn.Module,
    shape: Sequence[int],
    watch: Sequence[str] = (),
    observe: Observe | None = None,
    training: bool = False,
) -> tuple[Any, dict[str, list[Any]]]:
    """Run a copy of `module` once on zeros: its output, and {path in `watch`: its outputs}.

    On the meta device, which costs nothing; with real numbers only where an operator has no meta version or
    the network looks at values. observe: gets the copy and gives a context to run it in, once for each copy
    that is tried. training: in training mode, not in that of evaluation. An error of the network itself is
    raised as it is.
    """
    try:
        return _run(_meta_copy(module), shape, {path: [] for path in watch}, observe, training)
    except RuntimeError:
        if any(tensor.is_meta for tensor in module.parameters()):
            raise
        return _run(_real_copy(module), shape, {path: [] for path in watch}, observe, training)


def watch_while_it_runs(
    module: nn.Module, shape: Sequence[int], watch: Sequence[str]
) -> dict[str, list[Any]]:
    """{path in `watch`: its outputs} of a copy on the meta device, as far as it takes such an image."""
    outputs: dict[str, list[Any]] = {path: [] for path in watch}
    with suppress(Exception):  # a network made for one image size may fail in any way on another
        _run(_meta_copy(module), shape, outputs, None)
    return outputs


def _run(
    module: nn.Module,
    shape: Sequence[int],
    outputs: dict[str, list[Any]],
    observe: Observe | None,
    training: bool = False,
) -> tuple[Any, dict[str, list[Any]]]:
    for path, seen in outputs.items():
        module.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, out, seen=seen: seen.append(out)
        )
    tensor = next(itertools.chain(module.parameters(), module.buffers()), torch.empty(0))
    with torch.no_grad(), observe(module.train(training)) if observe else nullcontext():
        return module.train(training)(torch.zeros(tuple(shape), device=tensor.device)), outputs


def _meta_copy(module: nn.Module) -> nn.Module:
    """A copy with shapes but no numbers; deepcopy's memo spares it the weights."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), parameter.requires_grad
        )
    for tensor in itertools.chain(module.buffers(), _plain_tensors(module)):
        memo.setdefault(id(tensor), torch.empty_like(tensor, device="meta", requires_grad=False))
    return copy.deepcopy(module, memo)


def _real_copy(module: nn.Module) -> nn.Module:
    # deepcopy refuses a tensor that autograd made, such as the weight that weight_norm leaves on its module
    return copy.deepcopy(
        module,
        {id(tensor): tensor.detach().clone() for tensor in _plain_tensors(module) if not tensor.is_leaf},
    )


def _plain_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Tensors that modules keep as attributes, neither parameters nor buffers."""
    for submodule in module.modules():
        for value in vars(submodule).values():
            yield from _tensors_in(value)


def _tensors_in(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        return [] if isinstance(value, nn.Parameter) else [value]
    if type(value) is dict:  # such as a cache of position biases that the last forward left
        value = list(value.values())
    if type(value) in (list, tuple):
        return [tensor for item in value for tensor in _tensors_in(item)]
    return []
