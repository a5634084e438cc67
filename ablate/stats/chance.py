"""When a network has learned nothing."""

from __future__ import annotations

import math


def learning_limit(chance: float, test_count: int) -> float:
    """The accuracy in percent that a trial must exceed to have learned: chance + 3 binomial standard errors.

    chance: the share (0..1) that guessing gets right: 1 / classes, or the largest class's share where it is
    larger, since a network that always answers with that class has learned nothing either.
    """
    if not 0 < chance <= 1 or test_count < 1:
        raise ValueError(
            f"chance must lie in (0, 1] and test_count be positive, not {chance} and {test_count}"
        )
    return 100 * (chance + 3 * math.sqrt(chance * (1 - chance) / test_count))
