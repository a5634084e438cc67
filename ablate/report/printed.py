"""Tables as they are printed: cells of plain text, which markdown and LaTeX each write in their own way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablate.report import numbers
from ablate.report.rows import Against, Report, SweepRows, VariantRow
from ablate.stats import Judgement, assumption

# Columns that hold words; all others hold figures, and are set to the right.
_WORDS = frozenset(
    {"Variant", "Verdict", "Effect", "Part", "Claim", "It says", "Claimed", "Figure", "Failed"}
)
START = "start"
NO_RUN = "no finished run"


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """name: of its file, without the ending. title: what it shows, in words. left: header cells of words.

    bold: the rows whose verdict says that they did better, which alone may be set in bold.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[str] = _WORDS
    bold: frozenset[int] = frozenset()

    def is_left(self, position: int) -> bool:
        return position == 0 or self.header[position] in self.left


def judged_header(report: Report) -> tuple[str, ...]:
    return (
        "Δ, points",
        "Interval at",
        "p",
        "p adjusted",
        "p equivalent",
        "Verdict",
        "Would show",
        f"Seeds to show {report.procedure.margin:g}",
        "Seeds to decide",
    )


def judged(judgement: Judgement) -> tuple[str, ...]:
    """The cells under `judged_header`."""
    if verdict_between(judgement) == NO_RUN:
        return (*(numbers.NONE,) * 5, NO_RUN, *(numbers.NONE,) * 3)
    star = "*" if judgement.std_assumed else ""
    seeds = [numbers.seeds(n, judgement.std) for n in (judgement.seeds, judgement.seeds_to_decide)]
    return (
        numbers.estimate(judgement),
        numbers.confidence(judgement),
        numbers.p_value(judgement.p_value),
        numbers.p_value(judgement.p_adjusted),
        numbers.p_value(judgement.p_equivalent),
        judgement.verdict,
        numbers.points(judgement.mde) if judgement.mde < float("inf") else numbers.NONE,
        *(seeds_said if seeds_said == numbers.NONE else f"{seeds_said}{star}" for seeds_said in seeds),
    )


def verdict_between(judgement: Judgement) -> str:
    return judgement.verdict if min(judgement.evidence.n, judgement.evidence.n_against) else NO_RUN


def judged_note(report: Report, judgements: Iterable[Judgement]) -> str:
    margin = report.procedure.margin
    assumed = next((one.std for one in judgements if one.std_assumed and one.evidence.n), None)
    guess = f" * {assumption(assumed)}.{sampling_error(report, assumed)}" if assumed else ""
    return (
        "The interval is the one that the verdict rests on, at its own step of the correction; TOST: that of "
        f"the two one-sided tests for ±{margin:g} points, whose p is p equivalent and which alone can say "
        "equivalent. Would show: the minimum detectable effect, a true difference that is found 4 times in 5 "
        f"with these seeds. Seeds to show {margin:g}: a variant, to find a true difference of {margin:g} "
        "points 4 times in 5 at the level in force. Seeds to decide: the same, and enough of them to find "
        "two variants equivalent 4 times in 5 where they are, never fewer than 5."
        f"{guess}"
    )


def sampling_error(report: Report, std: float) -> str:
    """A sentence where a test set of this size errs by more than seeds are assumed to scatter, in points.

    100·√(p(1 − p)/N), the binomial standard error of one accuracy; of the variant that it is largest for.
    """
    count = report.data.get("test_count")
    shares = [row.accuracy.mean / 100 for row in report.variants if row.accuracy is not None]
    if not count or not shares:
        return ""
    error = max(100 * math.sqrt(max(0.0, share * (1 - share)) / count) for share in shares)
    if error <= std:
        return ""
    return (
        f" The sampling error of one accuracy on {numbers.count(count)} test images is larger, up to "
        f"{numbers.points(error)} points."
    )


def results_table(report: Report) -> PrintedTable:
    """Every variant: what it scored, how that compares with the baseline, what it costs."""
    base = report.baseline_row
    switches = list(dict.fromkeys(name for row in report.variants for name in row.switches))
    level = f"{100 * (1 - report.procedure.level):g} % interval"
    scored = not report.costs_alone
    scores = ("n", "Accuracy, %", level, "Δ, points", "Verdict") if scored else ()
    rows = [
        (
            variant_name(row),
            *(switch(row, name) for name in switches),
            *(_scores(row) if scored else ()),
            numbers.count(row.param_count),
            numbers.share(less(row.param_count, base.param_count), base.param_count)
            if row is not base
            else numbers.NONE,
            numbers.macs(row.macs),
            numbers.share(less(row.macs, base.macs), base.macs) if row is not base else numbers.NONE,
        )
        for row in report.variants
    ]
    return PrintedTable(
        "variants",
        "Results",
        ("Variant", *switches, *scores, "Parameters", "Δ", "MACs", "Δ"),
        tuple(rows),
        bold=better(row.against for row in report.variants),
    )


def _scores(row: VariantRow) -> tuple[str, ...]:
    accuracy = row.accuracy
    return (
        count(row),
        numbers.mean_and_std(accuracy),
        numbers.interval(accuracy.low, accuracy.high, sign=False) if accuracy else numbers.NONE,
        numbers.estimate(row.against.judgement) if row.against else numbers.NONE,
        verdict(row),
    )


