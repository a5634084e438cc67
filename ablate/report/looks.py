"""How often the results were read, and what the rule of `run --until-decided` made of its looks.

Under that rule the number of a variant's seeds depends on its scores, so its verdict against the baseline
comes from the rule, with the stage interval, and from no test that thinks the number was fixed. Everything
else that the report judges (effects, sweeps, controls, claims on other figures) is shown as *exploratory*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ablate.record import Look, PlannedLooks, StudyPlan
from ablate.report import numbers
from ablate.stats import (
    NEXT_N,
    THRESHOLDS,
    Comparison,
    Decision,
    Estimate,
    Judgement,
    Procedure,
    Verdict,
    compare,
    look,
)
from ablate.stats.power import critical_value

if TYPE_CHECKING:
    from ablate.report.comparisons import Comparisons
    from ablate.report.rows import Against, Report, VariantRow
    from ablate.store import Store

FAMILY = "variants, by the rule of --until-decided"
HEADER = (
    "Variant",
    "Look at",
    "n : n",
    "Δ, points",
    "Stage interval at",
    "p adjusted",
    "Needed below",
    "Verdict",
)
# Simulated at a seed sd of 0.3 points: a true difference of 0.3, where it is declared, reads 0.45.
RUNS_HIGH = (
    "A difference that is declared early runs high, for it had to look large to be declared: by about 0.15 "
    "points at a true 0.3."
)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A variant under the rule. looks: those at which it was still open, the one that decided last.

    seeds: given to it so far. waiting: of these, not trained yet.
    """

    variant: str
    looks: tuple[Decision, ...]
    seeds: int
    waiting: int

    @property
    def decided(self) -> Decision | None:
        return self.looks[-1] if self.looks and not self.looks[-1].is_open else None


@dataclass(frozen=True, slots=True)
class UntilDecided:
    """What the rule did. seeds: in the order in which they are given out; runs: trials given so far, the
    baseline's among them; runs_at_most: with every seed for everyone.
    """

    seeds: tuple[int, ...]
    baseline: str
    variants: tuple[LookedAt, ...]
    runs: int
    runs_at_most: int

    @property
    def over(self) -> bool:
        return all(one.decided is not None for one in self.variants)

    def given(self) -> dict[str, tuple[int, ...]]:
        """The seeds that each variant is to have, as far as the looks that were held can tell."""
        counts = {one.variant: _entitled(one.looks) for one in self.variants}
        counts[self.baseline] = max(counts.values())
        return {name: self.seeds[:count] for name, count in counts.items()}


@dataclass(frozen=True, slots=True)
class Looks:
    """taken: every reading of the results. post_hoc: why all verdicts of the report are, if they are."""

    taken: tuple[Look, ...] = ()
    post_hoc: str | None = None
    until_decided: UntilDecided | None = None


NONE_TAKEN = Looks()


# When the results were read


def note_look(store: Store, report: Report) -> None:
    """A look is a reading of results that nobody had read: the same results again are no new look."""
    plan = store.read_plan(report.study)
    finished = sum(row.n for row in report.variants)
    last = plan.looks[-1].finished if plan is not None and plan.looks else 0
    if finished != last:
        date = datetime.now(UTC).isoformat(timespec="milliseconds")
        store.add_look(report.study, Look(date=date, finished=finished, seeds=len(report.seeds)))


# The rule


def hold_looks(
    family: Mapping[str, Comparison],
    baseline: str,
    ended: Callable[[str, int], bool],
    rule: PlannedLooks,
    procedure: Procedure,
) -> tuple[tuple[Decision, ...], ...]:
    """Every look that can be held: the baseline and all that are still open have run all its seeds.

    ended: whether the trial of a variant and a seed has, well or not. A function of what was trained alone,
    so that it comes out the same however often a run was cut short.
    """
    held: list[tuple[Decision, ...]] = []
    for n in THRESHOLDS:
        still = [one.variant for one in held[-1] if one.is_open] if held else list(family)
        seeds = rule.seeds[:n]
        if not still or not all(ended(name, seed) for name in (baseline, *still) for seed in seeds):
            break
        held.append(look(family, seeds, procedure, held[-1] if held else ()))
    return tuple(held)


