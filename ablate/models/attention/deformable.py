"""Deformable convolution: Dai et al. 2017, arXiv:1703.06211, equations 2-4, by torchvision's operator.

y(p) = Σ over the k² taps n of w_n · x(p + n + Δ_n(p)), x sampled bilinearly and 0 outside; the offsets Δ come
from a convolution of the same kernel, C→2k², that starts at zero: at first this is the plain convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.models.construct import ModelError

OPERATOR = "torchvision::deform_conv2d"


class DeformableConv2d(nn.Conv2d):
    """A k×k convolution, stride 1, that keeps the size of its map. (B, C, H, W) -> (B, out, H, W).

    The same random draws as nn.Conv2d makes give the same weights. Raises ModelError without a torchvision
    that fits torch, and on CUDA in deterministic mode when a gradient is to follow.
    """

    # its backward adds with atomics, and not every torchvision tells torch so
    nondeterministic = (OPERATOR,)

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        _operator()
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)
        self.offset = _ZeroConv2d(in_channels, 2 * kernel**2, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and torch.are_deterministic_algorithms_enabled() and torch.is_grad_enabled():
            raise ModelError(f"{OPERATOR} has no deterministic backward on CUDA; {_WAY_OUT}")
        # the operator takes one type only, and has no bfloat16 on the CPU
        dtype = torch.float64 if x.dtype is torch.float64 else torch.float32
        parts = (part.to(dtype) for part in (x, self.offset(x), self.weight, self.bias))
        return _operator()(*parts, padding=self.padding).to(x.dtype)


_WAY_OUT = "set train.deterministic: false, or msa's deformable: false"


class _ZeroConv2d(nn.Conv2d):
    """A convolution that starts at zero, without a random draw."""

    def reset_parameters(self) -> None:
        for parameter in self.parameters(recurse=False):
            nn.init.zeros_(parameter)


def _operator():
    """torchvision.ops.deform_conv2d, imported where it is used: a torchvision that does not fit its torch
    must not keep the other mechanisms from being imported."""
    try:
        from torchvision.ops import deform_conv2d
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"deformable branches need a torchvision that fits torch {torch.__version__}; importing it failed"
            f" with {type(error).__name__}: {error}\n    install the torchvision of that torch, or set"
            " deformable: false"
        ) from error
    return deform_conv2d
