"""Claims in words and figures: why each verdict, the table and its notes, and what the JSON says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scipy import special

from ablate.report import numbers, pace
from ablate.report.rows import ClaimFigure, ClaimRow, Report
from ablate.spec.claims import Claim, Difference, Ratio, Trend
from ablate.stats import ASSUMED_STD, MANY_SEEDS, ClaimJudgement, assumption

METRICS = {
    "accuracy": "points",
    "param_count": "parameters",
    "macs": "MACs",
    "latency_ms": "ms",
    "peak_memory_bytes": "bytes",
}
_MEASURED = ("latency_ms", "peak_memory_bytes")
BELOW = "as measured, below"


def bounds_in_words(bounds: tuple[float | None, float | None], unit: str) -> str:
    """unit: empty for a ratio."""
    low, high = bounds
    if low is not None and high is not None:
        said = f"{_plain(low)} to {_plain(high)}"
    else:
        said = f"at least {_plain(low)}" if low is not None else f"at most {_plain(high)}"
    return f"{said} {unit}" if unit else f"a ratio of {said}"


def explain_claim(
    claim: Claim, judgement: ClaimJudgement, figures: Sequence[ClaimFigure], margin: float
) -> str:
    """Why this verdict; for one that is open, how many seeds would decide."""
    evidences = [one.asserted.evidence for one in judgement.figures]
    fewest = min(min(evidence.n, evidence.n_against) for evidence in evidences)
    idle = [f.name for f, evidence in zip(figures, evidences, strict=True) if evidence.identical]
    no_op = f"no-op: {', '.join(idle)} is exactly zero, for the predictions are the same; " if idle else ""
    share = f"the {100 * (1 - judgement.figures[0].level):.4g} % interval"
    seeds = _seeds(claim, judgement, margin, fewest)
    match judgement.verdict:
        case "undecidable":
            return f"{_undecidable(claim, judgement, figures, fewest)}; {seeds}"
        case "exploratory":
            where = "; ".join(f"{share} of {f.name} {_PLACES[f.position or 'across']}" for f in figures)
            few = f"n = {fewest}, and fewer than 5 seeds give no verdict"
            return f"{no_op}{few}; {where}; {seeds}"
        case "supported":
            return no_op + "; ".join(
                f"{share} of {f.name} lies wholly inside what is claimed" for f in figures
            )
        case "refuted":
            outside = [f.name for f in figures if f.position == "outside"]
            return no_op + "; ".join(
                f"{share} of {name} lies wholly outside what is claimed" for name in outside
            )
    return no_op + _undecided(claim, judgement, figures, share, margin, fewest)


_PLACES = {"inside": "lies inside", "outside": "lies outside", "across": "reaches across a bound"}


def _undecidable(claim: Claim, judgement: ClaimJudgement, figures: Sequence[ClaimFigure], fewest: int) -> str:
    if fewest == 0:
        missing = [name for figure in figures for name, mean in figure.sides.items() if mean is None]
        return f"no finished run of {', '.join(dict.fromkeys(missing))}" if missing else "no shared seed"
    alone = "a single run tells nothing of the spread between seeds"
    if not isinstance(claim, Difference) or len(figures) > 1:
        return alone
    one, gap = judgement.figures[0], abs(judgement.figures[0].asserted.evidence.estimate.value)
    chance = 2 * float(special.ndtr(-gap / (one.std * math.sqrt(one.asserted.evidence.variance))))
    of_std = f"{'an assumed' if one.std_assumed else 'the'} seed sd of {one.std:.2g} points"
    often = f"{100 * chance:.3g} %" if chance >= 1e-4 else "less than 0.01 %"
    return f"{alone}: at {of_std} a gap of {gap:.2f} arises by chance {often} of the time"


def _undecided(
    claim: Claim,
    judgement: ClaimJudgement,
    figures: Sequence[ClaimFigure],
    share: str,
    margin: float,
    fewest: int,
) -> str:
    if not any(one.asserted.evidence.estimate.known for one in judgement.figures):
        return "no seed differed from another: the test set does not resolve the spread, so there is no error"
    open_ones = [f.name for f in figures if f.position == "across"]
    start = f"{share} of {' and of '.join(open_ones)} reaches across a bound"
    seeds = [one.seeds for one in judgement.figures]
    if any(count is None or count > fewest for count in seeds):
        return f"{start}; {_seeds(claim, judgement, margin, fewest)}"
    if_true = [one.seeds_if_true for one in judgement.figures if one.position == "across"]
    known = [count for count in if_true if count is not None]
    if not known or len(known) < len(if_true):
        return start
    seeds_said = _number(max(known))
    return f"{start}; were the true figure the one estimated, {seeds_said} seeds per variant would decide"


def _seeds(claim: Claim, judgement: ClaimJudgement, margin: float, fewest: int) -> str:
    assumed = any(one.std_assumed for one in judgement.figures)
    guess = f" {assumption(ASSUMED_STD)}" if assumed else ""
    seeds = [one.seeds for one in judgement.figures if one.seeds is not None]
    if len(seeds) < len(judgement.figures):
        return f"no number of seeds within reach would decide{guess}"
    most = max(seeds)
    more = f", {most - fewest} more than now," if MANY_SEEDS >= most > fewest else ""
    whole = " over the whole sweep" if isinstance(claim, Trend) else ""
    middle = ", and one in the middle of the range" if None not in claim.bounds else ""
    return (
        f"{_number(most)} seeds per variant{more} would decide a figure {margin:g} points{whole} from a bound"
        f"{middle}, 4 times in 5{guess}"
    )


def _number(seeds: int) -> str:
    """For a sentence; beyond what anybody trains the number itself says nothing."""
    return f"more than {MANY_SEEDS}" if seeds > MANY_SEEDS else str(seeds)


def explain_cost(claim: Claim, figures: Sequence[ClaimFigure], verdict: str, missing: Sequence[str]) -> str:
    """The figures with both absolute numbers, and what each percentage is a percentage of."""
    noun = METRICS[claim.metric]
    if missing and claim.metric in ("param_count", "macs"):
        return f"the {noun} of {', '.join(missing)} are not counted yet"
    if missing:
        return f"no machine has measured {claim.metric} of every one of {', '.join(missing)}"
    told = "; ".join(_cost(claim, figure, noun) for figure in figures)
    if verdict == "undecidable":
        return f"{told}; not timed in turns in one session, so nothing says how far it is from the truth"
    return told


def _cost(claim: Claim, figure: ClaimFigure, noun: str) -> str:
    sides = [(name, value or 0.0) for name, value in figure.sides.items()]
    each = ", ".join(f"{name} {_plain(value)}" for name, value in sides)
    if isinstance(claim, Difference | Ratio) and len(sides) == 2:
        (_, of), (base, against) = sides
        percent = f", {numbers.share(of - against, against)} of {base}'s {_plain(against)}" if against else ""
        change = f"{_signed(of - against)} {noun}{percent}"
        as_ratio = f"ratio {figure.value:.4f}, " if isinstance(claim, Ratio) and figure.value else ""
        return f"{each}: {as_ratio}{change}"
    return f"{each}: {_signed(figure.value)} {noun}"


def table(report: Report, *, measured: bool = True) -> tuple[list[str], list[list[str]]]:
    """Header and cells, a line a figure; of a claim on several, the verdict stands in the first.

    measured: whether with what no two runs agree on, which else stands in `measured_table`.
    """
    return _table(report.claims, hidden=() if measured else _MEASURED)


def measured_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Like `table`, of the claims on measured costs alone."""
    return _table([row for row in report.claims if row.metric in _MEASURED], hidden=())


