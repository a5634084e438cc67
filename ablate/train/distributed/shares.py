"""Which images of a batch each rank takes: arithmetic, nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.train.step import parts_of_step


@dataclass(frozen=True)
class Part:
    """The images [start, end) of a batch that go through the network together, and those of one rank among
    them, [first, last).

    shared: each rank has its own. A part of fewer images than there are ranks goes through every rank whole,
    since a rank without an image would have no gradient; each then computes the same.
    """

    start: int
    end: int
    first: int
    last: int
    shared: bool

    @property
    def count(self) -> int:
        """Images of this rank."""
        return self.last - self.first


def parts_of(count: int, *, batch_size: int, accumulate: int, rank: int, size: int) -> Iterator[Part]:
    """The parts of a batch of `count` images, in the order in which a single process takes them.

    batch_size, accumulate: of the recipe.
    """
    start = 0
    for whole in _nearly_equal(count, parts_of_step(count, batch_size, accumulate)):
        if whole < size:
            yield Part(start, start + whole, start, start + whole, shared=False)
        else:
            own = _nearly_equal(whole, size)
            first = start + sum(own[:rank])
            yield Part(start, start + whole, first, first + own[rank], shared=True)
        start += whole


def positions(count: int, *, batch_size: int, accumulate: int, rank: int, size: int) -> NDArray[np.int64]:
    """Where in a batch of `count` images those of this rank stand, in their order."""
    parts = parts_of(count, batch_size=batch_size, accumulate=accumulate, rank=rank, size=size)
    return np.concatenate([np.arange(part.first, part.last, dtype=np.int64) for part in parts])


def _nearly_equal(count: int, parts: int) -> list[int]:
    """As `Tensor.tensor_split` divides: the first ones are one larger."""
    least, more = divmod(count, parts)
    return [least + (number < more) for number in range(parts)]
