"""Deciding with fewer runs: one comparison looked at after 3, 5, 7 and 10 seeds, each look at its own level.

Testing at .05 after every seed errs 15 % of the time. These four levels, found by simulation, keep the error
of all looks together below .05; `ablate selftest` holds it. At each look, the first that applies:
no-op (identical predictions) · better / worse (the corrected p-value is below the look's threshold) ·
equivalent (the stage interval lies inside ±margin) · undecided (p > .5 from five seeds on, or the last look)
· open (more seeds are worth their while).

A variant that is no longer open gets no more seeds. Holm's correction goes on without those found better or
worse: they are rejected, as they would be in one go. Those that stopped otherwise keep their place in the
family as its least significant, or every variant that gave up would make the others' test easier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from ablate.stats.compare import Comparison, evidence
from ablate.stats.correction import holm
from ablate.stats.estimate import Estimate
from ablate.stats.verdict import Evidence, Procedure

Outcome = Literal["no-op", "better", "worse", "equivalent", "undecided", "open"]

# Seeds per variant at each look, and what the corrected p-value must then be below.
THRESHOLDS: Mapping[int, float] = MappingProxyType({3: 0.008, 5: 0.010, 7: 0.015, 10: 0.028})
# The look that follows; nothing follows the last.
NEXT_N: Mapping[int, int] = MappingProxyType({0: 3, 3: 5, 5: 7, 7: 10})
# From this look on, a variant whose own p-value is above _HOPELESS is given up.
_GIVE_UP_FROM = 5
_HOPELESS = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """What a look said of one variant, and went on saying at those after it unless it was open.

    n: seeds of the look that said so. evidence: with the scores there were (fewer where trials failed).
    threshold: of that look. low, high: the stage interval, which misses the true difference with probability
    `level`: the threshold divided by the number of variants, or, of one found better or worse, by its own
    step of Holm's, so that it excludes zero. Unknown p-values are NaN, unknown bounds infinite.
    """

    variant: str
    n: int
    verdict: Outcome
    evidence: Evidence
    p_value: float
    p_adjusted: float
    threshold: float
    level: float
    low: float
    high: float

    @property
    def estimate(self) -> Estimate:
        """The difference, in points. One that was declared early runs high: it had to, to be declared."""
        return self.evidence.estimate

    @property
    def is_open(self) -> bool:
        return self.verdict == "open"

    @property
    def significant(self) -> bool:
        return self.verdict in ("better", "worse")


def look(
    family: Mapping[str, Comparison],
    seeds: Iterable[int],
    procedure: Procedure,
    before: Sequence[Decision] = (),
) -> tuple[Decision, ...]:
    """One look at a family of variants, in its order.

    family: by variant, all that were planned, decided or not. seeds: of this look; their number is a key of
    THRESHOLDS, and scores of other seeds are left alone, so that a look repeats itself however far the
    trials have come since. before: what the look before returned; those not open come back as they were.
    The thresholds are of Welch's or the paired test with Holm's correction: they stand in for Dunnett's.

    Raises: ValueError for a number of seeds at which nobody looks, or a look out of its turn.
    """
    shown = frozenset(seeds)
    n = len(shown)
    if n not in THRESHOLDS:
        raise ValueError(f"nobody looks at {n} seeds, but at {', '.join(map(str, THRESHOLDS))}")
    closed = {decision.variant: decision for decision in before if not decision.is_open}
    if late := [decision.variant for decision in before if decision.is_open and NEXT_N[decision.n] != n]:
        raise ValueError(f"the look at {n} seeds is out of its turn for {', '.join(late)}")
    found = {
        name: evidence(_of_seeds(comparison, shown), by_pairs=procedure.test == "paired")
        for name, comparison in family.items()
        if name not in closed
    }
    threshold = THRESHOLDS[n]
    p_values = [one.estimate.p_value for one in found.values()]
    if procedure.correction == "holm":
        stopped = sum(not decision.significant for decision in closed.values())
        adjusted, levels = holm([*p_values, *[1.0] * stopped], threshold)
        widest = threshold / len(family)
    else:
        adjusted, levels, widest = p_values, [threshold] * len(p_values), threshold
    judged = dict(zip(found, zip(adjusted, levels, strict=False), strict=False))
    return tuple(
        closed[name] if name in closed else _decide(name, n, found[name], *judged[name], widest, procedure)
        for name in family
    )


def replay(
    family: Mapping[str, Comparison], seeds: Sequence[int], procedure: Procedure
) -> tuple[tuple[Decision, ...], ...]:
    """Every look that the seeds allow, in order, until nobody is open. seeds: as they were planned.

    A pure function of the scores: what a run decided on its way can be found again from its records.
    """
    looks: list[tuple[Decision, ...]] = []
    for n in THRESHOLDS:
        if n > len(seeds) or (looks and not any(decision.is_open for decision in looks[-1])):
            break
        looks.append(look(family, seeds[:n], procedure, looks[-1] if looks else ()))
    return tuple(looks)


def _of_seeds(comparison: Comparison, seeds: frozenset[int]) -> Comparison:
    of = {seed: score for seed, score in comparison.of.items() if seed in seeds}
    against = {seed: score for seed, score in comparison.against.items() if seed in seeds}
    return replace(comparison, of=of, against=against)


def _decide(
    name: str,
    n: int,
    found: Evidence,
    p_adjusted: float,
    level: float,
    widest: float,
    procedure: Procedure,
) -> Decision:
    """level: of Holm's step. widest: of an interval that holds for all variants at once."""
    estimate, threshold = found.estimate, THRESHOLDS[n]
    p_value = estimate.p_value
    low, high = estimate.interval(widest)
    verdict: Outcome = "open"
    if found.identical:
        verdict = "no-op"
    elif p_adjusted < threshold:
        verdict, widest = "better" if estimate.value > 0 else "worse", level
        low, high = estimate.interval(level)
    elif -procedure.margin <= low and high <= procedure.margin:
        verdict = "equivalent"
    elif n not in NEXT_N or (n >= _GIVE_UP_FROM and p_value > _HOPELESS):
        verdict = "undecided"
    return Decision(name, n, verdict, found, p_value, p_adjusted, threshold, widest, low, high)
