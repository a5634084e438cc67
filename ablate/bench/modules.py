"""Where in each network its costs lie: `ablate bench … --modules`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from typing import TYPE_CHECKING, Any

from ablate.bench.subjects import Subject
from ablate.environment import require_torch, require_torchvision

if TYPE_CHECKING:
    from ablate.measure import ModuleTable

COSTS = {"param_count": "parameters", "macs": "MACs", "activations": "activations"}


def module_tables(subjects: Sequence[Subject], depth: int | None = None) -> dict[str, ModuleTable]:
    """By the name of the network. depth: see `ablate.measure.module_table`; nothing is timed."""
    require_torch()
    require_torchvision()
    from ablate.measure import module_table

    return {
        subject.name: module_table(subject.build(), subject.image_shape, depth=depth) for subject in subjects
    }


def modules_text(tables: Mapping[str, ModuleTable], *, width: int = 118) -> str:
    return "\n\n".join(_text(name, table, width) for name, table in tables.items())


def modules_json(tables: Mapping[str, ModuleTable]) -> dict[str, Any]:
    return {name: asdict(table) for name, table in tables.items()}


def _text(name: str, found: ModuleTable, width: int) -> str:
    """Every share is a percentage of the network's total, which stands in the last line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="")
    table.add_column(name, no_wrap=False)
    table.add_column("")
    for head in COSTS.values():
        table.add_column(head, justify="right", no_wrap=True)
        table.add_column("%", justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(row.path or "(the network itself)", row.kind, *_cells(row, found))
    table.add_row("sum", "", *_cells(found, found))
    written = StringIO()
    Console(file=written, width=width, no_color=True, highlight=False).print(table)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    return "\n".join([*lines, "", "each module without those below it that have lines of their own"])


def _cells(row: Any, total: ModuleTable) -> list[str]:
    cells = []
    for cost in COSTS:
        part, whole = getattr(row, cost), getattr(total, cost)
        cells += [f"{part:,}", f"{100 * part / whole:.2f}" if whole else "–"]
    return cells