def until_decided(
    plan: StudyPlan, rows: Mapping[str, VariantRow], comparisons: Comparisons, procedure: Procedure
) -> UntilDecided | None:
    """What the rule says of the trials there are; None for a study that is not run under it."""
    rule = plan.until_decided
    if rule is None:
        return None
    base = rows[plan.baseline]
    states = {name: {trial.seed: trial.status for trial in row.trials} for name, row in rows.items()}
    family = {
        name: Comparison(row.scores, base.scores, comparisons.same(row, base))
        for name, row in rows.items()
        if row is not base
    }
    held = hold_looks(
        family, base.name, lambda name, seed: states[name].get(seed) in ("done", "failed"), rule, procedure
    )
    return UntilDecided(
        seeds=rule.seeds,
        baseline=base.name,
        variants=tuple(
            LookedAt(
                variant=name,
                looks=_until_closed([one for each in held for one in each if one.variant == name]),
                seeds=len(states[name]),
                waiting=sum(status == "pending" for status in states[name].values()),
            )
            for name in family
        ),
        runs=sum(map(len, states.values())),
        runs_at_most=len(rule.seeds) * len(rows),
    )


def _until_closed(looks: Sequence[Decision]) -> tuple[Decision, ...]:
    """Later looks repeat what was decided."""
    distinct = {one.n: one for one in looks}
    return tuple(distinct.values())


def _entitled(looks: Sequence[Decision]) -> int:
    last = looks[-1] if looks else None
    if last is None:
        return NEXT_N[0]
    return NEXT_N[last.n] if last.is_open else last.n


def judged_by_rule(
    against: Against,
    found: LookedAt,
    procedure: Procedure,
    at_look: Callable[[int], tuple[Comparison, Estimate | None]],
) -> Against:
    """The comparison with the baseline, with the verdict, the interval and the reason of the rule.

    at_look: by the number of seeds, what that look saw, and the same difference on new images.
    """
    if not found.looks:
        first = NEXT_N[0]
        waits = _unjudged(against, f"the first look, at {first} seeds, is still to come")
        return replace(waits, family=FAMILY)
    last = found.looks[-1]
    estimate = last.estimate
    pair, new_images = at_look(last.n)
    test: Literal["paired", "welch"] = "paired" if procedure.test == "paired" else "welch"
    (alone,) = compare([pair], replace(procedure, test=test, correction="none", level=last.level))
    judgement = replace(
        alone,
        evidence=last.evidence,
        p_value=last.p_value,
        p_adjusted=last.p_adjusted,
        level=last.level,
        low=last.low,
        high=last.high,
        inner=(last.low, last.high),
        inner_level=last.level / 2,
        critical=critical_value(estimate.df, last.level) if estimate.known else math.nan,
        verdict=_verdict(last),
    )
    said = reason(last, procedure)
    return replace(against, judgement=judgement, reason=said, family=FAMILY, new_images=new_images)


def _verdict(decision: Decision) -> Verdict:
    return "undecided" if decision.verdict == "open" else decision.verdict


def reason(decision: Decision, procedure: Procedure) -> str:
    """One sentence: what the look went by."""
    at = f"look at {decision.n} seeds"
    lost = decision.n - min(decision.evidence.n, decision.evidence.n_against)
    fewer = f" ({lost} of them failed on a side)" if lost else ""
    share = f"{100 * (1 - decision.level):.4g} % stage interval"
    match decision.verdict:
        case "no-op":
            return f"{at}{fewer}: the same predictions on every image, so the change does nothing"
        case "better" | "worse":
            return (
                f"{at}{fewer}: {_p(decision.p_adjusted)} after correction, below the "
                f"{decision.threshold:.3f} of this look; a difference declared early runs high"
            )
        case "equivalent":
            return f"{at}{fewer}: the {share} lies inside ±{procedure.margin:g} points"
        case "undecided" if decision.n in NEXT_N:
            return f"{at}{fewer}: given up, as {_p(decision.p_value)}, above 0.5"
        case "undecided":
            beyond = f"a difference beyond ±{procedure.margin:g} points"
            return f"{at}{fewer}, the last: neither zero nor {beyond} is ruled out"
        case _:
            return f"{at}{fewer}: still open, so that it goes on to {NEXT_N[decision.n]} seeds"


