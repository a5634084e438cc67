"""Latencies of networks that were timed in turns: their ratio, by a paired t test on logarithms of rounds.

The replicate is the round, not the call: calls that follow one another correlate. Only rounds of one session
are paired, and a drift of the machine falls on both sides of a pair alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ablate.stats.compare import paired_evidence
from ablate.stats.correction import holm
from ablate.stats.estimate import Estimate
from ablate.stats.verdict import SEEDS_FOR_A_VERDICT, Evidence, Procedure

# The same number as of seeds: a t test on fewer finds little but what needs no test.
ROUNDS_FOR_A_VERDICT = SEEDS_FOR_A_VERDICT

LatencyVerdict = Literal["slower", "faster", "no difference found", "exploratory", "undecidable"]


@dataclass(frozen=True, slots=True)
class LatencyJudgement:
    """How long a network takes as a multiple of another; the interval at 1 − level, after correction."""

    ratio: float
    low: float
    high: float
    level: float
    rounds: int
    p_value: float
    p_adjusted: float
    verdict: LatencyVerdict


def log_ratio(of_ms: Sequence[float], against_ms: Sequence[float]) -> Evidence:
    """The logarithm of the ratio, a difference a round. ValueError for rounds of another number."""
    return paired_evidence(
        [math.log(of) - math.log(against) for of, against in zip(of_ms, against_ms, strict=True)],
        variance=2.0,
    )


def judge_latencies(family: Sequence[Evidence], procedure: Procedure) -> list[LatencyJudgement]:
    """Judge log ratios, corrected together as the procedure says; the order is kept."""
    p_values = [one.estimate.p_value for one in family]
    adjusted, levels = p_values, [procedure.level] * len(p_values)
    if procedure.correction == "holm":
        adjusted, levels = holm(p_values, procedure.level)
    judged = []
    for one, p_value, p_adjusted, level in zip(family, p_values, adjusted, levels, strict=True):
        low, high = one.estimate.interval(level)
        judged.append(
            LatencyJudgement(
                ratio=math.exp(one.estimate.value),
                low=math.exp(low),
                high=math.exp(high) if high < math.inf else math.inf,
                level=level,
                rounds=one.n,
                p_value=p_value,
                p_adjusted=p_adjusted,
                verdict=_verdict(one, p_adjusted <= procedure.level),
            )
        )
    return judged


def _verdict(one: Evidence, significant: bool) -> LatencyVerdict:
    if not one.estimate.known:
        return "undecidable"
    if one.n < ROUNDS_FOR_A_VERDICT:
        return "exploratory"
    if not significant:
        return "no difference found"
    return "slower" if one.estimate.value > 0 else "faster"


def typical_latency(rounds_ms: Sequence[float], level: float) -> tuple[float, float, float]:
    """Geometric mean of the rounds in milliseconds, with the t interval of their logarithms.

    One round has the interval from 0 to infinity.
    """
    found: Estimate = log_ratio(rounds_ms, [1.0] * len(rounds_ms)).estimate
    low, high = found.interval(level)
    return math.exp(found.value), math.exp(low), math.exp(high) if high < math.inf else math.inf
