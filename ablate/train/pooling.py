"""Max pooling of 2×2 windows on a CPU, faster than torch's own and equal bit for bit.

Where a window holds a NaN, so does the result, as in torch; which of the four then gets the gradient may
differ.

torch's kernel for maps in the default layout goes window by window, and a fifth of a training step of a small
network goes there. Here whole rows are compared with rows, many numbers at a time; what the backward pass
needs is one byte a window. Torch's own backward pass then writes the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

WIDEST = 254  # an offset, at most a row and one, is kept in a byte


@contextmanager
def fast_pools(network: nn.Module) -> Iterator[None]:
    """Inside, those of torch's `MaxPool2d` that have 2×2 windows side by side run as `max_pool_2x2`. The
    network's modules and their names stay as they are, and afterwards it is as it was before."""
    changed = [module for module in network.modules() if _suits(module)]
    try:
        for module in changed:
            module.forward = max_pool_2x2
        yield
    finally:
        for module in changed:
            del module.forward


def _suits(module: nn.Module) -> bool:
    """Torch's own class, with no `forward` of its own: what another does is not known."""
    if type(module) is not nn.MaxPool2d or "forward" in vars(module):
        return False
    sides = {module.kernel_size, module.stride} <= {2, (2, 2)}
    plain = module.padding in (0, (0, 0)) and module.dilation in (1, (1, 1))
    return sides and plain and not (module.ceil_mode or module.return_indices)


def max_pool_2x2(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H // 2, W // 2), as `functional.max_pool2d(x, 2)` in value and gradient."""
    rows, columns = x.shape[-2:]
    fits = (
        x.dim() == 4
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.is_contiguous()
        and rows % 2 == columns % 2 == 0
        and columns <= WIDEST
        and x.numel() > 0
        and not torch.compiler.is_compiling()  # the compiler's own pooling fuses with what is before it
    )
    if not fits:
        return functional.max_pool2d(x, 2)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Pool.apply(x)
    return _maxima(x)


class _Pool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        found = _maxima(x)
        ctx.save_for_backward(x, _offsets(x, found))  # not `found`, in which a layer may work in place
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, offsets = ctx.saved_tensors
        rows, columns = x.shape[-2:]
        corner = torch.arange(0, rows, 2)[:, None] * columns + torch.arange(0, columns, 2)
        window, edge, step = [2, 2], [0, 0], [1, 1]
        return torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, x, window, window, edge, step, False, torch.add(corner, offsets)
        )


def _maxima(x: Tensor) -> Tensor:
    batch, channels, rows, columns = x.shape
    pairs = x.view(batch, channels, rows // 2, 2, columns)
    taller = torch.maximum(pairs[:, :, :, 0], pairs[:, :, :, 1])
    return torch.maximum(taller[..., ::2], taller[..., 1::2])


def _offsets(x: Tensor, found: Tensor) -> Tensor:
    """uint8: where in its window the maximum stands, counted from the first number along the rows of the map:
    0, 1, columns or columns + 1. Of equals the first counts, as in torch."""
    batch, channels, rows, columns = x.shape
    windows = x.view(batch, channels, rows // 2, 2, columns // 2, 2)
    not_first = torch.ne(windows[:, :, :, 0, :, 0], found)
    not_upper = torch.ne(windows[:, :, :, 0, :, 1], found).bitwise_and_(not_first)
    last = torch.ne(windows[:, :, :, 1, :, 0], found).bitwise_and_(not_upper)
    offsets = not_upper.view(torch.uint8).mul_(columns - 1)
    return offsets.add_(not_first.view(torch.uint8)).add_(last.view(torch.uint8))
