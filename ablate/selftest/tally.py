"""What a simulation counts, and the lines it prints: a figure beside the limit that it must keep."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# Monte-Carlo standard errors that a figure may lie beyond its limit by chance.
STANDARD_ERRORS = 3.0


@dataclass(slots=True)
class Tally:
    """Sum, sum of squares and number of what was counted, one figure a replicate."""

    total: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, figure: float) -> None:
        self.total += figure
        self.squares += figure * figure
        self.count += 1

    def merge(self, other: Tally) -> None:
        self.total += other.total
        self.squares += other.squares
        self.count += other.count

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan

    @property
    def standard_error(self) -> float:
        if self.count < 2:
            return math.inf
        return math.sqrt(max(0.0, self.squares / self.count - self.mean**2) / (self.count - 1))


Tallies = dict[str, Tally]


def tallies(names: Iterable[str]) -> Tallies:
    return {name: Tally() for name in names}


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. group: the heading it stands under. limit: None where it is shown and judged by nobody.

    control: a procedure known to err, which must break the limit, or the test itself would be blind.
    """

    group: str
    case: str
    measure: str
    value: float
    standard_error: float
    replicates: int
    rule: Literal["at most", "at least"] = "at most"
    limit: float | None = None
    control: bool = False

    @property
    def keeps_limit(self) -> bool:
        if self.limit is None:
            return True
        return self.value <= self.limit if self.rule == "at most" else self.value >= self.limit

    @property
    def passed(self) -> bool:
        return self.keeps_limit != self.control


def error_limit(nominal: float, replicates: int) -> float:
    """What an error rate that is truly `nominal` stays below, but for one simulation in 700."""
    return nominal + STANDARD_ERRORS * math.sqrt(nominal * (1 - nominal) / max(1, replicates))


def widened(limit: float, standard_error: float, sign: int, replicates: int, full: int) -> float:
    """A limit that leaves room of its own at `full` replicates, and none with fewer: their error is added."""
    room = STANDARD_ERRORS * standard_error if replicates < full else 0.0
    return limit + sign * room
