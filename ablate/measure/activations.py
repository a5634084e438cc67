"""Activations of a network, by two conventions.

Elements: of the outputs of convolutions and linear layers (any product with a weight matrix), one image, in
evaluation: the count of Radosavovic et al., "Designing Network Design Spaces" (CVPR 2020), which takes
convolutions, extended to linear layers as fvcore does. Products of two activations, as inside attention, are
left out, since a fused kernel never writes them. Saved bytes: what autograd keeps for the backward pass, each
storage once; parameters and buffers left out, the images counted where a layer keeps them.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_COUNTED = {_aten.convolution, _aten._convolution, _aten.addmm, _aten.mm, _aten.linear}


class _Outputs(TorchDispatchMode):
    """elements: by the path of the module whose own forward made them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.running = [""]

    def watch(self, network: nn.Module) -> nn.Module:
        for path, module in network.named_modules():
            module.register_forward_pre_hook(partial(self._enter, path))
            module.register_forward_hook(self._leave)
        return network

    def _enter(self, path: str, _module: nn.Module, _inputs: Any) -> None:
        self.running.append(path)

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self.running.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in _COUNTED:
            self.elements[self.running[-1]] += output.numel()
        return output


def count_activations(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Elements for one image of (C, H, W), counted on the meta device; the network stays as it was."""
    return activations_by_module(network, image_shape).total()


def activations_by_module(network: nn.Module, image_shape: Sequence[int]) -> Counter[str]:
    """The same of each module itself, without its children, by path; sums to the count of the network."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it runs a whole layer as one operator
    try:
        with torch.device("meta"), torch.no_grad(), _Outputs() as outputs:
            twin = outputs.watch(copy.deepcopy(network, memo).eval())
            twin(torch.empty((1, *image_shape), dtype=dtype))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return outputs.elements


def saved_bytes(network: nn.Module, images: Tensor) -> int:
    """Bytes kept for the backward pass of images [B,C,H,W]; the network is run in its own mode."""
    constant = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in constant:
            kept[storage.data_ptr()] = storage  # held, so that no later tensor takes its address
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(images)
    total = sum(storage.nbytes() for storage in kept.values())
    del output
    return total
