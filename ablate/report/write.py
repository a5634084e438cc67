"""A report as files under `results/<study>/`, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ablate.errors import AblateError
from ablate.report.build import build_report
from ablate.report.cost_text import MEASURED_COLUMNS
from ablate.report.html import render_html
from ablate.report.json import render_json
from ablate.report.latex import render_latex, tex_files
from ablate.report.looks import note_look
from ablate.report.markdown import render_markdown
from ablate.report.rows import Report
from ablate.store import Store, explained, naming_all_damage, write_bytes

# Keys of the JSON and columns of the CSV files that differ between two equal runs. In the markdown such
# figures stand on lines and in tables of their own, which `without_measured` leaves out.
MEASURED_KEYS = (
    "latency_delta_ms",
    "latency_delta_ms_low",
    "latency_delta_ms_high",
    *MEASURED_COLUMNS,
    "costs",
    "hours_to_decide",
    "pace",
    "planned_at",
    "started",
    "wall_s",
)
FORMATS = ("markdown", "latex", "html", "json", "csv")


def render(report: Report, format: str) -> str:
    """One rendering as text; csv: the table of the variants."""
    if format == "markdown":
        return render_markdown(report)
    if format == "latex":
        return render_latex(report)
    if format == "html":
        return render_html(report)
    if format == "json":
        return render_json(report)
    if format == "csv":
        from ablate.report.tables import to_csv, variants_table

        return to_csv(variants_table(report))
    raise AblateError(f"there is no report format {format!r}: {', '.join(FORMATS)}")


def render_study(store: Store, study_name: str, format: str) -> str:
    """Like `render`, from the results tree; writes nothing."""
    with naming_all_damage(store, study_name):
        return render(build_report(store, study_name), format)


def write_report(store: Store, study_name: str) -> Path:
    """Write every rendering, note the look in the plan, and give back the path of the markdown.

    Tables and figures of an earlier report that this one does not name are removed.
    """
    from ablate.report.figures import draw_figures
    from ablate.report.tables import tables, to_csv

    with naming_all_damage(store, study_name):
        report = build_report(store, study_name)
        figures = draw_figures(report, store)
    paths = store.study(study_name)
    csv = {f"{name}.csv": to_csv(table).encode() for name, table in tables(report).items()}
    tex = {f"{name}.tex": table.encode() for name, table in tex_files(report).items()}
    _replace_files(paths.tables, csv | tex, (".csv", ".tex"))
    _replace_files(paths.figures, figures, (".svg", ".png"))
    _write(paths.report_json, render_json(report).encode())
    _write(paths.report_tex, render_latex(report).encode())
    _write(paths.report_html, render_html(report).encode())
    _write(paths.report_md, render_markdown(report).encode())
    note_look(store, report)
    return paths.report_md


def _replace_files(folder: Path, files: Mapping[str, bytes], kinds: tuple[str, ...]) -> None:
    for name, content in files.items():
        _write(folder / name, content)
    for path in folder.glob("*"):
        if path.suffix in kinds and path.name not in files:
            with explained("remove", path):
                path.unlink(missing_ok=True)  # a run beside this one writes the same report


def _write(path: Path, content: bytes) -> None:
    # It can be drawn again from the records: not worth waiting for the disk.
    write_bytes(path, content, durable=False)
