"""Claims on latency: judged by the rounds of one session, a family of their own.

A ratio is judged on logarithms of rounds, everything else on milliseconds; round by round in either case, so
that a drift of the machine falls on all sides alike. The replicate is the round: what is said holds of these
networks on this machine, and no seed or image comes into it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ablate.record import CostRecord
from ablate.report.claim_figures import Spoken
from ablate.report.costs import contention
from ablate.report.rows import ClaimFigure
from ablate.spec.claims import Claim, Ratio
from ablate.stats import (
    Asserted,
    ClaimJudgement,
    Estimate,
    Evidence,
    Procedure,
    judge_claims,
    log_ratio,
    typical_latency,
)
from ablate.stats.compare import paired_evidence

MATTERS = 0.05  # of a latency, for planning rounds


@dataclass(frozen=True, slots=True)
class TimedTogether:
    """What a claim rests on. rounds_ms: of one session, by variant. contention: what else ran there."""

    machine: str
    rounds_ms: Mapping[str, Sequence[float]]
    contention: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JudgedLatency:
    """A claim's figures in its own unit, with all that a row needs. remarks: sentences."""

    figures: tuple[ClaimFigure, ...]
    judgement: ClaimJudgement
    verdict: str
    reason: str
    machine: str
    remarks: tuple[str, ...]


def timed_together(
    names: Sequence[str], costs: Callable[[str], Sequence[CostRecord]]
) -> TimedTogether | None:
    """The latest session that timed all of `names`, of the first machine that has one."""
    records = {name: {record.machine: record for record in costs(name)} for name in names}
    for machine in sorted(set.intersection(*(set(found) for found in records.values()))):
        here = {name: found[machine] for name, found in records.items()}
        for session in sorted(set.intersection(*(set(r.sessions) for r in here.values())), reverse=True):
            rounds_ms = {name: record.sessions[session] for name, record in here.items()}
            if len({len(rounds) for rounds in rounds_ms.values()}) == 1:
                notes = (note for record in here.values() for note in contention(record.notes))
                return TimedTogether(machine, rounds_ms, tuple(dict.fromkeys(notes)))
    return None


def judge_latency_claims(
    asked: Sequence[tuple[Claim, Sequence[Spoken], TimedTogether | None]], procedure: Procedure
) -> list[JudgedLatency | None]:
    """None for a claim whose sides no session timed together; it keeps its place in the family."""
    family = [[_asserted(claim, figure, timed) for figure in spoken] for claim, spoken, timed in asked]
    return [
        None if timed is None else _told(claim, spoken, timed, judged)
        for (claim, spoken, timed), judged in zip(asked, judge_claims(family, procedure), strict=True)
    ]


def _asserted(claim: Claim, figure: Spoken, timed: TimedTogether | None) -> Asserted:
    low, high = claim.bounds
    ends = (-math.inf if low is None else low, math.inf if high is None else high)
    if timed is None:
        return Asserted(Evidence(Estimate(math.nan, math.inf, 0.0), 0, 0, math.nan), *ends, MATTERS)
    rounds = timed.rounds_ms
    count = len(next(iter(rounds.values())))
    if not figure.weights:
        nothing = Evidence(Estimate(0.0, math.inf, 0.0), count, count, math.nan, identical=True)
        return Asserted(nothing, *ends, MATTERS)
    if isinstance(claim, Ratio):
        evidence = log_ratio(rounds[figure.sides[0]], rounds[figure.sides[1]])
        floor, roof = (math.log(end) if end > 0 else -math.inf for end in ends)
        return Asserted(evidence, floor, roof, MATTERS)
    sums = [sum(weight * rounds[name][at] for name, weight in figure.weights.items()) for at in range(count)]
    evidence = paired_evidence(sums, variance=sum(weight**2 for weight in figure.weights.values()))
    typical = max(typical_latency(rounds[name], 0.05)[0] for name in figure.sides)
    return Asserted(evidence, *ends, MATTERS * typical)


