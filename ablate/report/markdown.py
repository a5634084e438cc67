"""`report.md`: the answer, the tables, the figures, how it was measured: a page for a paper's appendix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ablate.report import claim_text, controls, missing, numbers, pretraining
from ablate.report.headline import estimate, headline, twin_sentence
from ablate.report.method import MEASURED_PREFIX, measured_lines, method_lines
from ablate.report.rows import Against, EffectRow, Report, SweepRows, VariantRow
from ablate.stats import Judgement

Row = Sequence[str]


def render_markdown(report: Report) -> str:
    sections = [
        _opening(report),
        _claims(report),
        _results(report),
        _controls(report),
        _comparisons(report),
        _effects(report),
        *(_sweep(report, sweep) for sweep in report.sweeps),
        _costs_in_figures(report),
        _secondary(report),
        _pretraining(report),
        _incomplete(report),
        _method(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(report: Report) -> str:
    first, *others = headline(report)
    bullets = [f"- {text(sentence)}" for sentence in others]
    return "\n".join([f"# {text(report.title)}", "", text(first), "", *bullets]).rstrip()


def _results(report: Report) -> str:
    base = report.baseline_row
    switches = list(dict.fromkeys(name for row in report.variants for name in row.switches))
    header = [
        "Variant",
        *switches,
        "n",
        "Accuracy, %",
        f"{100 * (1 - report.procedure.level):g} % interval",
        "Δ, points",
        "Verdict",
        "Parameters",
        "Δ",
        "MACs",
        "Δ",
    ]
    rows = [
        [
            _name(row),
            *(_switch(row, name) for name in switches),
            _n(row),
            numbers.mean_and_std(row.accuracy),
            numbers.interval(row.accuracy.low, row.accuracy.high, sign=False)
            if row.accuracy
            else numbers.NONE,
            estimate(row.against.judgement) if row.against else numbers.NONE,
            _verdict(row),
            numbers.count(row.param_count),
            numbers.share(_less(row.param_count, base.param_count), base.param_count)
            if row is not base
            else "–",
            numbers.macs(row.macs),
            numbers.share(_less(row.macs, base.macs), base.macs) if row is not base else "–",
        ]
        for row in report.variants
    ]
    denominators = (
        f"Changes of parameters and MACs are in percent of {base.name}'s {numbers.count(base.param_count)} "
        f"parameters and {numbers.macs(base.macs)} MACs."
    )
    notes = [
        "Accuracy on the test images after the last epoch: mean ± standard deviation over n seeds. Δ: "
        f"difference from {base.name}, with its interval after correction. {denominators}"
    ]
    aliases = [f"{row.name} = {', '.join(row.aliases)}" for row in report.variants if row.aliases]
    if aliases:
        notes.append(f"One variant, several names: {'; '.join(aliases)}.")
    mixed = [f"{row.name} ({', '.join(row.mixed)})" for row in report.variants if row.mixed]
    if mixed:
        notes.append(
            f"Mixed environments, marked *mixed*: {'; '.join(mixed)} differ among the trials compared."
        )
    warnings = [f"{row.name}: {'; '.join(row.warnings)}" for row in report.variants if row.warnings]
    if warnings:
        notes.append(f"Warnings: {'. '.join(warnings)}.")
    notes += [twin_sentence(row) for row in report.twins]
    return _section("Results", _table(header, rows), *map(text, notes), _figure(report, "accuracy"))


def _controls(report: Report) -> str:
    if not report.controls:
        return ""
    answers = [f"- {text(controls.answer(report, row))}" for row in report.controls]
    table = _table(*controls.table(report))
    notes = [text(note) for note in controls.notes(report)]
    return _section(controls.title(report), "\n".join(answers), table, *notes)


def _name(row: VariantRow) -> str:
    return f"{row.name} (mixed)" if row.mixed else row.name


def _switch(row: VariantRow, name: str) -> str:
    return {True: "✓", False: "✗", None: numbers.NONE}[row.switches.get(name)]


def _n(row: VariantRow) -> str:
    """5, or 3/5 where seeds are missing; with the trials that did not learn."""
    shown = str(row.n) if row.n == row.planned else f"{row.n}/{row.planned}"
    return f"{shown} ({len(row.did_not_learn)} did not learn)" if row.did_not_learn else shown


def _verdict(row: VariantRow) -> str:
    return row.against.judgement.verdict if row.against else "baseline"


_JUDGED = (
    "Δ, points",
    "Interval at",
    "p",
    "p adjusted",
    "p equivalent",
    "Verdict",
    "Would show",
    "Seeds needed",
)


def _judged(judgement: Judgement) -> Row:
    """The cells under `_JUDGED`."""
    return [
        estimate(judgement),
        f"{100 * (1 - judgement.level):.2f} %",
        numbers.p_value(judgement.p_value),
        numbers.p_value(judgement.p_adjusted),
        numbers.p_value(judgement.p_equivalent),
        judgement.verdict,
        numbers.points(judgement.mde) if judgement.mde < float("inf") else numbers.NONE,
        (numbers.NONE if judgement.seeds is None else f"{judgement.seeds}")
        + ("*" if judgement.std_assumed else ""),
    ]


def _versus(row: VariantRow, against: Against) -> str:
    evidence = against.judgement.evidence
    return f"{evidence.n} : {evidence.n_against}"


def _judged_note(report: Report, judgements: Iterable[Judgement]) -> str:
    margin = report.procedure.margin
    assumed = next((judgement.std for judgement in judgements if judgement.std_assumed), None)
    guess = f" * assumes a seed sd of {assumed:g} points, as no side has two runs." if assumed else ""
    return (
        "Would show: the minimum detectable effect, found 4 times in 5 with these seeds. Seeds needed: "
        f"per variant, to find {margin:g} points 4 times in 5 at the level in force. p equivalent: two "
        f"one-sided tests for ±{margin:g} points; they may accept while an interval for both sides reaches "
        f"beyond.{guess}"
    )


def _comparisons(report: Report) -> str:
    compared = [(row, row.against) for row in report.variants if row.against is not None]
    if not compared:
        return ""
    parts = []
    for family in dict.fromkeys(against.family for _, against in compared):
        members = [(row, against) for row, against in compared if against.family == family]
        header = ["Variant", "n : n", *_JUDGED, "On new images"]
        rows = [
            [_name(row), _versus(row, against), *_judged(against.judgement), _on_new_images(against)]
            for row, against in members
        ]
        parts += [
            f"Family: {text(family)} ({len(members)} against {text(report.baseline)})",
            _table(header, rows),
        ]
    reasons = _reasons((row.name, against.judgement, against.reason) for row, against in compared)
    note = (
        f"{_judged_note(report, [against.judgement for _, against in compared])} On new images: the same "
        "difference, its interval allowing for other test images, too; all other intervals speak of this "
        "test set."
    )
    return _section("Comparisons with the baseline", *parts, text(note), reasons)


_OPEN = ("undecided", "exploratory", "undecidable", "no-op")


def _reasons(judged: Iterable[tuple[str, Judgement, str]]) -> str:
    """Why verdicts are open, a line for each reason; the seeds that would decide follow the name."""
    members: dict[str, list[str]] = {}
    for name, judgement, reason in judged:
        if judgement.verdict not in _OPEN:
            continue
        seeds = f"{judgement.seeds_to_decide} seeds"
        shared = reason.replace(f"{seeds} per variant", "that many seeds per variant")
        label = name if shared == reason else f"{name} ({seeds})"
        members.setdefault(shared, []).append(label)
    return "\n".join(f"- {text(', '.join(labels))}: {text(reason)}." for reason, labels in members.items())


def _on_new_images(against: Against) -> str:
    if against.new_images is None:
        return numbers.NONE
    return numbers.interval(*against.new_images.interval(against.judgement.level))


def _effects(report: Report) -> str:
    if not report.effects:
        return ""
    parts = []
    for family in dict.fromkeys(row.family for row in report.effects):
        rows = [row for row in report.effects if row.family == family]
        header = ["Effect", "n a cell", *_JUDGED, "Δ parameters", "Δ MACs"]
        parts += [
            f"Family: {text(family)}",
            _table(header, [_effect_cells(row) for row in rows]),
        ]
    note = (
        "A main effect is the difference between on and off, averaged over the other parts; an "
        "interaction is the difference of differences, not halved: what the parts buy together beyond the "
        "sum of what each buys alone. The cell with nothing on has no module and so lacks the residual "
        "branch, too: effects are given over all cells and within the first part on. Δ parameters and Δ "
        "MACs are the same contrasts of the cells' costs."
    )
    reasons = _reasons((_effect_name(row), row.judgement, row.reason) for row in report.effects)
    judged = _judged_note(report, [row.judgement for row in report.effects])
    return _section(
        "Effects of the parts", *parts, text(f"{note} {judged}"), reasons, _figure(report, "effects")
    )


def _effect_name(row: EffectRow) -> str:
    return f"{row.name} (with {'+'.join(row.within)} on)" if row.within else row.name


def _effect_cells(row: EffectRow) -> Row:
    evidence = row.judgement.evidence
    cells = str(evidence.n) if evidence.n == evidence.n_against else f"{evidence.n} to {evidence.n_against}"
    return [
        row.name,
        cells,
        *_judged(row.judgement),
        numbers.signed_count(row.param_delta),
        numbers.signed_macs(row.macs_delta),
    ]


def _sweep(report: Report, sweep: SweepRows) -> str:
    header = [sweep.name, "Variant", "n", "Accuracy, %", *_JUDGED, "Parameters", "MACs"]
    rows = [
        [
            level.label,
            _name(level.variant),
            _n(level.variant),
            numbers.mean_and_std(level.variant.accuracy),
            *(_judged(level.against.judgement) if level.against else _START),
            numbers.count(level.variant.param_count),
            numbers.macs(level.variant.macs),
        ]
        for level in sweep.levels
    ]
    note = (
        f"Here Δ is the difference from {sweep.start}, where the sweep starts: does another level do "
        f"better or worse? Whether a level beats {report.baseline} stands under Results."
    )
    return _section(
        f"Sweep: {sweep.name}", _table(header, rows), text(note), _figure(report, sweep.file_name)
    )


_START: Row = [numbers.NONE] * 5 + ["start"] + [numbers.NONE] * 2


def _costs_in_figures(report: Report) -> str:
    shown = [_figure(report, name) for name in ("accuracy-parameters", "accuracy-macs", "curves")]
    return _section("Accuracy, cost and learning", *shown) if any(shown) else ""


def _secondary(report: Report) -> str:
    header = [
        "Variant",
        "n",
        "Test, best validation epoch, %",
        "Validation, %",
        "Training, %",
        "Δ by paired t, points",
    ]
    rows = [
        [
            row.name,
            _n(row),
            numbers.points(row.mean("accuracy_best")),
            numbers.points(row.mean("validation_accuracy")),
            numbers.points(row.mean("train_accuracy")),
            _paired(row.against),
        ]
        for row in report.variants
        if row.n
    ]
    note = (
        "None of these decides a verdict. Training accuracy is that of the last epoch's augmented "
        "batches. The paired t test over shared seeds is a check of the main test; its intervals stand at "
        "the same levels."
    )
    return _section("Secondary figures", _table(header, rows), text(note)) if rows else ""


def _paired(against: Against | None) -> str:
    if against is None:
        return numbers.NONE
    interval = against.paired.interval(against.judgement.level)
    return f"{numbers.signed(against.paired.value)} {numbers.interval(*interval)}"


def _pretraining(report: Report) -> str:
    if not report.pretraining:
        return ""
    return _section("Pretraining", _table(*pretraining.table(report.pretraining)), text(pretraining.NOTE))


def _incomplete(report: Report) -> str:
    if not report.incomplete:
        return ""
    header, rows = missing.failures_table(report)
    each = _table(header, rows) if rows else ""
    note = "A run says at its end what to do about each; `ablate logs TRIAL` prints a log." if rows else ""
    return _section("Incomplete and failed", _table(*missing.incomplete_table(report)), each, note)


def _claims(report: Report) -> str:
    if not report.claims:
        return ""
    reasons = [f"- {text(reason)}" for reason in claim_text.reasons(report, measured=False)]
    measured = [f"{MEASURED_PREFIX}{text(reason)}  " for reason in claim_text.reasons(report, measured=True)]
    notes = [text(note) for note in claim_text.notes(report)]
    table = _table(*claim_text.table(report))
    return _section("Claims", table, "\n".join(reasons), "\n".join(measured), *notes)


def _method(report: Report) -> str:
    lines = [f"- {text(line)}" for line in method_lines(report)]
    return _section("How it was measured", "\n".join(lines), "\n".join(measured_lines(report)))


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {text(title)}", *(part for part in parts if part)])


def _figure(report: Report, name: str) -> str:
    caption = next((figure.caption for figure in report.figures if figure.name == name), None)
    return f"![{text(caption)}](figures/{name}.svg)" if caption else ""


def _table(header: Row, rows: Sequence[Row]) -> str:
    """Text to the left, figures to the right."""
    left = {"Variant", "Verdict", "Effect", "Claim", "It says", "Claimed", "Figure", "Failed"}
    left.update(missing.INCOMPLETE_HEADER[2:], missing.FAILURES_HEADER[2:])
    rule = [":--" if name in left or position == 0 else "--:" for position, name in enumerate(header)]
    lines = [[text(cell) for cell in row] for row in (header, *rows)]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(plain: str) -> str:
    """Plain text as markdown: no name of a study's can become a cell, a link, emphasis or HTML."""
    escaped = re.sub(r"([\\`*_|~]|<(?! ))", r"\\\1", " ".join(plain.replace("&", "&amp;").split()))
    return escaped.replace("](", "]\\(")


def _less(of: int | None, against: int | None) -> int | None:
    return None if of is None or against is None else of - against
