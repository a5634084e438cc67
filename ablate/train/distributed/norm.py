"""Batch norm over the images of all ranks: for the CPU here, on a GPU as torch's SyncBatchNorm does it.

Everything that normalises by the statistics of its batch goes through `torch.nn.functional.batch_norm`:
torch's modules, timm's with an activation inside, and functional calls. So this function is replaced while a
shared batch goes through the network, and no module is: names, hooks and classes stay as they are. Gradient
checkpointing computes in the backward pass again, on a GPU in another thread, and has to meet the same
function there, so the replacement is one of the process, which trains nothing else.

With x̂ = (x - m) / √(v + ε) over N numbers a channel, and g the gradient of the output:
dx = w / √(v + ε) · (g - Σg / N - x̂ · Σ(g x̂) / N), with m, v and both sums over all ranks (Ioffe & Szegedy
2015, arXiv:1502.03167, §3). dw and db stay those of the rank: they are added up like any other gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm

from ablate.train.distributed.ranks import Ranks

_own_batch_norm = functional.batch_norm


@contextmanager
def batch_norm_shared(ranks: Ranks) -> Iterator[None]:
    """Inside, batch norm in training mode takes its statistics from the batches of all ranks."""

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
        """As torch's own; input (B, C, …) of this rank."""
        running = (running_mean, running_var)
        if not training:
            return _own_batch_norm(input, *running, weight, bias, training, momentum, eps)
        if input.device.type == "cuda":
            world = dist.group.WORLD
            return SyncBatchNorm.apply(input, weight, bias, *running, eps, momentum, world, ranks.size)
        return _SharedNorm.apply(input, weight, bias, *running, eps, momentum, ranks)

    functional.batch_norm = batch_norm
    try:
        yield
    finally:
        functional.batch_norm = _own_batch_norm


class _SharedNorm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        eps: float,
        momentum: float,
        ranks: Ranks,
    ) -> Tensor:
        mean, variance, count = _statistics(x, ranks)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.ranks, ctx.count = ranks, count
        ctx.has_bias = bias is not None
        wide = x.to(mean.dtype)
        return _own_batch_norm(wide, mean, variance, weight, bias, False, 0.0, eps).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        others = [dim for dim in range(x.dim()) if dim != 1]
        g, centred = gradient.to(mean.dtype), x.to(mean.dtype) - _per_channel(mean, x)
        own = torch.stack([g.sum(others), (g * centred).sum(others) * inverse_std])
        total = ctx.ranks.sum(own.clone()) / ctx.count
        dx = None
        if ctx.needs_input_grad[0]:
            scale = inverse_std if weight is None else inverse_std * weight
            dx = g - _per_channel(total[0], x) - centred * _per_channel(total[1] * inverse_std, x)
            dx = (dx * _per_channel(scale, x)).to(x.dtype)
        dw = None if weight is None else own[1].to(weight.dtype)
        db = own[0] if ctx.has_bias else None
        return dx, dw, db, None, None, None, None, None


def _statistics(x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, float]:
    """Mean and biased variance [C] of all ranks' (B, C, …), and how many numbers each is of.

    The variances of the ranks are joined about the common mean, which loses no digits where the mean is large
    (Chan et al. 1983, doi:10.1080/00031305.1983.10483115).
    """
    others = [dim for dim in range(x.dim()) if dim != 1]
    wide = x if x.dtype == torch.float64 else x.float()
    variance, mean = torch.var_mean(wide, others, correction=0)
    own = torch.cat([mean, variance, mean.new_tensor([x.numel() / x.shape[1]])])
    means, variances, counts = ranks.gather(own).split([len(mean), len(mean), 1], dim=1)
    count = float(counts.sum())
    if count < 2:
        raise ValueError(f"batch norm needs more than one number a channel when training, not {count:g}")
    share = counts / count
    joined = (share * means).sum(0)
    return joined, (share * (variances + (means - joined) ** 2)).sum(0), count


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """[C] -> (1, C, 1, …)"""
    return values.view(1, -1, *[1] * (like.dim() - 2))