def _told(
    claim: Claim, spoken: Sequence[Spoken], timed: TimedTogether, judged: ClaimJudgement
) -> JudgedLatency:
    is_ratio = isinstance(claim, Ratio)
    figures = tuple(
        ClaimFigure(
            name=figure.name,
            value=_scaled(one.asserted.evidence.estimate.value, is_ratio),
            low=_scaled(one.low, is_ratio),
            high=_scaled(one.high, is_ratio),
            level=one.level,
            position=one.position,
            sides={name: _mean(timed.rounds_ms[name], is_ratio) for name in figure.sides},
        )
        for figure, one in zip(spoken, judged.figures, strict=True)
    )
    found = "; ".join(_in_words(figure, is_ratio) for figure in figures)
    rounds = judged.figures[0].asserted.evidence.n
    why = f"{found}, over {rounds} rounds on {timed.machine}"
    if timed.contention and judged.verdict in ("supported", "refuted") and _speaks_of_a_size(claim):
        why = (
            f"the machine was busy ({timed.contention[0]}), and how far two latencies are apart at rest "
            f"is not known: measure again with `ablate bench STUDY` on a quiet machine; {why}"
        )
        return JudgedLatency(figures, judged, "undecided", why, timed.machine, ())
    remarks: tuple[str, ...] = ()
    if timed.contention:
        remarks = (f"the size of a difference is that of a busy machine ({timed.contention[0]})",)
    why += _what_would_decide(judged)
    return JudgedLatency(figures, judged, judged.verdict, why, timed.machine, remarks)


def _speaks_of_a_size(claim: Claim) -> bool:
    """Whether a bound lies elsewhere than where two latencies are equal.

    Which of two is slower holds on a busy machine as well, for its load falls on both by turns; by how much
    does not.
    """
    equal = 1.0 if isinstance(claim, Ratio) else 0.0
    return any(bound not in (None, equal) for bound in claim.bounds)


def _mean(rounds_ms: Sequence[float], is_ratio: bool) -> float:
    """Such that the sides of a ratio divide into it, and those of a difference add up to it."""
    return typical_latency(rounds_ms, 0.05)[0] if is_ratio else fmean(rounds_ms)


_PLACES = {
    "inside": "inside what is claimed",
    "outside": "outside what is claimed",
    "across": "across a bound",
}


def _in_words(figure: ClaimFigure, is_ratio: bool) -> str:
    each = ", ".join(f"{name} {value or 0:,.3f} ms" for name, value in figure.sides.items())
    each += f" ({'geometric ' if is_ratio else ''}means of the rounds)"
    unit = "" if is_ratio else " ms"
    value = "–" if figure.value is None else f"{figure.value:,.3f}{unit}"
    if figure.low is None or figure.high is None:
        return f"{each}: {figure.name} is {value}, without an interval"
    bounds = f"[{figure.low:,.3f}, {figure.high:,.3f}]{unit}"
    share = f"{100 * (1 - (figure.level or 0)):.4g} %"
    return (
        f"{each}: {figure.name} is {value}, {share} interval {bounds}, {_PLACES[figure.position or 'across']}"
    )


def _what_would_decide(judged: ClaimJudgement) -> str:
    if judged.verdict == "undecidable":
        return "; one round tells nothing"
    if judged.verdict == "exploratory":
        return "; fewer than 5 rounds give no verdict"
    if judged.verdict != "undecided":
        return ""
    needed = [one.seeds_if_true for one in judged.figures if one.position == "across"]
    known = [count for count in needed if count is not None]
    if not known or len(known) < len(needed):
        return ""
    return f"; were the true figure the one estimated, {max(known)} rounds would decide"


def _scaled(value: float, is_ratio: bool) -> float | None:
    if math.isnan(value) or (math.isinf(value) and not is_ratio):
        return None
    if not is_ratio:
        return value
    return None if math.isinf(value) else math.exp(value)
