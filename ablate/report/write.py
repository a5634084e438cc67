"""A report as files under `results/<study>/`, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ablate.errors import AblateError
from ablate.record import Look
from ablate.report.build import build_report
from ablate.report.json import render_json
from ablate.report.markdown import render_markdown
from ablate.report.rows import Report
from ablate.store import Store, explained, write_bytes

# Keys of the JSON and columns of the CSV files that differ between two equal runs. In the markdown such
# figures stand on lines of their own, which start with `MEASURED_PREFIX`.
MEASURED_KEYS = ("images_per_s", "latency_ms", "peak_memory_bytes", "planned_at", "started", "wall_s")
FORMATS = ("markdown", "json", "csv")


def render(report: Report, format: str) -> str:
    """One rendering as text; csv: the table of the variants."""
    if format == "markdown":
        return render_markdown(report)
    if format == "json":
        return render_json(report)
    if format == "csv":
        from ablate.report.tables import to_csv, variants_table

        return to_csv(variants_table(report))
    raise AblateError(f"there is no report format {format!r}: {', '.join(FORMATS)}")


def render_study(store: Store, study_name: str, format: str) -> str:
    """Like `render`, from the results tree; writes nothing."""
    return render(build_report(store, study_name), format)


def write_report(store: Store, study_name: str) -> Path:
    """Write every rendering, note the look in the plan, and give back the path of the markdown.

    Tables and figures of an earlier report that this one does not name are removed.
    """
    from ablate.report.figures import draw_figures
    from ablate.report.tables import tables, to_csv

    report = build_report(store, study_name)
    paths = store.study(study_name)
    csv = {f"{name}.csv": to_csv(table).encode() for name, table in tables(report).items()}
    _replace_files(paths.tables, csv, (".csv",))
    _replace_files(paths.figures, draw_figures(report, store), (".svg", ".png"))
    _write(paths.report_json, render_json(report).encode())
    _write(paths.report_md, render_markdown(report).encode())
    _note_look(store, report)
    return paths.report_md


def _note_look(store: Store, report: Report) -> None:
    """A look is a reading of results that nobody had read: the same results again are no new look."""
    plan = store.read_plan(report.study)
    finished = sum(row.n for row in report.variants)
    last = plan.looks[-1].finished if plan is not None and plan.looks else 0
    if finished != last:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        store.add_look(report.study, Look(date=date, finished=finished, seeds=len(report.seeds)))


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
