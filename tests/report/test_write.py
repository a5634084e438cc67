from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablate.errors import AblateError
from ablate.report import (
    MEASURED_KEYS,
    build_report,
    render,
    render_study,
    without_measured,
    write_report,
)


def unmeasured(folder: Path) -> dict[str, Any]:
    """Every text of a report without what is measured."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key not in MEASURED_KEYS}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    found = {
        "report.md": without_measured((folder / "report.md").read_text()),
        "report.json": strip(json.loads((folder / "report.json").read_text())),
    }
    for path in sorted((folder / "tables").iterdir()):
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        found[path.name] = [
            {key: cell for key, cell in row.items() if key not in MEASURED_KEYS} for row in rows
        ]
    return found


def small(tree: Any, *, wall_s: float = 1.0) -> Any:
    tree.variants.clear()
    tree.add_variant("baseline", {seed: 84.0 + seed / 10 for seed in range(5)}, wall_s=wall_s)
    tree.add_variant("se", {seed: 85.0 + seed / 10 for seed in range(5)}, wall_s=wall_s)
    tree.plan()
    return tree


def test_a_whole_study_is_written_with_every_figure_that_its_page_shows(msa: Any) -> None:
    path = write_report(msa.store, "msa")
    folder = msa.root / "msa"
    assert path == folder / "report.md"
    shown = {part.partition(")")[0] for part in path.read_text().split("](")[1:]}
    assert len(shown) == 7 and all((folder / name).is_file() for name in shown)
    assert all((folder / name).with_suffix(".png").is_file() for name in shown)
    tables = {p.name for p in (folder / "tables").iterdir()}
    printed = {"effects", "variants", "sweep-1-reduction", "sweep-2-at"}
    assert {name for name in tables if name.endswith(".csv")} == {
        f"{name}.csv" for name in (*printed, "trials")
    }
    in_tex = {*printed, "parts", "views", "comparisons", "costs"}
    assert {name for name in tables if name.endswith(".tex")} == {f"{name}.tex" for name in in_tex}
    assert (folder / "report.tex").is_file()
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.usefixtures("no_figures")
def test_equal_runs_give_equal_reports_but_for_what_is_measured(tree: Any) -> None:
    write_report(small(tree).store, "msa")
    first = unmeasured(tree.root / "msa")
    shutil.rmtree(tree.root)
    path = write_report(small(tree, wall_s=77.0).store, "msa")
    assert unmeasured(path.parent) == first


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with figures, which take their time."""
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda report, store: {})


@pytest.mark.usefixtures("no_figures")
def test_the_same_results_looked_at_twice_are_one_look(tree: Any) -> None:
    small(tree)
    write_report(tree.store, "msa")
    before = (tree.root / "msa" / "report.json").read_bytes()
    write_report(tree.store, "msa")
    assert [look.finished for look in tree.store.read_plan("msa").looks] == [10]
    assert (tree.root / "msa" / "report.json").read_bytes() == before
    tree.store.trial(tree.variants[1].trials[4]).record.unlink()
    write_report(tree.store, "msa")
    assert [look.finished for look in tree.store.read_plan("msa").looks] == [10, 9]


@pytest.mark.usefixtures("no_figures")
def test_what_an_earlier_report_left_behind_is_removed(tree: Any) -> None:
    small(tree)
    write_report(tree.store, "msa")
    tables = tree.root / "msa" / "tables"
    (tables / "sweep-9-gone.csv").write_text("old")
    (tables / "notes.txt").write_text("the user's own")
    write_report(tree.store, "msa")
    assert not (tables / "sweep-9-gone.csv").exists() and (tables / "notes.txt").exists()


def test_a_rendering_alone_writes_nothing_and_notes_no_look(tree: Any) -> None:
    small(tree)
    before = {path: path.stat().st_mtime_ns for path in tree.root.rglob("*")}
    assert json.loads(render_study(tree.store, "msa", "json"))["study"] == "msa"
    rows = list(csv.DictReader(io.StringIO(render_study(tree.store, "msa", "csv"))))
    assert [(row["name"], row["n"], row["verdict"]) for row in rows] == [
        ("baseline", "5", "baseline"),
        ("se", "5", "better"),
    ]
    assert render_study(tree.store, "msa", "markdown").startswith("# ")
    assert {path: path.stat().st_mtime_ns for path in tree.root.rglob("*")} == before


def test_an_unknown_format_names_those_there_are(tree: Any) -> None:
    with pytest.raises(
        AblateError, match="there is no report format 'pdf': markdown, latex, html, json, csv"
    ):
        render(build_report(small(tree).store, "msa"), "pdf")


def test_json_needs_neither_torch_nor_pandas_nor_matplotlib(tree: Any) -> None:
    small(tree)
    code = (
        "import sys; from ablate.report import render_study; from ablate.store import Store; "
        f"render_study(Store({str(tree.root)!r}), 'msa', 'json'); "
        "print(sorted({'torch', 'pandas', 'matplotlib', 'seaborn', 'scipy.stats'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