def comparison_tables(report: Report) -> list[PrintedTable]:
    """A table for each family that is compared with the baseline, but for the levels of sweeps."""
    in_sweeps = {family for sweep in report.sweeps for family in baseline_families(report, sweep)}
    rows = [row for row in report.variants if row.against is not None]
    families = dict.fromkeys(row.against.family for row in rows if row.against)
    return [_comparisons(report, family) for family in families if family not in in_sweeps]


def sweep_tables(report: Report, sweep: SweepRows) -> list[PrintedTable]:
    """The levels against where the sweep starts, and those that are compared with the baseline, too."""
    header = ("n", "Accuracy, %", *judged_header(report), "Parameters", "MACs")
    start = ("–",) * 5 + (START,) + ("–",) * 3
    rows = [
        (
            level.label,
            variant_name(level.variant),
            count(level.variant),
            numbers.mean_and_std(level.variant.accuracy),
            *(judged(level.against.judgement) if level.against else start),
            numbers.count(level.variant.param_count),
            numbers.macs(level.variant.macs),
        )
        for level in sweep.levels
    ]
    compared = [level.against for level in sweep.levels if level.against]
    family = compared[0].family if compared else sweep.name
    found = [
        PrintedTable(
            sweep.file_name,
            f"Family: {family} ({len(compared)})",
            (sweep.name, "Variant", *header),
            tuple(rows),
            bold=better(level.against for level in sweep.levels),
        )
    ]
    if sweep.start != report.baseline:
        found += [_comparisons(report, family) for family in baseline_families(report, sweep)]
    return found


def baseline_families(report: Report, sweep: SweepRows) -> list[str]:
    """The families in which levels of this sweep, and nothing else, are compared with the baseline."""
    names = {level.variant.name for level in sweep.levels if level.variant.origin == "sweep"}
    families = dict.fromkeys(
        row.against.family for row in report.variants if row.against is not None and row.name in names
    )
    return [
        family
        for family in families
        if all(row.name in names for row in report.variants if row.against and row.against.family == family)
    ]


def _comparisons(report: Report, family: str) -> PrintedTable:
    members = [row for row in report.variants if row.against is not None and row.against.family == family]
    rows = [
        (variant_name(row), versus(row.against), *judged(row.against.judgement), on_new_images(row.against))
        for row in members
        if row.against is not None
    ]
    return PrintedTable(
        "comparisons",
        f"Family: {family} ({len(members)} against {report.baseline})",
        ("Variant", "n : n", *judged_header(report), "On new images"),
        tuple(rows),
        bold=better(row.against for row in members),
    )


SECONDARY_NOTE = (
    "None of these decides a verdict. Training accuracy is that of the last epoch's augmented batches. The "
    "paired t test over shared seeds is a check of the main test; its intervals stand at the same levels."
)


def secondary_table(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells of the figures beside the primary one, of variants with a finished run."""
    header = (
        "Variant",
        "n",
        "Test, best validation epoch, %",
        "Validation, %",
        "Training, %",
        "Δ by paired t, points",
    )
    rows: list[tuple[str, ...]] = [
        (
            row.name,
            count(row),
            numbers.points(row.mean("accuracy_best")),
            numbers.points(row.mean("validation_accuracy")),
            numbers.points(row.mean("train_accuracy")),
            _paired(row.against),
        )
        for row in report.variants
        if row.n
    ]
    return header, rows


def _paired(against: Against | None) -> str:
    if against is None:
        return numbers.NONE
    return numbers.with_interval(against.paired.value, *against.paired.interval(against.judgement.level))


def better(compared: Iterable[Against | None]) -> frozenset[int]:
    """The positions at which the verdict is *better*, margin and all."""
    return frozenset(
        position
        for position, against in enumerate(compared)
        if against is not None and against.judgement.verdict == "better"
    )


def variant_name(row: VariantRow) -> str:
    return f"{row.name} (mixed)" if row.mixed else row.name


def switch(row: VariantRow, name: str) -> str:
    return {True: "✓", False: "✗", None: numbers.NONE}[row.switches.get(name)]


def count(row: VariantRow) -> str:
    """5, or 3/5 where seeds are missing; with the trials that did not learn."""
    shown = str(row.n) if row.n == row.planned else f"{row.n}/{row.planned}"
    return f"{shown} ({len(row.did_not_learn)} did not learn)" if row.did_not_learn else shown


def verdict(row: VariantRow) -> str:
    if row.against is None:
        return "baseline"
    return row.against.judgement.verdict if row.n else NO_RUN


def versus(against: Against) -> str:
    evidence = against.judgement.evidence
    return f"{evidence.n} : {evidence.n_against}"


def on_new_images(against: Against) -> str:
    if against.new_images is None:
        return numbers.NONE
    return numbers.interval(*against.new_images.interval(against.judgement.level))


def reasons(judged_rows: Iterable[tuple[str, Judgement, str]]) -> list[str]:
    """Why verdicts are open that more seeds of the same kind would not simply settle; a line a reason."""
    members: dict[str, list[str]] = {}
    for name, judgement, reason in judged_rows:
        if (
            judgement.verdict not in ("exploratory", "undecidable", "no-op")
            and judgement.evidence.estimate.known
        ):
            continue
        members.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}." for reason, names in members.items()]


def as_table(name: str, title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> PrintedTable:
    return PrintedTable(name, title, tuple(header), tuple(tuple(row) for row in rows))


def less(of: int | None, against: int | None) -> int | None:
    return None if of is None or against is None else of - against
