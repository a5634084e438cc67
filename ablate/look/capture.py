"""What modules give in a forward pass, taken by hooks that leave the network as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Seen = Callable[[nn.Module, tuple[Any, ...], Any], Any]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in eval mode inside; every module in its own mode again afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def watching(hooks: Mapping[nn.Module, Seen]) -> Iterator[None]:
    """Each module's output passes its function, which may give another in its place; removed at the end.

    Attention that follows a module by a hook of its own has acted by then: hooks run in the order in which
    they were made.
    """
    handles = [module.register_forward_hook(seen) for module, seen in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def capture(
    network: nn.Module, x: Tensor, modules: Mapping[str, nn.Module]
) -> tuple[Tensor, dict[str, tuple[Tensor, tuple[Tensor, ...]]]]:
    """(logits, {name: (input, outputs)}) of one forward in eval mode; float32, on the CPU.

    Copies: what a later module overwrites in place was taken before. A module that gives a tuple of tensors
    has several outputs. One that did not run is not among them; of one that ran more than once, the last.
    """
    taken: dict[str, tuple[Tensor, tuple[Tensor, ...]]] = {}
    names: dict[nn.Module, list[str]] = {}
    for name, module in modules.items():
        names.setdefault(module, []).append(name)

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple | list) else (output,)
        for name in names[module]:
            taken[name] = (
                _copy(inputs[0]),
                tuple(_copy(one) for one in outputs if isinstance(one, Tensor)),
            )

    with evaluating(network), watching(dict.fromkeys(names, keep)):
        logits = network(x)
    return _copy(logits), taken


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().clone()
