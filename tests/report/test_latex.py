"""The LaTeX: what it says, that no name can run in it and, where TeX is installed, that it compiles."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablate.record import PlannedDesign, PlannedSweep
from ablate.report import build_report, numbers, render_study, write_report
from ablate.report.headline import open_report
from ablate.report.latex import render_latex, tex_files
from ablate.report.tex import tex

HOSTILE = r"\input{/etc/passwd} $x$ %&#_{}~^ \end{document} [x] * -- é λ 中 😀"


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("100 % of a_b & #1", r"100 \% of a\_b \& \#1"),
        (r"\write18{rm}", r"\textbackslash{}write18\{rm\}"),
        ("x^2 ~ $y$", r"x\textasciicircum{}2 \textasciitilde{} \$y\$"),
        ("84.65 ± 0.32", r"84.65 $\pm$ 0.32"),
        ("−0.13 [−0.91, +0.65]", "$-$0.13 {[}$-$0.91, +0.65{]}"),
        ("a × b", r"a $\times$ b"),
        ("--until-decided", "-{}-until-decided"),
        ("it''s", "it'{}'s"),
        ("Größe, naïve, Łódź", r"Gr\"{o}\ss{}e, na\"{i}ve, \L{}\'{o}d\'{z}"),
        ("Δλσ 2³", r"$\Delta$$\lambda$$\sigma$ 2$^{3}$"),
        ("中", r"\texttt{U+4E2D}"),
        ("two\n\nlines", "two lines"),
        ("\x00\x1b", r"\texttt{U+0000}\texttt{U+001B}"),
    ],
)
def test_plain_text_stays_plain(plain: str, escaped: str) -> None:
    assert tex(plain) == escaped and escaped.isascii()


def test_bold_stands_only_where_the_verdict_is_better(msa: Any) -> None:
    """And so not at the largest mean, unless that is better."""
    report = build_report(msa.store, "msa")
    lines = tex_files(report)["variants"].splitlines()
    rows = {row.name: row for row in report.variants}
    found = {name: next(line for line in lines if line.startswith(f"{tex(name)} &")) for name in rows}
    bold = {name for name, line in found.items() if r"\textbf" in line}
    assert bold == {n for n, r in rows.items() if r.against and r.against.judgement.verdict == "better"}
    assert bold and len(bold) < len(rows) - 1


def test_the_largest_mean_of_an_undecided_study_is_not_bold(tree: Any, build_msa: Any) -> None:
    build_msa(tree, std=3.0)
    report = build_report(tree.store, "msa")
    assert not any(r.against and r.against.judgement.verdict == "better" for r in report.variants)
    assert r"\textbf" not in render_latex(report)


def test_figures_have_the_digits_of_their_spread(tree: Any) -> None:
    tree.add_variant("baseline", {seed: 84.0 + 2.0 * seed for seed in range(5)})
    tree.add_variant("se", {seed: 85.0 + 2.2 * seed for seed in range(5)})
    tree.plan()
    table = tex_files(build_report(tree.store, "msa"))["variants"]
    assert r"88.0 $\pm$ 3.2" in table and r"89.4 $\pm$ 3.5" in table


def test_a_caption_says_how_the_table_came_about_and_every_table_has_a_label_of_its_own(msa: Any) -> None:
    files = tex_files(build_report(msa.store, "msa"))
    assert set(files) == {
        "parts",
        "variants",
        "views",
        "comparisons",
        "effects",
        "sweep-1-reduction",
        "sweep-2-at",
        "costs",
    }
    labels = [label for text in files.values() for label in re.findall(r"\\label\{(.*?)\}", text)]
    assert len(set(labels)) == len(files) and r"tab:msa-variants" in labels
    for text in files.values():
        caption = next(line for line in text.splitlines() if line.startswith(r"\caption"))
        for said in ("n = 5 seeds (0, 1, 2, 3, 4)", "fashion-mini", "4 epochs, batches of 64", "A CPU (cpu)"):
            assert said in caption
        assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1 and "|" not in text


def test_every_judged_table_says_that_it_is_post_hoc_and_why_once(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    late = replace(report, looks=replace(report.looks, post_hoc="the analysis was changed"))
    for name, text in tex_files(late).items():
        caption = next(line for line in text.splitlines() if line.startswith(r"\caption"))
        assert caption.count("Post hoc: the analysis was changed.") == (name != "costs"), name
        assert "Post hoc" not in tex_files(report)[name]
    assert "Post hoc: Which parts" in render_latex(late)


def test_differences_are_those_of_the_markdown_with_their_signs(tree: Any, build_msa: Any) -> None:
    """Seeds that scatter widely take digits from accuracies, and no sign from a difference."""
    build_msa(tree, std=3.0)
    report = build_report(tree.store, "msa")
    table = tex_files(report)["comparisons"]
    for row in report.variants:
        if row.against is not None and row.origin != "sweep":
            assert tex(numbers.estimate(row.against.judgement)) in table


def test_parts_stand_in_the_order_of_the_answer_with_their_column_explained(
    tree: Any, build_msa: Any
) -> None:
    build_msa(tree, std=1.0)
    report = build_report(tree.store, "msa")
    text, names = tex_files(report)["parts"], [finding.name for finding in open_report(report).findings]
    starts = [line.partition(" &")[0] for line in text.splitlines()]
    assert [start for start in starts if start in names] == names
    assert "& Seeds to decide" in text and "Seeds to decide: a variant, to show" in text
    before = render_latex(report).partition(r"\begin{table}")[0]
    assert "Seeds to decide" not in before and "Bought" not in before


def test_every_row_has_as_many_cells_as_its_header(msa: Any) -> None:
    for name, text in tex_files(build_report(msa.store, "msa")).items():
        inside = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
        rows = [line for line in inside.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1, name


def hostile(tree: Any) -> Any:
    """Every text that a user gives holds commands."""
    tree.title = HOSTILE
    tree.baseline = f"base {HOSTILE}"
    for number, name in enumerate((tree.baseline, f"a {HOSTILE}", f"b {HOSTILE}", f"ab {HOSTILE}")):
        tree.add_variant(
            name, {seed: 84.0 + number + seed / 10 for seed in range(5)}, switches={HOSTILE: number > 1}
        )
    names = [variant.name for variant in tree.variants]
    tree.sweeps = [
        PlannedSweep(
            name=HOSTILE,
            setting="x",
            start=names[1],
            levels=((HOSTILE, names[2]), ("4", names[3])),
            numeric=False,
        )
    ]
    cells = (((), names[0]), (("$x",), names[1]), (("\\y",), names[2]), (("$x", "\\y"), names[3]))
    tree.designs = [PlannedDesign(kind="factorial", start=names[3], factors=("$x", "\\y"), cells=cells)]
    tree.claims = (
        {
            "id": "C1",
            "say": HOSTILE,
            "kind": "difference",
            "metric": "accuracy",
            "of": names[1],
            "against": [names[0]],
            "at_least": 0,
        },
    )
    tree.plan()
    return tree


def test_a_hostile_study_leaves_no_command_behind(tree: Any) -> None:
    text = render_study(hostile(tree).store, "msa", "latex")
    assert text.count(r"\end{document}") == 1 and text.rstrip().endswith(r"\end{document}")
    assert r"\input" not in text and r"\textbackslash{}input\{/etc/passwd\}" in text
    assert text.isascii()


@pytest.mark.tex
@pytest.mark.parametrize("study", ["msa", "hostile", "unfinished"])
def test_it_compiles_on_its_own_and_each_table_inside_a_paper(
    study: str, tree: Any, build_msa: Any, tmp_path: Path
) -> None:
    if shutil.which("pdflatex") is None:
        pytest.fail("pdflatex is missing: apt-get install texlive-latex-recommended")
    if study == "unfinished":
        tree.add_variant("baseline", {0: 84.0})
        tree.add_variant("se", {})
        tree.plan()
    else:
        _ = build_msa(tree) if study == "msa" else hostile(tree)
    write_report(tree.store, "msa")
    folder = tree.root / "msa"
    log = compile_tex(folder, "report.tex")
    assert (folder / "report.pdf").stat().st_size > 20_000
    paper = [r"\documentclass[twocolumn]{article}", r"\usepackage{amssymb,booktabs,graphicx}"]
    paper += [r"\begin{document}", *(rf"\input{{tables/{p.name}}}" for p in folder.glob("tables/*.tex"))]
    (folder / "paper.tex").write_text("\n".join([*paper, r"\end{document}"]))
    for text in (log, compile_tex(folder, "paper.tex")):
        assert not re.findall(r"^! |Missing character", text, re.MULTILINE)
        # Words of eighty characters fit no line.
        assert study == "hostile" or "Overfull \\hbox" not in text


def compile_tex(folder: Path, name: str) -> str:
    """The log of two runs, the second of which knows the labels."""
    for _ in range(2):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", name],
            cwd=folder,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]
    return (folder / name).with_suffix(".log").read_text(errors="replace")
