"""The lines of a self-test as tables, which are Markdown too, and as JSON."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from ablate.selftest.run import Selftest
from ablate.selftest.tally import Line

# Measures that begin so are counts; all others are shares.
_COUNTS = ("seeds", "trials")
_BROKEN = " ✗"


def selftest_text(found: Selftest) -> str:
    """A table for each group of lines, what broke its limit, and what it all comes to."""
    parts = []
    for group, lines in itertools.groupby(found.lines, key=lambda line: line.group):
        parts.append(f"### {group}\n\n{_table(list(lines))}")
    broken = [line for line in found.lines if not line.passed]
    if broken:
        parts.append("\n".join(["Limits broken:", "", *map(_accusation, broken)]))
    return "\n\n".join([*parts, _verdict(found, broken)])


def _verdict(found: Selftest, broken: Sequence[Line]) -> str:
    judged = [line for line in found.lines if line.limit is not None and not line.control]
    controls = [line for line in found.lines if line.control]
    how = f"{found.replicates:,} replicates, seed {found.seed}"
    if broken:
        return f"FAILED: {len(broken)} of {len(judged) + len(controls)} limits ({how})."
    seen = f", and the control was seen to break its own ({len(controls)})" if controls else ""
    return f"Passed: all {len(judged)} limits are kept{seen} ({how})."


def _table(lines: Sequence[Line]) -> str:
    cases = list(dict.fromkeys(line.case for line in lines))
    measures = list(dict.fromkeys(line.measure for line in lines))
    at = {(line.case, line.measure): line for line in lines}
    shared = {
        measure: _shared_limit([line for line in lines if line.measure == measure]) for measure in measures
    }
    rows = [["", *(f"{measure} {shared[measure]}".strip() for measure in measures)]]
    for case in cases:
        rows.append([case, *(_cell(at.get((case, measure)), shared[measure]) for measure in measures)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(measures) + 1)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(_row(row, widths) for row in rows)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"| {' | '.join(padded)} |"


def _shared_limit(lines: Sequence[Line]) -> str:
    """The limit that all of a column have in common, for its head."""
    limits = {_limit(line) for line in lines}
    return limits.pop() if len(limits) == 1 else ""


def _cell(line: Line | None, shared: str) -> str:
    if line is None:
        return ""
    own = "" if shared or line.limit is None else f" ({_limit(line)})"
    return f"{_figure(line, line.value)}{own}{'' if line.keeps_limit else _BROKEN}"


def _limit(line: Line) -> str:
    if line.limit is None:
        return ""
    return f"{'≤' if line.rule == 'at most' else '≥'} {_figure(line, line.limit)}"


def _figure(line: Line, value: float) -> str:
    return f"{value:.2f}" if line.measure.startswith(_COUNTS) else f"{value:.4f}".removeprefix("0")


def _accusation(line: Line) -> str:
    what = f"{line.case}: {line.measure} {_figure(line, line.value)}"
    if line.control:
        return f"- {what} is {_limit(line)}: a control that errs was not seen to"
    return f"- {what} is not {_limit(line)}"


def selftest_json(found: Selftest) -> dict[str, Any]:
    return {
        "passed": found.passed,
        "replicates": found.replicates,
        "seed": found.seed,
        "lines": [_line_json(line) for line in found.lines],
    }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "group": line.group,
        "case": line.case,
        "measure": line.measure,
        "value": line.value,
        "standard_error": line.standard_error if math.isfinite(line.standard_error) else None,
        "replicates": line.replicates,
        "rule": line.rule,
        "limit": line.limit,
        "control": line.control,
        "passed": line.passed,
    }
