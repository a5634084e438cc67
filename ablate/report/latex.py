"""`report.tex`, which compiles on its own, and `tables/*.tex`, each of which drops into a paper.

Bold means one thing: the verdict is *better*. The largest mean alone makes nothing bold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ablate.report import claim_text, controls, cost_text, numbers, tuning
from ablate.report.basis import throughout, to_decide_note
from ablate.report.effects import points_per_percent, without_dunnett
from ablate.report.findings import OPEN, none_on, of_planned, parts, to_decide
from ablate.report.headline import open_report
from ablate.report.method import in_brief, method_lines
from ablate.report.printed import baseline_families, count, less, results_table, variant_name, verdict
from ablate.report.rows import Against, EffectRow, Report, SweepRows, VariantRow
from ablate.report.tex import TexTable, slug, tex
from ablate.stats import Judgement

Cells = list[str]


def render_latex(report: Report) -> str:
    """A whole document: the answer, the tables, the figures that lie beside it, how it was measured."""
    opening = open_report(report)
    tables = [table.render(report.study) for table in tex_tables(report)]
    figures = [_figure(report, figure.name, figure.caption) for figure in report.figures]
    return "\n".join(
        [
            "\\documentclass[a4paper,10pt]{article}",
            "\\usepackage[T1]{fontenc}",
            "\\usepackage[margin=20mm]{geometry}",
            "\\usepackage{amssymb,booktabs,graphicx}",
            "\\IfFileExists{lmodern.sty}{\\usepackage{lmodern}}{}",
            "\\emergencystretch=3em",
            # A page of nothing but tables is better full than centred.
            "\\renewcommand{\\topfraction}{0.9}\\renewcommand{\\textfraction}{0.05}",
            "\\setcounter{totalnumber}{6}\\setcounter{topnumber}{4}",
            f"\\title{{\\vspace{{-15mm}}{tex(report.title)}}}",
            "\\author{}\\date{}",
            "\\begin{document}",
            "\\maketitle",
            "",
            *([tex(report.scope), ""] if report.scope else []),
            tex(opening.answer),
            "",
            *_list(opening.others),
            "",
            *tables,
            *([tex(settings), ""] if (settings := tuning.settings_line(report.promoted)) else []),
            *figures,
            "\\clearpage",
            *_tuning_section(report),
            "\\section*{How it was measured}",
            *_list(method_lines(report)),
            "\\end{document}",
            "",
        ]
    )


def tex_files(report: Report) -> dict[str, str]:
    """The tables by the names of their files, without the ending."""
    return {table.name: table.render(report.study) for table in tex_tables(report)}


def tex_tables(report: Report) -> list[TexTable]:
    """Every table of the report, the answer first."""
    results = _results(report)
    found = [table for table in (_parts(report), results, _views(report)) if table is not None]
    if report.claims:
        found.append(_claims(report))
    if report.controls:
        found.append(_controls(report))
    if any(row.against for row in report.variants):
        found.append(_comparisons(report))
    if any(not row.view for row in report.effects):
        found.append(_effects(report))
    tables = [*found, *(_sweep(report, sweep) for sweep in report.sweeps), *_costs(report), *_tuning(report)]
    if report.looks.post_hoc is None:
        return tables
    # Each table may stand alone in a paper, and so has to say it.
    why = f"Post hoc: {report.looks.post_hoc}."
    judged = [table.name == "views" or "Verdict" in table.header for table in tables]
    return [
        replace(table, caption=f"{table.caption} {why}") if has_verdicts else table
        for table, has_verdicts in zip(tables, judged, strict=True)
    ]


def _results(report: Report) -> TexTable:
    base = report.baseline_row
    switches = list(dict.fromkeys(name for row in report.variants for name in row.switches))
    stds = [row.accuracy.std for row in report.variants if row.accuracy is not None]
    digits = numbers.decimals(stds)
    if report.costs_alone:
        return _results_of_costs(report)
    counts = {count(row) for row in report.variants}
    header = ["Variant", *map(tex, switches), *(["$n$"] if len(counts) > 1 else [])]
    rows = [
        [
            tex(variant_name(row)),
            *(_switch(row, name) for name in switches),
            *([tex(count(row))] if len(counts) > 1 else []),
            _accuracy(row, digits),
            _difference(row.against),
            tex(verdict(row)),
            *_cost(numbers.count(row.param_count), less(row.param_count, base.param_count), base.param_count),
            *_cost(numbers.macs(row.macs), less(row.macs, base.macs), base.macs),
        ]
        for row in report.variants
    ]
    header += ["Accuracy, \\%", "$\\Delta$, points", "Verdict", "Parameters", "", "MACs", ""]
    caption = (
        f"{report.title}{'' if report.title.endswith(('?', '.', '!')) else '.'} Test accuracy after the last "
        f"epoch, mean ± standard deviation over the seeds; Δ: difference from {base.name}, with the interval "
        f"that its verdict rests on{_test(report)}. Bold: better than {base.name}. Costs: in percent of "
        f"{base.name}'s {numbers.count(base.param_count)} parameters and {numbers.macs(base.macs)} MACs. "
        f"{_brief(report)}"
    )
    align = "l" + "c" * len(switches) + "c" * (len(counts) > 1) + "rrl" + "rrrr"
    return TexTable("variants", caption, header, align, rows)


def _results_of_costs(report: Report) -> TexTable:
    caption = (
        f"{report.title}{'' if report.title.endswith(('?', '.', '!')) else '.'} Changes are in percent of "
        f"{report.baseline}'s. {_brief(report)}"
    )
    table = results_table(report)
    align = "".join("l" if table.is_left(position) else "r" for position in range(len(table.header)))
    rows = [[tex(cell) for cell in row] for row in table.rows]
    return TexTable("variants", caption, [tex(title) for title in table.header], align, rows)


def _parts(report: Report) -> TexTable | None:
    found = parts(report)
    if not found:
        return None
    base = report.baseline_row
    undecided = any(row.judgement.verdict in OPEN for row in found)
    quotients = [points_per_percent(row, base) for row in found]
    rows = [
        [
            tex(row.name),
            _judged(row.judgement),
            tex(row.judgement.verdict),
            *_cost(numbers.signed_count(row.param_delta), row.param_delta, base.param_count),
            *_cost(numbers.signed_macs(row.macs_delta), row.macs_delta, base.macs),
            tex(numbers.with_interval(*quotient, digits=3) if quotient else numbers.NONE),
            *([tex(to_decide(row.judgement))] if undecided else []),
        ]
        for row, quotient in zip(found, quotients, strict=True)
    ]
    bought = {"main": "Main effect", "share": "Shapley share"}.get(found[0].kind, "Bought")
    header = ["Part", f"{bought}, points", "Verdict", "Parameters", "", "MACs", "", "Points per 1\\,\\% MACs"]
    header += ["Seeds to decide"] if undecided else []
    notes = (throughout(found), to_decide_note(report, [row.judgement for row in found]), _brief(report))
    caption = (
        f"What each part buys, in points of test accuracy, and what it costs, in percent of {base.name}'s "
        f"{numbers.count(base.param_count)} parameters and {numbers.macs(base.macs)} MACs"
        f"{_test(report, of_pairs=False)}. Bold: better than without it. {' '.join(filter(None, notes))}"
    )
    return TexTable("parts", caption, header, "lrlrrrrr" + "r" * undecided, rows)


def _views(report: Report) -> TexTable | None:
    """The same cells seen from both ends: each part against none, and all parts against all but it."""
    found = parts(report)
    views = {(row.kind, row.factors): row for row in report.effects if row.view}
    kinds = ("add-one", "leave-one-out")
    if not found or any((kind, row.factors) not in views for kind in kinds for row in found):
        return None
    left = none_on(found, "no part")
    triples = [[views["add-one", row.factors], row, views["leave-one-out", row.factors]] for row in found]
    rows = [
        [
            tex(triple[1].name),
            *(tex(numbers.estimate(row.judgement)) for row in triple),
        ]
        for triple in triples
    ]
    caption = (
        f"Each part alone (against {left}), on average over the other parts (its main effect), and on top of "
        "the rest (all parts against all but this one), in points of test accuracy"
        f"{_test(report, of_pairs=False)}; each column has its own correction. {_brief(report)}"
    )
    return TexTable("views", caption, ["Part", "Alone", "On average", "On top of the rest"], "lrrr", rows)


def _comparisons(report: Report) -> TexTable:
    in_sweeps = {family for sweep in report.sweeps for family in baseline_families(report, sweep)}
    families: dict[str, list[tuple[str, str, Judgement]]] = {}
    for row in report.variants:
        if row.against is not None and row.against.family not in in_sweeps:
            evidence = row.against.judgement.evidence
            n = f"{evidence.n} : {evidence.n_against}"
            families.setdefault(row.against.family, []).append((row.name, n, row.against.judgement))
    how = _statistics(report, of_pairs=True)
    caption = f"Comparisons with {report.baseline}, in points of test accuracy. {how}"
    return _in_full("comparisons", caption, families, "Variant")


def _effects(report: Report) -> TexTable:
    families: dict[str, list[tuple[str, str, Judgement]]] = {}
    for row in report.effects:
        if not row.view:
            families.setdefault(row.family, []).append((row.name, _cells_n(row), row.judgement))
    caption = f"Effects of the parts, in points of test accuracy. {_statistics(report, of_pairs=False)}"
    return _in_full("effects", caption, families, "Effect")


def _cells_n(row: EffectRow) -> str:
    return of_planned(row.judgement.evidence.n, row.judgement.evidence.n_against, row.planned)


def _in_full(
    name: str, caption: str, families: dict[str, list[tuple[str, str, Judgement]]], first: str
) -> TexTable:
    """Every figure that a verdict rests on, a group a family."""
    rows: list[Cells] = []
    breaks = []
    for family, members in families.items():
        breaks.append((len(rows), tex(f"{family} ({len(members)})")))
        for label, n, judgement in members:
            seeds = numbers.seeds(judgement.seeds_to_decide, judgement.std)
            rows.append(
                [
                    tex(label),
                    tex(n),
                    _judged(judgement),
                    tex(numbers.confidence(judgement).replace(" (TOST)", " T")),
                    tex(numbers.p_value(judgement.p_value)),
                    tex(numbers.p_value(judgement.p_adjusted)),
                    tex(numbers.p_value(judgement.p_equivalent)),
                    tex(judgement.verdict),
                    tex(numbers.points(judgement.mde if math.isfinite(judgement.mde) else None)),
                    tex(seeds),
                ]
            )
    header = [
        first,
        "$n$",
        "$\\Delta$",
        "Level",
        "$p$",
        "$p_{\\mathrm{adj}}$",
        "$p_{\\mathrm{eq}}$",
        "Verdict",
    ]
    return TexTable(name, caption, [*header, "MDE", "Seeds"], "lcrrrrrlrr", rows, breaks)


def _sweep(report: Report, sweep: SweepRows) -> TexTable:
    stds = [level.variant.accuracy.std for level in sweep.levels if level.variant.accuracy is not None]
    digits, from_start = numbers.decimals(stds), sweep.start != report.baseline
    rows = [
        [
            tex(level.label),
            tex(count(level.variant)),
            _accuracy(level.variant, digits, level.against if not from_start else level.variant.against),
            _difference(level.against),
            tex(level.against.judgement.verdict if level.against else "start"),
            *([_difference(level.variant.against), tex(verdict(level.variant))] if from_start else []),
            tex(numbers.count(level.variant.param_count)),
            tex(numbers.macs(level.variant.macs)),
        ]
        for level in sweep.levels
    ]
    base = [f"$\\Delta$ from {tex(report.baseline)}", "Verdict"] if from_start else []
    header = [tex(sweep.name), "$n$", "Accuracy, \\%", f"$\\Delta$ from {tex(sweep.start)}", "Verdict", *base]
    both = f" and from {report.baseline}, each family corrected on its own" if from_start else ""
    caption = (
        f"Sweep of {sweep.name}: test accuracy, mean ± standard deviation, and the difference in points from "
        f"{sweep.start}, where the sweep starts{both}{_test(report)}. Bold: better. {_brief(report)}"
    )
    align = "lcrrl" + "rl" * from_start + "rr"
    return TexTable(sweep.file_name, caption, [*header, "Parameters", "MACs"], align, rows)


def _claims(report: Report) -> TexTable:
    header, lines = claim_text.table(report)
    kept = [header.index(name) for name in ("Claim", "It says", "Claimed", "Estimate", "n", "Verdict")]
    rows = [[tex(line[position]) for position in kept] for line in lines]
    caption = (
        "Claims, judged by whether the interval of the estimate lies inside what is claimed; claims on "
        f"accuracy are one family{_test(report, of_pairs=False)}. {_brief(report)}"
    )
    return TexTable("claims", caption, [tex(header[position]) for position in kept], "lllrcl", rows)


def _controls(report: Report) -> TexTable:
    header, lines = controls.table(report)
    caption = f"{controls.title(report)} {controls.notes(report)[0]} {_brief(report)}"
    rows = [[tex(cell) for cell in line] for line in lines]
    return TexTable("controls", caption, [tex(name) for name in header], "lcrrrrrl", rows)


def _costs(report: Report) -> list[TexTable]:
    """What was counted and, where a machine timed it, what was measured."""
    found = []
    if report.costs.counted:
        caption = f"What each variant costs, counted for one image. {_brief(report)}"
        found.append(_plain("costs", caption, *cost_text.counted_table(report)))
    if report.costs.measured:
        notes = cost_text.measured_caption(report)
        caption = f"What each variant costs, measured. {notes} {_brief(report)}"
        found.append(_plain("costs-measured", caption, *cost_text.measured_table(report)))
    return found


def _tuning(report: Report) -> list[TexTable]:
    """The best settings of each search, and what each of its settings explains."""
    found = report.tuning
    if found is None:
        return []
    tables = []
    for position, search in enumerate(found.searches, start=1):
        head = f"Tuning {search.start} on validation images"
        if search.best:
            caption = (
                f"{head}: the best settings, by {', '.join(found.objectives)}. "
                f"{tuning.answer(search, found.objectives)} A choice, and no verdict."
            )
            lines = tuning.settings_table(found, search)
            tables.append(_plain(f"tuning-{position}-settings", caption, *lines))
        if tuning.explains(search):
            caption = f"{head}: how much of the differences each setting explains."
            tables.append(_plain(f"tuning-{position}-importances", caption, *tuning.importance_table(search)))
    return tables


def _tuning_section(report: Report) -> list[str]:
    if report.tuning is None:
        return []
    return ["\\section*{Tuning}", *_list(tuning.notes(report.tuning))]


def _plain(name: str, caption: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> TexTable:
    words = ("Variant", "Machine", "Verdict", "Setting")
    align = "".join("l" if title in words else "r" for title in header)
    rows = [[tex(cell) for cell in line] for line in lines]
    return TexTable(name, caption, [tex(title) for title in header], align, rows)


def _switch(row: VariantRow, name: str) -> str:
    return {True: "\\checkmark{}", False: "$\\times$", None: "--"}[row.switches.get(name)]


def _accuracy(row: VariantRow, digits: int, against: Against | None = None) -> str:
    if row.accuracy is None:
        return "--"
    mean = _bold_if(tex(numbers.points(row.accuracy.mean, digits=digits)), against or row.against)
    if row.accuracy.n < 2:
        return mean
    return f"{mean} $\\pm$ {numbers.points(row.accuracy.std, digits=digits)}"


def _difference(against: Against | None) -> str:
    return "--" if against is None else _judged(against.judgement)


def _judged(judgement: Judgement) -> str:
    """The difference, in bold where the verdict is better, and its interval."""
    if math.isnan(judgement.evidence.estimate.value):
        return "--"
    told = tex(numbers.difference(judgement))
    if judgement.verdict == "better":
        told = f"\\textbf{{{told}}}"
    bounds = numbers.interval(*judgement.deciding)
    return told if bounds == numbers.NONE else f"{told} {tex(bounds)}"


def _bold_if(told: str, against: Against | None) -> str:
    return f"\\textbf{{{told}}}" if against and against.judgement.verdict == "better" else told


def _cost(told: str, delta: float | None, base: int | None) -> Cells:
    """The figure, and the change in percent of the baseline's."""
    return [tex(told), tex(numbers.share(delta, base)) if delta else "--"]