def _table(claims: Sequence[ClaimRow], hidden: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """hidden: metrics whose figures are left out, and so is the verdict by a latency."""
    header = ["Claim", "It says", "Verdict", "Claimed", "Figure", "Estimate", "Interval at", "n"]
    header += ["p", "p adjusted"]
    lines = []
    for row in claims:
        is_hidden = row.metric in hidden
        verdict = BELOW if is_hidden and _by_latency(row) else verdict_in_words(row)
        for position, figure in enumerate(row.figures):
            first = position == 0
            lines.append(
                [
                    row.id if first else "",
                    row.say if first else "",
                    verdict if first else "",
                    row.claimed if first else "",
                    figure.name,
                    numbers.NONE if is_hidden else _estimate(row, figure),
                    numbers.NONE if is_hidden else _confidence(figure),
                    _counts(row, figure),
                    _p(None if is_hidden else row.p_value) if first else "",
                    _p(None if is_hidden else row.p_adjusted) if first else "",
                ]
            )
    return header, lines


def _confidence(figure: ClaimFigure) -> str:
    return numbers.NONE if figure.level is None else f"{100 * (1 - figure.level):.2f} %"


def _p(value: float | None) -> str:
    return numbers.p_value(math.nan if value is None else value)


def _by_latency(row: ClaimRow) -> bool:
    return row.metric == "latency_ms" and any(figure.level is not None for figure in row.figures)


def verdict_in_words(row: ClaimRow) -> str:
    return f"{row.verdict}, post hoc" if row.post_hoc else row.verdict


def reasons(report: Report, *, measured: bool) -> list[str]:
    """A sentence for each claim, plain text; apart, what no two runs agree on: measured costs, and the time
    that it would take to decide."""
    found = [
        f"{'; '.join([_opened(row), *row.remarks])}."
        for row in report.claims
        if (row.metric in _MEASURED) == measured
    ]
    if not measured:
        return found
    timed = (
        (row.id, pace.time_to_decide(report, pace.seeds_for_claim(report, row))) for row in report.claims
    )
    return [*found, *(f"{name}: as many seeds would take {time}." for name, time in timed if time)]


def _opened(row: ClaimRow) -> str:
    """Of a latency with its verdict, which the table leaves to this line."""
    told = f"{verdict_in_words(row)}: {row.reason}" if row.metric == "latency_ms" else row.reason
    return f"{row.id}: {told}"


def notes(report: Report) -> list[str]:
    """Plain text below the table."""
    found = [
        "Supported: the interval lies wholly inside what is claimed; refuted: wholly outside; undecided: "
        "neither. Several figures must all lie inside, and one outside refutes. p is two-sided, for the "
        "bound that decides; claims on accuracy are one family. Counts and memory have neither interval nor "
        "p. The trials behind each claim stand in tables/claims.csv."
    ]
    if any(_by_latency(row) for row in report.claims):
        found.append(
            "Claims on latency are judged by the rounds of one session that timed all sides in turns, round "
            "by round (a ratio on logarithms), as a family of their own."
        )
    by_reason: dict[str, list[str]] = {}
    for row in report.claims:
        if row.post_hoc:
            by_reason.setdefault(row.post_hoc, []).append(row.id)
    found += [f"Post hoc, {', '.join(ids)}: {why}." for why, ids in by_reason.items()]
    if by_reason:
        found.append("What was chosen after seeing the results needs new runs to hold.")
    return found


def document(row: ClaimRow) -> dict[str, Any]:
    """What the JSON says of a claim; `evidence` holds all that its verdict rests on."""
    return {
        "id": row.id,
        "say": row.say,
        "verdict": row.verdict,
        "post_hoc": row.post_hoc,
        "kind": row.kind,
        "metric": row.metric,
        "claimed": {"low": row.bounds[0], "high": row.bounds[1], "unit": row.unit},
        "evidence": {
            "reason": row.reason,
            "p_value": row.p_value,
            "p_adjusted": row.p_adjusted,
            "seeds_to_decide": row.seeds,
            "figures": [
                {
                    "name": figure.name,
                    "estimate": figure.value,
                    "ci": None if figure.low is None else [figure.low, figure.high],
                    "ci_level": None if figure.level is None else 1 - figure.level,
                    "position": figure.position,
                    "n": {name: len(row.trials[name]) for name in figure.sides if name in row.trials},
                    "sides": dict(figure.sides),
                }
                for figure in row.figures
            ],
            "trials": {name: list(ids) for name, ids in row.trials.items()},
            "machine": row.machine,
            "remarks": list(row.remarks),
        },
    }


def records(row: ClaimRow) -> list[dict[str, Any]]:
    """Lines of `tables/claims.csv`, one a figure."""
    told = document(row)
    evidence = told["evidence"]
    return [
        {
            **{key: told[key] for key in ("id", "say", "verdict", "post_hoc", "kind", "metric")},
            **{f"claimed_{key}": value for key, value in told["claimed"].items()},
            "figure": figure["name"],
            "estimate": figure["estimate"],
            "ci_low": (figure["ci"] or (None, None))[0],
            "ci_high": (figure["ci"] or (None, None))[1],
            "ci_level": figure["ci_level"],
            "n": " ".join(str(count) for count in figure["n"].values()),
            **{key: evidence[key] for key in ("p_value", "p_adjusted", "seeds_to_decide")},
            "variants": "; ".join(figure["sides"]),
            "values": "; ".join(map(str, figure["sides"].values())),
            "trials": " ".join(trial for name in figure["n"] for trial in row.trials[name]),
            "reason": row.reason,
        }
        for figure in evidence["figures"]
    ]


def _estimate(row: ClaimRow, figure: ClaimFigure) -> str:
    if figure.value is None:
        return numbers.NONE
    if row.kind == "ratio":
        value = f"{figure.value:.4f}"
        return value if figure.low is None else f"{value} {_between(figure)}"
    if row.metric == "latency_ms":
        return f"{numbers.with_interval(figure.value, *_ends(figure), digits=3)} ms"
    if row.metric != "accuracy":
        return _signed(figure.value)
    if figure.low is None or figure.high is None:
        return numbers.signed(figure.value)
    return f"{numbers.signed(figure.value)} {numbers.interval(figure.low, figure.high)}"


def _ends(figure: ClaimFigure) -> tuple[float, float]:
    low, high = figure.low, figure.high
    return math.nan if low is None else low, math.nan if high is None else high


def _between(figure: ClaimFigure) -> str:
    if figure.low is None or figure.high is None or math.isinf(figure.high):
        return "[not bounded]"  # a side may be zero: no ratio is ruled out
    return f"[{figure.low:.4f}, {figure.high:.4f}]"


def _counts(row: ClaimRow, figure: ClaimFigure) -> str:
    """5 : 5 of two sides; of more, the fewest to the most."""
    counts = [len(row.trials[name]) for name in figure.sides if name in row.trials]
    if len(counts) == 2:
        return f"{counts[0]} : {counts[1]}"
    if not counts:
        return numbers.NONE
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _plain(value: float | None) -> str:
    """Ten digits, and of a whole number all that it has."""
    if value is None:
        return numbers.NONE
    whole = float(value).is_integer()
    return (f"{value:,.0f}" if whole else f"{value:,.10g}").replace("-", "−")


def _signed(value: float | None) -> str:
    return numbers.NONE if value is None else f"{value:+,.10g}".replace("-", "−")
