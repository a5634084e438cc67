"""A network whose dropout takes masks that are drawn outside, each seed's by itself."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablate.train.stacked.rules import NotStackable

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
MASK = "mask"


class _Masked(nn.Module):
    """Dropout whose mask, with the scale in it, is handed in: a buffer, so that it is mapped like one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(MASK, torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask if self.training else x


@torch.no_grad()
def find_masks(network: nn.Module, x: Tensor) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """{path: (dropout, shape of what it is given without the images)}, in the order in which they are met."""
    found: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}
    met: Counter[str] = Counter()
    hooks = []
    for path, module in network.named_modules():
        if isinstance(module, _DROPOUTS) and module.p > 0:
            outside = type(module)(module.p).train()  # not in place: what it is given here are ones

            def note(_: Any, given: Any, path: str = path, dropout: nn.Module = outside) -> None:
                met[path] += 1
                if given[0].shape[0] != len(x):
                    raise NotStackable(f"{path} is given a map that does not begin with the images")
                found[path] = (dropout, tuple(given[0].shape[1:]))

            hooks.append(module.register_forward_pre_hook(note))
    was_training = network.training
    network.eval()(x)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    twice = [path for path, times in met.items() if times > 1]
    if twice:
        raise NotStackable(
            f"{twice[0]} is met {met[twice[0]]} times in one pass: each needs a mask of its own"
        )
    return found


def masked_copy(network: nn.Module, masks: Mapping[str, Any]) -> nn.Module:
    """The network's code on the meta device: `functional_call` brings parameters, buffers and masks."""
    body = copy.deepcopy(network).to("meta")
    for path in masks:
        parent, _, name = path.rpartition(".")
        setattr(body.get_submodule(parent), name, _Masked())
    return body