def _p(value: float) -> str:
    shown = numbers.p_value(value)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


# What the rule does not decide


def exploratory(judgement: Judgement) -> Judgement:
    """Of a comparison that the rule's error is not about: shown, and deciding nothing."""
    settled = judgement.verdict in ("no-op", "undecidable")
    return judgement if settled else replace(judgement, verdict="exploratory")


UNPLANNED = (
    "--until-decided gave the seeds out by the scores, and its error is that of comparisons with the "
    "baseline alone; with a fixed number of seeds, in a study of another name, this would have a verdict"
)


def _unjudged(against: Against, why: str) -> Against:
    judgement = exploratory(against.judgement)
    return replace(
        against, judgement=judgement, reason=why if judgement.verdict == "exploratory" else against.reason
    )


def unplanned(against: Against) -> Against:
    """A comparison with something else than the baseline, under the rule."""
    return _unjudged(against, UNPLANNED)


# Words


def table(report: Report) -> tuple[Sequence[str], list[Sequence[str]]]:
    """A line a variant and look."""
    rule = report.looks.until_decided
    return HEADER, [
        [
            one.variant,
            f"{at.n}",
            f"{at.evidence.n} : {at.evidence.n_against}",
            f"{numbers.signed(at.estimate.value)} {numbers.interval(at.low, at.high)}",
            f"{100 * (1 - at.level):.2f} %",
            numbers.p_value(at.p_adjusted),
            f"{at.threshold:.3f}",
            at.verdict,
        ]
        for one in (rule.variants if rule else ())
        for at in one.looks
    ]


def notes(report: Report) -> list[str]:
    """Plain text beside the table."""
    rule = report.looks.until_decided
    if rule is None:
        return []
    looks = ", ".join(map(str, THRESHOLDS))
    found = [
        f"Seeds were given out until a variant was decided: looks at {looks} seeds, each at a level of its "
        "own, with Holm's correction over all variants, and equivalence by the stage interval; given up from "
        "5 seeds on where p is above 0.5. The rule errs as rarely as one test with a fixed number of seeds. "
        f"{RUNS_HIGH} Effects, sweeps, controls and other claims are exploratory here."
    ]
    if rule.over:
        found.append(
            f"{rule.runs} runs instead of {rule.runs_at_most} with {len(rule.seeds)} seeds for everyone: "
            f"{rule.runs_at_most - rule.runs} saved."
        )
    else:
        still = [one.variant for one in rule.variants if one.decided is None]
        found.append(
            f"Not over: {', '.join(still)} {'is' if len(still) == 1 else 'are'} still open after {rule.runs} "
            f"runs of {rule.runs_at_most} at most."
        )
    return found


def document(looks: Looks) -> dict[str, Any]:
    """For JSON."""
    rule = looks.until_decided
    return {
        "post_hoc": looks.post_hoc,
        "until_decided": None
        if rule is None
        else {
            "seeds": list(rule.seeds),
            "over": rule.over,
            "runs": rule.runs,
            "runs_at_most": rule.runs_at_most,
            "variants": [
                {
                    "variant": one.variant,
                    "seeds": one.seeds,
                    "decided_at": one.decided.n if one.decided else None,
                    "looks": [_look(at) for at in one.looks],
                }
                for one in rule.variants
            ],
        },
    }


def _look(at: Decision) -> dict[str, Any]:
    return {
        "n": at.n,
        "verdict": at.verdict,
        "delta": at.estimate.value,
        "stage_ci": [at.low, at.high],
        "ci_level": 1 - at.level,
        "p_value": at.p_value,
        "p_adjusted": at.p_adjusted,
        "threshold": at.threshold,
    }
