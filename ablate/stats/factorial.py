"""Main effects and interactions of a 2^k design, as contrasts of the cells' means.

Convention. A main effect is the difference between on and off, averaged over the other factors. An
interaction of two is the difference of differences, (both − one) − (other − neither), averaged over the
remaining factors, and so
on for more: nothing is halved, so an interaction of +0.4 says that the two together buy 0.4 points more than
the sum of what each buys alone. Errors are Welch's over the cells (Satterthwaite's degrees of freedom): cells
may differ in spread and in the number of seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ablate.stats.compare import Scores, paired_evidence, pooled_std
from ablate.stats.estimate import Estimate, spread
from ablate.stats.verdict import Evidence

Cell = frozenset[str]  # the factors that are on
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Effect:
    """One contrast. factors: one for a main effect, more for an interaction. weights: of each cell's mean.

    missing: the cells without a score, for want of which the effect cannot be estimated.
    """

    factors: tuple[str, ...]
    weights: Mapping[Cell, float]
    evidence: Evidence
    missing: tuple[Cell, ...] = ()

    def of(self, values: Mapping[Cell, float]) -> float:
        """The same contrast of another quantity of the cells: of parameters, say, or of MACs."""
        return sum(weight * values[cell] for cell, weight in self.weights.items())


def effects(
    cells: Mapping[Cell, Scores],
    factors: Sequence[str],
    *,
    within: Cell = frozenset(),
    by_pairs: bool = False,
) -> list[Effect]:
    """All effects of `factors`, main effects first; `within`: only over the cells in which these are on.

    by_pairs: the contrast is taken seed by seed over the seeds that all its cells share (a paired t test).
    """
    free = [factor for factor in factors if factor not in within]
    subsets = [subset for size in range(1, len(free) + 1) for subset in itertools.combinations(free, size)]
    return [effect_of(subset, _weights(subset, free, within), cells, by_pairs=by_pairs) for subset in subsets]


def _weights(subset: tuple[str, ...], free: Sequence[str], within: Cell) -> dict[Cell, float]:
    divisor = 2 ** (len(free) - len(subset))
    weights = {}
    for switched in itertools.product((False, True), repeat=len(free)):
        on = within | {factor for factor, is_on in zip(free, switched, strict=True) if is_on}
        off_of_subset = sum(factor not in on for factor in subset)
        weights[frozenset(on)] = (-1) ** off_of_subset / divisor
    return weights


def effect_of(
    subset: tuple[str, ...],
    weights: Mapping[Cell, float],
    cells: Mapping[Cell, Scores],
    *,
    by_pairs: bool = False,
) -> Effect:
    """Any contrast of the cells' means, for `subset` of the factors."""
    missing = tuple(cell for cell in weights if not cells.get(cell))
    counts = [len(cells.get(cell, ())) for cell in weights]
    size = sum(weight**2 for weight in weights.values())
    if missing:
        return Effect(
            subset, weights, Evidence(Estimate(math.nan, math.inf, 0.0), 0, max(counts), math.nan), missing
        )
    if by_pairs:
        shared = sorted(frozenset.intersection(*(frozenset(cells[cell]) for cell in weights)))
        contrasts = [sum(weight * cells[cell][seed] for cell, weight in weights.items()) for seed in shared]
        return Effect(subset, weights, paired_evidence(contrasts, variance=size))
    scores = {cell: [cells[cell][seed] for seed in sorted(cells[cell])] for cell in weights}
    evidence = Evidence(
        contrast_of_means(weights, scores),
        min(counts),
        max(counts),
        pooled_std(list(scores.values())),
        variance=size,
        groups=len(weights),
    )
    return Effect(subset, weights, evidence)


def contrast_of_means(weights: Mapping[Key, float], scores: Mapping[Key, Sequence[float]]) -> Estimate:
    """The weighted sum of means, with Welch's error and Satterthwaite's degrees of freedom."""
    value = sum(weight * float(np.mean(scores[cell])) for cell, weight in weights.items())
    if any(len(scores[cell]) < 2 for cell in weights):
        return Estimate(value, math.inf, 0.0)
    parts = [
        (weight**2 * spread(scores[cell]) ** 2 / len(scores[cell]), len(scores[cell]) - 1)
        for cell, weight in weights.items()
    ]
    total = sum(part for part, _ in parts)
    if total == 0:
        return Estimate(value, math.inf, 0.0)
    return Estimate(value, math.sqrt(total), total**2 / sum(part**2 / df for part, df in parts))
