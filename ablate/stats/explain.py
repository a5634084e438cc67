"""One sentence on why a verdict is what it is, and what it would take to decide."""

from __future__ import annotations

import math

from scipy import special

from ablate.stats.power import seeds_needed
from ablate.stats.verdict import SEEDS_FOR_A_VERDICT, Judgement, Procedure

# Nobody trains more seeds than this to settle one question: beyond it a figure would only feign precision.
MANY_SEEDS = 100


def explain(judgement: Judgement, procedure: Procedure) -> str:
    """Why this verdict; for one that is open, how many seeds would decide."""
    evidence, margin = judgement.evidence, procedure.margin
    match judgement.verdict:
        case "no-op":
            return "every shared seed gave the same predictions on every image: the change does nothing"
        case "undecidable":
            return _undecidable(judgement, procedure)
        case "exploratory":
            fewest = min(evidence.n, evidence.n_against)
            few = f"n = {fewest}, and fewer than {SEEDS_FOR_A_VERDICT} seeds give no verdict"
            return f"{few}; {_seeds(judgement, margin)}"
        case "equivalent":
            return f"a difference beyond ±{margin:g} points is ruled out (two one-sided tests)"
        case "undecided":
            return _undecided(judgement, margin)
        case _:
            within = f", and a difference beyond ±{margin:g} points is ruled out"
            share = _percent(1 - judgement.level)
            return f"the {share} interval excludes zero{within if 'within' in judgement.verdict else ''}"


def _undecidable(judgement: Judgement, procedure: Procedure) -> str:
    evidence = judgement.evidence
    if min(evidence.n, evidence.n_against) == 0:
        return f"no finished run on one side; {_seeds(judgement, procedure.margin)}"
    std, gap = judgement.std, abs(evidence.estimate.value)
    by_chance = ""
    if std > 0 and gap > 0:
        chance = 2 * float(special.ndtr(-gap / (std * math.sqrt(evidence.variance))))
        of_std = f"{'an assumed' if judgement.std_assumed else 'the'} seed sd of {std:.2g} points"
        by_chance = f": at {of_std} a gap of {gap:.2f} arises by chance {_percent(chance)} of the time"
    alone = f"a single run tells nothing of the spread between seeds{by_chance}"
    return f"{alone}; {_seeds(judgement, procedure.margin)}"


def _undecided(judgement: Judgement, margin: float) -> str:
    evidence = judgement.evidence
    if not evidence.estimate.known:
        return "no seed differed from another: the test set does not resolve the spread, so there is no error"
    start = f"neither zero nor a difference beyond ±{margin:g} points is ruled out"
    if judgement.seeds_to_decide is None or min(evidence.n, evidence.n_against) < judgement.seeds_to_decide:
        return f"{start}; {_seeds(judgement, margin)}"
    value = evidence.estimate.value
    seeds = seeds_needed(
        value, judgement.std, judgement.level, variance=evidence.variance, groups=evidence.groups
    )
    if seeds is None or seeds > MANY_SEEDS:
        return (
            f"{start}; a difference as small as the one found would take more than {MANY_SEEDS} seeds to show"
        )
    found = f"{value:+.2f}".replace("-", "−")
    return f"{start}; if it is {found} points, {seeds} seeds per variant would show it"


def _seeds(judgement: Judgement, margin: float) -> str:
    """How many seeds per variant would decide, whichever way."""
    assumed = f" {assumption(judgement.std)}" if judgement.std_assumed else ""
    if judgement.std == 0:
        return "how many seeds would decide cannot be reckoned, since no seed differed from another"
    if judgement.seeds_to_decide is None or judgement.seeds_to_decide > MANY_SEEDS:
        return (
            f"more than {MANY_SEEDS} seeds per variant would be needed to show a difference of {margin:g} "
            f"points, or rule it out, 4 times in 5, at a seed sd of {judgement.std:.2g} points"
        )
    return (
        f"{judgement.seeds_to_decide} seeds per variant would show a difference of {margin:g} points, or "
        f"rule it out, 4 times in 5{assumed}"
    )


def assumption(std: float) -> str:
    """What is taken for granted where no side has two runs. std: in points."""
    return f"if seeds scatter by {std:.2g} points (assumed; after two seeds it is measured)"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
