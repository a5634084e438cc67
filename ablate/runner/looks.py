"""`run --until-decided`: which seeds a variant gets, as the looks at the results decide.

Nothing is remembered but the rule itself. Whatever was trained, by this run or another, the looks are held
again over the records, so that a run that was killed at any point goes on with the same decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ablate.errors import Problems
from ablate.record import PlannedLooks, StudyPlan
from ablate.report.claims import asks_the_rule
from ablate.report.rows import Report
from ablate.spec import Study
from ablate.stats import NEXT_N, THRESHOLDS
from ablate.variants import Expansion

MOST_SEEDS = max(THRESHOLDS)
# The thresholds of the looks keep this level, and no other.
_LEVEL = 0.05
_COMMAND_LINE = "command line"
_OPTION = "--until-decided"


def make_rule(
    study: Study,
    expansion: Expansion,
    before: StudyPlan | None,
    *,
    seeds: Sequence[int] | None,
    force: Sequence[str],
    asked_for: bool,
) -> PlannedLooks | None:
    """The rule of a study that is run under it, now or when it was begun; StudyError where none can be.

    before: the plan of the last run. seeds, force: of the command line.
    """
    begun = before.until_decided if before is not None else None
    if not asked_for and begun is None:
        return None
    problems = Problems()
    family = tuple(variant.name for variant in expansion.variants if variant.name != study.baseline)
    if not family:
        problems.add(
            f"{_OPTION} has nothing to decide: the study has no variant but its baseline", where=_COMMAND_LINE
        )
    if not study.seeds and seeds is None:
        problems.add(
            f"{_OPTION} has no seeds to give out: the study trains nothing",
            where=study.where("seeds"),
            field="seeds",
            hint="give the study seeds, or name some with --seeds",
        )
    if study.analysis.level != _LEVEL:
        problems.add(
            f"the looks of {_OPTION} are made for a level of {_LEVEL:g}, not {study.analysis.level:g}",
            where=study.where("analysis", "level"),
            field="analysis.level",
            hint=f"leave the level at {_LEVEL:g}, or run a fixed number of seeds",
        )
    if force:
        problems.add(
            f"--force does not go with {_OPTION}: a trial that is trained anew may come out otherwise, and "
            "the rule has decided on what it was",
            where=_COMMAND_LINE,
        )
    order = _order(study, seeds, problems)
    if begun is not None and order and order != begun.seeds:
        problems.add(
            f"{_OPTION} has begun with the seeds {_listed(begun.seeds)} and cannot go on with "
            f"{_listed(order)}",
            where=_COMMAND_LINE if seeds is not None else study.where("seeds"),
            hint="keep the seeds, or give the study another name",
        )
    problems.raise_if_any()
    return PlannedLooks(seeds=order, family=family)


def _order(study: Study, seeds: Sequence[int] | None, problems: Problems) -> tuple[int, ...]:
    """In which order seeds are given out. Those of a study that says how many go on beyond that number."""
    said = tuple(study.seeds if seeds is None else seeds)
    if len(said) >= MOST_SEEDS:
        return said[:MOST_SEEDS]
    if seeds is None and said == tuple(range(len(said))):
        return tuple(range(MOST_SEEDS))
    problems.add(
        f"{_OPTION} gives out up to {MOST_SEEDS} seeds, and {len(said)} are listed by hand: {_listed(said)}",
        where=_COMMAND_LINE if seeds is not None else study.where("seeds"),
        hint=f"list {MOST_SEEDS}, or write a number in the study and leave --seeds out",
    )
    return ()


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def first_seeds(rule: PlannedLooks, baseline: str) -> Mapping[str, tuple[int, ...]]:
    """Of everyone, before the first look."""
    return dict.fromkeys((baseline, *rule.family), rule.seeds[: NEXT_N[0]])


def describe_rule(rule: PlannedLooks, study: Study, before: StudyPlan | None) -> list[str]:
    """What is to be known of a run under the rule."""
    looks = ", ".join(map(str, THRESHOLDS))
    found = [f"{_OPTION}: looks at {looks} seeds; a variant that is decided gets no more"]
    others = {
        "effects": study.designs,
        "sweeps": study.sweeps,
        "controls": study.controls,
        "other claims on accuracy": [
            claim
            for claim in study.claims
            if claim.metric == "accuracy" and not asks_the_rule(claim, study.baseline)
        ],
    }
    if shown := [name for name, there in others.items() if there]:
        found.append(
            f"{_OPTION} decides comparisons with {study.baseline}; {', '.join(shown)} stay exploratory"
        )
    if before is not None and before.looks:
        begun = before.until_decided
        if begun is None:
            found.append(
                f"results of this study were read before {_OPTION}: its verdicts will print post hoc"
            )
        elif begun.family != rule.family:
            found.append(
                f"whom {_OPTION} judges has changed since its first look: its verdicts will print post hoc"
            )
    return found


def stage_sentences(report: Report) -> list[str]:
    """What the newest look has made of the variants, a line each."""
    rule = report.looks.until_decided
    if rule is None:
        return []
    rows = {row.name: row for row in report.variants}
    newest = max((found.looks[-1].n for found in rule.variants if found.looks), default=0)
    lines = []
    for found in rule.variants:
        against = rows[found.variant].against
        if found.looks and found.looks[-1].n == newest and against is not None:
            lines.append(f"{found.variant}: {against.judgement.verdict}; {against.reason}")
    if not lines:
        lines.append(f"the first look, at {NEXT_N[0]} seeds, waits for trials that this run has not trained")
    return lines
