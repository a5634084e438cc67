"""Every page of the report shows the same search: its figures, its tables, and how it was made."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from ablate.report import build_report, render_study, write_report
from ablate.report.html.tuning import tuning_section
from ablate.report.latex import tex_files
from ablate.report.tex import tex

HOSTILE = r"<script>alert(1)</script> \input{x} | `a` $y$"


@pytest.fixture
def tuned(tree, build_msa, write, content):
    """The study msa, which was tuned as well; keywords replace what the search's file says."""

    def tuned(**more):
        build_msa(tree)
        write(tree.root, "msa", content(**more))
        return tree

    return tuned


def charts_of(store):
    section = tuning_section(build_report(store, "msa"))
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg viewBox.*?</svg>", section)]


def test_what_to_write_into_the_study_is_shown_as_code(tuned):
    store = tuned().store
    assert "over it (`also: [baseline]` gives it" in render_study(store, "msa", "markdown")
    html = tuning_section(build_report(store, "msa"))
    assert "over it (<code>also: [baseline]</code> gives it" in html and "`" not in html


def test_all_pages_have_the_same_tables(tuned):
    store = tuned().store
    markdown = render_study(store, "msa", "markdown").partition("## Tuning")[2].partition("\n## ")[0]
    html = str(tuning_section(build_report(store, "msa")))
    latex = tex_files(build_report(store, "msa"))
    for cell in ("reduction=16 lr=0.1", "82.50 %", "reduction=8 lr=0.01", "80.00 %", "75 %", "25 %"):
        assert cell in markdown and f">{cell}<" in html
        assert tex(cell) in latex["tuning-1-settings"] + latex["tuning-1-importances"]
    for note in ("Budget: msa: 4 of 5 settings. Sampler: tpe.", "A search chooses; it yields no verdict."):
        assert note in markdown and note in html and tex(note) in render_study(store, "msa", "latex")


def test_the_page_draws_what_the_files_draw(tuned):
    """Each figure of the markdown is in the page itself, with a mark for each setting."""
    objectives = {"accuracy": "maximize", "macs": "minimize"}
    charts = charts_of(tuned(objectives=objectives).store)
    labels = [chart.get("aria-label") for chart in charts]
    assert labels == [
        "Validation accuracy, % by trial of the search",
        "MACs by trial of the search",
        "Validation accuracy, % over reduction",
        "Validation accuracy, % over lr",
        "Settings as lines across their axes",
        "Importance for accuracy",
        "Validation accuracy, % against macs",
    ]
    marks = {
        label: [mark.get("aria-label") for mark in chart.iter("g") if mark.get("class") == "mark"]
        for label, chart in zip(labels, charts, strict=True)
    }
    assert marks[labels[0]] == [
        "Trial 1: reduction=4 lr=0.01: stopped early",
        "Trial 0: reduction=8 lr=0.01: 80.00 %, 80",
        "Trial 2: reduction=16 lr=0.1: 82.50 %, 160",
    ]
    assert [len(marks[label]) for label in labels[1:]] == [2, 2, 2, 2, 0, 2]


def test_higher_is_further_up_and_the_best_is_filled(tuned):
    chart = charts_of(tuned().store)[0]
    worse, better = chart.iter("circle")
    assert float(better.get("cy")) < float(worse.get("cy")) and float(better.get("cx")) > float(
        worse.get("cx")
    )
    assert (worse.get("class"), better.get("class")) == ("mean", "mean"), "each was the best when it came"
    over_ratio = list(charts_of(tuned().store)[1].iter("circle"))
    assert [dot.get("class") for dot in over_ratio] == ["mean open", "mean"]


def test_the_importances_are_as_long_as_they_are(tuned):
    bars = [float(bar.get("width")) for bar in charts_of(tuned().store)[-1].iter("rect")]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.01)


def test_files_beside_the_report_hold_the_search(tuned):
    tree = tuned()
    folder = write_report(tree.store, "msa").parent
    with (folder / "tables" / "tuning-1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done", "pruned", "done", "failed"]
    assert rows[2]["model.attention.args.reduction"] == "16" and float(rows[2]["accuracy"]) == 82.5
    assert rows[2]["trial_id_seed_1001"] == "0002bb" and rows[1]["accuracy"] == ""
    latex = (folder / "report.tex").read_text()
    for kind in ("history", "slices", "parallel", "importances"):
        assert (folder / "figures" / f"tuning-1-{kind}.png").is_file()
        assert f"{{figures/tuning-1-{kind}.png}}" in latex
    assert r"\section*{Tuning}" in latex


def test_measured_objectives_stand_in_tables_that_may_differ(tuned, content):
    from ablate.report import without_measured

    said = content(objectives={"accuracy": "maximize", "latency_ms": "minimize"})
    for trial in said["searches"][0]["trials"]:
        trial["values"] |= {"latency_ms": 0.25} if trial["state"] == "done" else {}
    text = render_study(tuned(**said).store, "msa", "markdown")
    assert "0.250 ms" in text and "0.250 ms" not in without_measured(text)


def test_no_name_of_a_search_is_markup(tuned, content):
    said = content()
    said["searches"][0]["start"] = HOSTILE
    said["searches"][0]["trials"][2]["settings"] = {f"model.{HOSTILE}": HOSTILE}
    store = tuned(**said).store
    assert "<script>alert" not in render_study(store, "msa", "html")
    assert r"\input{" not in render_study(store, "msa", "latex")
    assert "<script>alert" not in render_study(store, "msa", "markdown").replace(r"\<script>", "")


@pytest.mark.tex
def test_the_tables_compile(tuned):
    if shutil.which("pdflatex") is None:
        pytest.fail("pdflatex is missing: apt-get install texlive-latex-recommended")
    folder = write_report(tuned().store, "msa").parent
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
