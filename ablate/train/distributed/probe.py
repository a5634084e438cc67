"""What a network does that matters for sharing it out, found by running it on a few images.

An image whose outcome depends on the other images of its batch cannot be trained beside a share of them.
Batch norm can, as its statistics are gathered; anything else is refused by name, rather than trained to
another result than one process gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.errors import AblateError
from ablate.train.generators import generators_kept, seed_generators
from ablate.train.groups import names_in_study, trainable
from ablate.train.state import FitState
from ablate.train.step import in_training_mode

_LOOKED_AT = 2  # images that stay; as many others change beside them
_TOLERANCE = 1e-4  # of a module's largest output: rounding is far below, another image far above


def refuse_mixing(network: nn.Module, state: FitState, x: Tensor, size: int) -> None:
    """Raises AblateError for a module in which an image's outcome, or a buffer, depends on other images.

    x: some images (B, C, H, W). Random draws are the same in both runs, as the shapes are. Afterwards the
    network is as it was.
    """
    stay = x[torch.arange(_LOOKED_AT) % len(x)]
    noise = torch.randn(stay.shape, generator=torch.Generator().manual_seed(0)).to(x)
    names = names_in_study(path for path, _ in network.named_modules())
    with torch.no_grad():
        outputs, buffers = _run(network, state, torch.cat([stay, noise]))
        others, buffers_then = _run(network, state, torch.cat([stay, noise.flip(0).mul(2).add(1)]))
    mixing = [path for (path, one), (_, other) in zip(outputs, others, strict=True) if _differ(one, other)]
    counting = [
        path.rpartition(".")[0]
        for path, one in buffers.items()
        if one.shape != buffers_then[path].shape or _differ(one, buffers_then[path])
    ]
    for path in (*mixing, *counting)[:1]:
        module = network.get_submodule(path)
        raise AblateError(
            f"{names[path] or 'the network'} ({type(module).__name__}) looks at all images of its batch, of "
            f"which each of {size} processes has a share only\n    train it in one process, without "
            "--gpus-per-trial"
        )


def has_unused_parameters(network: nn.Module, state: FitState, x: Tensor) -> bool:
    """Whether a backward pass leaves a parameter that takes gradients without one. Afterwards the network is
    as it was."""
    with _as_before(network), generators_kept(x.device):
        in_training_mode(network, state)
        network(x[torch.arange(_LOOKED_AT) % len(x)]).float().sum().backward()
        found = any(one.grad is None for one in trainable(network))
    for one in network.parameters():
        one.grad = None
    return found


def _run(
    network: nn.Module, state: FitState, x: Tensor
) -> tuple[list[tuple[str, Tensor]], dict[str, Tensor]]:
    """(path, what the module gave for the images that stay) as modules end, and all buffers after it."""
    found: list[tuple[str, Tensor]] = []

    def keep(path: str, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() and len(output) == len(x):
            found.append((path, output[:_LOOKED_AT].detach().float().clone()))

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: keep(path, output))
        for path, module in network.named_modules()
    ]
    try:
        with _as_before(network), generators_kept(x.device), _batch_norm_by_running_statistics():
            in_training_mode(network, state)
            seed_generators(0, x.device)
            network(x)
            buffers = {path: buffer.detach().float().clone() for path, buffer in network.named_buffers()}
    finally:
        for hook in hooks:
            hook.remove()
    return found, buffers


def _differ(one: Tensor, other: Tensor) -> bool:
    """By more than rounding; of what is not finite nothing is said."""
    if not one.numel():
        return False
    difference, size = ((value.abs().nan_to_num(0.0, 0.0, 0.0)).max() for value in (one - other, one))
    return bool(difference > _TOLERANCE * size)


@contextmanager
def _as_before(network: nn.Module) -> Iterator[None]:
    """Its buffers are those of before; a module may have put others in their place."""
    kept = [
        (module, name, buffer, buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, then in kept:
                module._buffers[name] = buffer.copy_(then)


@contextmanager
def _batch_norm_by_running_statistics() -> Iterator[None]:
    """Inside, batch norm looks at no batch: it is the one module that may."""
    own = functional.batch_norm

    def batch_norm(
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if running_mean is None or running_var is None:
            running_mean, running_var = input.new_zeros(input.shape[1]), input.new_ones(input.shape[1])
        return own(input, running_mean, running_var, weight, bias, False, 0.0, eps)

    functional.batch_norm = batch_norm
    try:
        yield
    finally:
        functional.batch_norm = own
