"""How long more seeds would take, reckoned from what the finished trials took."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.record import StudyPlan, TrialRecord
from ablate.stats import MANY_SEEDS

if TYPE_CHECKING:
    from ablate.report.rows import ClaimRow, EffectRow, Report, VariantRow

_OPEN = ("undecided", "exploratory", "undecidable")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the trials of a study went.

    trial_s: mean seconds of a finished trial, by variant, beside as many others as ran with it; what a
    pretraining took is not in it. workers: of the run that trained last; None where the plan does not know.
    machine: where most trials ran.
    """

    trial_s: Mapping[str, float]
    workers: int | None = None
    machine: str | None = None


UNKNOWN = Pace({})


def pace_of(plan: StudyPlan, rows: Mapping[str, VariantRow], records: Iterable[TrialRecord]) -> Pace:
    known = {
        name: [trial.wall_s for trial in row.done if trial.wall_s is not None] for name, row in rows.items()
    }
    machines = Counter(record.environment.machine for record in records if record.status == "done")
    return Pace(
        trial_s={name: statistics.fmean(seconds) for name, seconds in known.items() if seconds},
        workers=plan.workers,
        machine=machines.most_common(1)[0][0] if machines else None,
    )


def hours(report: Report, seeds: Mapping[str, int]) -> float | None:
    """Until each of these variants has so many finished trials; what is finished already counts.

    A variant of which nothing is finished takes as long as the mean of the others; None where none is.
    """
    return hours_at(report.pace, {row.name: row.n for row in report.variants}, seeds)


def hours_at(pace: Pace, done: Mapping[str, int], seeds: Mapping[str, int]) -> float | None:
    if not pace.trial_s:
        return None
    usual = statistics.fmean(pace.trial_s.values())
    seconds = sum(
        max(0, wanted - done.get(name, 0)) * pace.trial_s.get(name, usual) for name, wanted in seeds.items()
    )
    return seconds / (pace.workers or 1) / 3600


def in_words(pace: Pace, hours: float) -> str:
    """ "about 20 minutes with 2 workers on box-cpu"."""
    where = f" on {pace.machine}" if pace.machine else ""
    workers = pace.workers or 1
    many = f" with {workers} worker{'s' if workers > 1 else ''}"
    return f"about {_duration(hours)}{many}{where}"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{max(1, round(3600 * hours))} s"
    if hours < 1.5:
        minutes = round(60 * hours)
        return f"{minutes} minute{'s' if minutes != 1 else ''}"
    if hours < 10:
        return f"{hours:.1f} hours"
    return f"{hours:,.0f} hours" if hours < 100 else f"{hours / 24:,.0f} days"


def hours_or_none(report: Report, seeds: Mapping[str, int]) -> float | None:
    """`hours`; None where no seeds are wanted, too."""
    return hours(report, seeds) if seeds else None


def document(report: Report) -> dict[str, Any]:
    """For JSON. open: in words, what would decide all that is open."""
    pace = report.pace
    return {
        "workers": pace.workers,
        "machine": pace.machine,
        "trial_s": dict(pace.trial_s),
        "open": open_sentence(report),
    }


# What is open, and what would decide it


def seeds_for_claim(report: Report, row: ClaimRow) -> dict[str, int]:
    """Seeds by variant that would decide an open claim on accuracy; empty where no number is known to."""
    if row.seeds is None or row.verdict in ("supported", "refuted"):
        return {}
    return _more(report, dict.fromkeys(row.trials, row.seeds))


def seeds_for_comparison(report: Report, row: VariantRow) -> dict[str, int]:
    """Seeds by variant that would decide an open comparison with the baseline."""
    if row.against is None:
        return {}
    judgement = row.against.judgement
    if (
        judgement.verdict not in ("undecided", "exploratory", "undecidable")
        or judgement.seeds_to_decide is None
    ):
        return {}
    return _more(report, dict.fromkeys((row.name, report.baseline), judgement.seeds_to_decide))


def seeds_for_effect(report: Report, row: EffectRow) -> dict[str, int]:
    """Seeds by variant, of all cells, that would decide an open effect."""
    judgement = row.judgement
    if row.missing or judgement.verdict not in _OPEN or judgement.seeds_to_decide is None:
        return {}
    return _more(report, dict.fromkeys(row.cells, judgement.seeds_to_decide))


def _more(report: Report, seeds: Mapping[str, int]) -> dict[str, int]:
    """Nothing where as many seeds have decided nothing already, or nobody would train so many."""
    done = {row.name: row.n for row in report.variants}
    wanted = any(done[name] < count for name, count in seeds.items())
    return dict(seeds) if wanted and max(seeds.values()) <= MANY_SEEDS else {}


def together(wanted: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Of several questions at once, the most that each variant needs: their trials serve all of them."""
    found: dict[str, int] = {}
    for one in wanted:
        for name, count in one.items():
            found[name] = max(found.get(name, 0), count)
    return found


def time_to_decide(report: Report, seeds: Mapping[str, int]) -> str | None:
    """ "about 20 minutes with 2 workers on box-cpu" for these seeds; None where nothing can be said."""
    found = hours(report, seeds) if seeds else None
    return None if found is None else in_words(report.pace, found)


def open_sentence(report: Report) -> str | None:
    """What it would take to decide the open claims and, in a study without a design, the comparisons."""
    rule = report.looks.until_decided
    if rule is not None:
        if rule.over:
            return None
        still = [one.variant for one in rule.variants if one.decided is None]
        wanted = dict.fromkeys([report.baseline, *still], len(rule.seeds))
        time = time_to_decide(report, wanted)
        return f"--until-decided goes on for at most {time}" if time else None
    apart = ("sweep", "control")
    rows = [row for row in report.variants if row.origin not in apart and row.n and not report.effects]
    wanted = together(
        [
            *(seeds_for_comparison(report, row) for row in rows),
            *(seeds_for_claim(report, row) for row in report.claims),
            *(
                seeds_for_effect(report, row)
                for row in report.effects
                if row.kind == "main" and not row.within
            ),
        ]
    )
    time = time_to_decide(report, wanted)
    if time is None:
        return None
    done = {row.name: row.n for row in report.variants}
    trials = sum(max(0, count - done[name]) for name, count in wanted.items())
    most = max(wanted.values())
    return (
        f"what is open would take up to {most} seeds a variant, {trials} more "
        f"{'trials' if trials != 1 else 'trial'}, {time}"
    )