def _test(report: Report, *, of_pairs: bool = True) -> str:
    """of_pairs: many variants against one, as Dunnett's test needs; effects and claims are none such."""
    procedure = report.procedure if of_pairs else without_dunnett(report.procedure)
    names = {"welch": "Welch's t", "paired": "paired t", "dunnett": "Dunnett's test"}
    holm = ", Holm" if procedure.correction == "holm" and procedure.test != "dunnett" else ""
    return f" ({names[procedure.test]}{holm}, level {procedure.level:g}, margin ±{procedure.margin:g})"


def _statistics(report: Report, *, of_pairs: bool) -> str:
    margin = report.procedure.margin
    return (
        f"The interval is the one that the verdict rests on, at its level{_test(report, of_pairs=of_pairs)}; "
        f"T: that of two one-sided tests for ±{margin:g} points, whose p is p eq. MDE: the "
        f"difference found 4 times in 5. "
        f"Seeds: a variant, to show {margin:g} points or rule them out 4 times in 5. Bold: better. "
        f"{_brief(report)}"
    )


def _brief(report: Report) -> str:
    return f"{in_brief(report)}."


def _list(sentences: Sequence[str]) -> list[str]:
    items = [f"\\item {tex(sentence)}" for sentence in sentences if sentence]
    return ["\\begin{itemize}", *items, "\\end{itemize}"] if items else []


def _figure(report: Report, name: str, caption: str) -> str:
    path = f"figures/{name}.png"
    return "\n".join(
        [
            f"\\IfFileExists{{{path}}}{{%",
            "\\begin{figure}[htbp]",
            "\\centering",
            f"\\includegraphics[width=.8\\linewidth,height=.4\\textheight,keepaspectratio]{{{path}}}",
            f"\\caption{{{tex(caption)}.}}",
            f"\\label{{fig:{slug(report.study)}-{slug(name)}}}",
            "\\end{figure}}{}",
        ]
    )
