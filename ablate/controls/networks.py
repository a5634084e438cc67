"""What tells two networks apart without training them: tensors, operators, and what one batch does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

BATCH_SIZE = 2  # the least at which batch norm trains, and another image's gate is not one's own
SEED = 0

_PLAIN = (bool, int, float, complex, str, type(None), torch.dtype, torch.layout, torch.memory_format)


def graph_digest(make: Callable[[], nn.Module], image_shape: Sequence[int]) -> str:
    """Of names and shapes of all tensors, and of every operator of a training forward with its arguments.

    make: builds the network, here on the meta device. image_shape: (C, H, W). Networks that cannot run there
    share one digest as far as the rest is the same: more must be asked of them.
    """
    tensors, operators = "unknown", ["unknown"]
    # A user's own module may raise anything, and an operator may have no meta version.
    try:
        with torch.device("meta"):
            network = make()
        tensors = repr([(name, tuple(tensor.shape), tensor.dtype) for name, tensor in _tensors(network)])
        with torch.no_grad(), _Recorder() as recorder:
            network.train()(torch.zeros((BATCH_SIZE, *image_shape), device="meta"))
        operators = recorder.operators
    except Exception:
        pass
    return _digest(text.encode() for text in (tensors, *operators))


class _Recorder(TorchDispatchMode):
    """Writes down every operator with the shapes of its tensors and its other arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.operators.append(f"{func} {tree_map(_described, (args, kwargs or {}))!r}")
        return func(*args, **(kwargs or {}))


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return "tensor", tuple(value.shape), str(value.dtype)
    return value if isinstance(value, _PLAIN) else type(value).__name__


def behaviour_digest(make: Callable[[], nn.Module], image_shape: Sequence[int]) -> str | None:
    """Of weights as initialised, output of a training forward on one random batch, and all gradients.

    On the CPU; the gradients tell apart what starts as the identity. None for a network that cannot run.
    """
    # A user's own module may raise anything; its trial will say so.
    try:
        with torch.random.fork_rng(devices=[]):
            network = make().train()
            before = [*_named_bytes(_tensors(network))]
            images = torch.randn((BATCH_SIZE, *image_shape), generator=torch.Generator().manual_seed(SEED))
            torch.manual_seed(SEED)  # of what drops out
            output = network(images)
            # Each logit with a weight of its own: a plain sum has no gradient behind a normalisation.
            weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).reshape(output.shape)
            (output * weights).sum().backward()
    except Exception:
        return None
    gradients = [(name, p.grad) for name, p in network.named_parameters() if p.grad is not None]
    return _digest([*before, *_named_bytes([("output", output), *gradients])])


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def _named_bytes(tensors: Iterable[tuple[str, Tensor]]) -> Iterable[bytes]:
    """Copies; a digest of each, not the tensor itself, is kept."""
    for name, tensor in tensors:
        data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        yield name.encode() + hashlib.sha256(data.tobytes()).digest()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
