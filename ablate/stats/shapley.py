"""A chain of parts: what each adds in one order, and its share over all orders (Shapley 1953).

The increment of a part depends on where in the chain it stands: what two parts buy only together falls
to whichever comes later. Its Shapley share is its increment averaged over all k! orders, each as likely as
any other. The shares add up to what all parts together buy; each is a contrast of the 2^k cells' means,

    share(i) = sum over the sets S without i of |S|! (k - |S| - 1)! / k! * (mean(S + i) - mean(S)),

so that it has an error like any contrast: Welch's, with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from ablate.stats.compare import Scores
from ablate.stats.factorial import Cell, Effect, effect_of


def increments(cells: Mapping[Cell, Scores], order: Sequence[str], *, by_pairs: bool = False) -> list[Effect]:
    """What each part adds on top of those before it in `order`."""
    return [
        effect_of(
            (factor,),
            {frozenset(order[: position + 1]): 1.0, frozenset(order[:position]): -1.0},
            cells,
            by_pairs=by_pairs,
        )
        for position, factor in enumerate(order)
    ]


def shares(cells: Mapping[Cell, Scores], factors: Sequence[str], *, by_pairs: bool = False) -> list[Effect]:
    """The Shapley share of each factor, in the order given."""
    return [
        effect_of((factor,), share_weights(factor, factors), cells, by_pairs=by_pairs) for factor in factors
    ]


def share_weights(factor: str, factors: Sequence[str]) -> dict[Cell, float]:
    """The weight of each of the 2^k cells in the share of one factor."""
    others = [other for other in factors if other != factor]
    count, weights = len(factors), {}
    for size in range(len(others) + 1):
        weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
        for before in itertools.combinations(others, size):
            weights[frozenset({*before, factor})] = weight
            weights[frozenset(before)] = -weight
    return weights
