"""Dropout with the masks that one process would draw: each rank draws those of the whole batch and takes its
own rows.

The masks are drawn by torch's own functions on a tensor of ones as large as the whole batch, from a stream
that all ranks hold alike and that begins each epoch as a single process's generators do. So a CPU gives the
same masks bit for bit. What draws by itself (stochastic depth, attention's fused dropout) draws from the
generators of each rank, and knows only its own images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from ablate.train.distributed.shares import Part
from ablate.train.generators import get_generators, set_generators

_FUNCTIONS = ("dropout", "dropout1d", "dropout2d", "dropout3d")


class WholeMasks:
    """states: of the stream from which all ranks draw alike, as `get_generators` gives it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.states = get_generators(device)

    def take_over(self) -> None:
        """Go on from torch's generators as they stand now."""
        self.states = get_generators(self._device)

    @contextmanager
    def drawn_for(self, part: Part) -> Iterator[None]:
        """Inside, torch's dropout functions draw for the whole of this part of a batch."""
        own = {name: getattr(functional, name) for name in _FUNCTIONS}
        try:
            for name, function in own.items():
                setattr(functional, name, self._drawing(function, part))
            yield
        finally:
            for name, function in own.items():
                setattr(functional, name, function)

    def _drawing(self, function: Callable[..., Tensor], part: Part) -> Callable[..., Tensor]:
        before, whole = part.first - part.start, part.end - part.start

        def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
            if not training or not input.dim() or len(input) % part.count:
                return function(input, p, training, inplace)
            each = len(input) // part.count  # rows an image, such as heads of attention
            with self._stream():
                masks = function(_ones_like(input, whole * each), p, True, False)
            mask = masks[before * each : before * each + len(input)]
            return input.mul_(mask) if inplace else input * mask

        return dropout

    @contextmanager
    def _stream(self) -> Iterator[None]:
        own = get_generators(self._device)
        set_generators(self.states, self._device)
        try:
            yield
            self.states = get_generators(self._device)
        finally:
            set_generators(own, self._device)


def _ones_like(x: Tensor, rows: int) -> Tensor:
    """Of so many rows and in the same layout, by which the order of the draws goes."""
    flat = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if flat else torch.contiguous_format
    return torch.ones((rows, *x.shape[1:]), dtype=x.dtype, device=x.device).contiguous(memory_format=layout)
