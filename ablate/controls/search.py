"""The value of a numeric argument at which a network costs nearest to what another costs.

Channels are whole numbers, so a cost is a staircase over a width. It is searched on a grid of whole numbers,
each standing for a value, between brackets that close by turns by interpolation and by halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

DECIMALS = 4  # of a fraction, counted from its first digit: 1.1234, 0.11234
FARTHEST = 64  # times the value that the search starts from
COMMON = 1024  # a whole number up to here is no odd one, wherever the search starts


class SearchError(Exception):
    """No value of the argument leads to the target; the message says why."""


@dataclass(frozen=True)
class Grid:
    """The values that an argument may take. low, high: inclusive, high possibly infinite."""

    start: int | float
    low: float
    high: float

    @property
    def digits(self) -> int:
        """After the point; whole numbers have none."""
        if isinstance(self.start, int):
            return 0
        return DECIMALS - math.floor(math.log10(self.start))

    def value(self, index: int) -> int | float:
        return index if isinstance(self.start, int) else round(index / 10**self.digits, self.digits)

    def index(self, value: float) -> int:
        return round(value * 10.0**self.digits)

    @property
    def ends(self) -> tuple[int, int]:
        """Indices of the smallest and the largest value, the latter within reach of the start."""
        scale = 10**self.digits
        low = max(1, math.ceil(round(self.low * scale, 6)))
        far = (max(self.start, COMMON) if isinstance(self.start, int) else self.start) * FARTHEST
        return low, math.floor(round(min(self.high, far) * scale, 6))


@dataclass
class Staircase:
    """cost: of an index; must not fall as the index rises. Each is asked for once."""

    cost: Callable[[int], int]
    known: dict[int, int] = field(default_factory=dict)

    def __call__(self, index: int) -> int:
        if index not in self.known:
            self.known[index] = self.cost(index)
        return self.known[index]

    def like(self, index: int, other: int) -> bool:
        """Whether `index` costs what `other` does; not asked for where a step in between is known."""
        between = range(min(index, other), max(index, other) + 1)
        if any(at in between and cost != self(other) for at, cost in self.known.items()):
            return False
        return self(index) == self(other)


def nearest(stairs: Staircase, target: int, start: int, ends: tuple[int, int], slack: float) -> int:
    """The index whose cost is nearest to `target`, or the first one found within `slack` of it.

    Raises SearchError where the cost does not move, falls, or does not reach as far.
    """
    low, high = _bracket(stairs, target, start, ends)
    by_halves = False
    while high - low > 1 and min(abs(stairs(low) - target), abs(stairs(high) - target)) > slack:
        middle = (low + high) // 2
        if not by_halves:
            share = (target - stairs(low)) / (stairs(high) - stairs(low))
            middle = min(high - 1, max(low + 1, low + round(share * (high - low))))
        if stairs(middle) < target:
            low = middle
        else:
            high = middle
        by_halves = not by_halves
    return min((low, high), key=lambda index: abs(stairs(index) - target))


def _bracket(stairs: Staircase, target: int, start: int, ends: tuple[int, int]) -> tuple[int, int]:
    """Two probes with cost(low) < target <= cost(high); the lowest index twice where nothing costs less."""
    upwards, at = stairs(start) < target, start
    # A network costs at least in proportion to its width, and about as its square: no probe is far too large.
    share = abs(target / stairs(start) - 1) if stairs(start) else 1.0
    stride = max(1, math.ceil(start * min(share, 1.0)))
    while True:
        beyond = min(ends[1], at + stride) if upwards else max(ends[0], at - stride)
        if beyond == at:
            if upwards:
                raise SearchError("stays below")
            return at, at
        low, high = sorted((at, beyond))
        if stairs(low) > stairs(high):
            raise SearchError("falls as it rises")
        if stairs(low) < target <= stairs(high):
            return low, high
        if beyond > 2 * start and stairs(beyond) == stairs(start):
            raise SearchError("does not change")
        at, stride = beyond, 2 * stride


def shortest(grid: Grid, alike: Callable[[int], bool], index: int) -> int | float:
    """The value with the fewest digits, next to that of `index`, that builds the same network."""
    value = grid.value(index)
    for digits in range(grid.digits):
        scale = 10**digits
        near = {math.floor(value * scale) / scale, math.ceil(value * scale) / scale}
        for candidate in sorted(near, key=lambda one: abs(one - value)):
            at = grid.index(candidate)
            if grid.ends[0] <= at <= grid.ends[1] and alike(at):
                return grid.value(at)
    return value
