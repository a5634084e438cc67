"""Rows as plain tables: `tables/*.csv`.

One record per line, units in the column names, an absent figure as an empty cell.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ablate.report import claim_text, cost_text
from ablate.report.json import document
from ablate.report.rows import Report
from ablate.report.tuning import records

Table: TypeAlias = Sequence[Mapping[str, Any]]


def variants_table(report: Report) -> Table:
    """One row a variant: what the JSON says of it, an interval as two columns, each switch as one."""
    return _flat_rows(document(report)["variants"])


def tables(report: Report) -> dict[str, Table]:
    """Every table of the report by the name of its file.

    trials: a row a planned trial. claims: a row for each figure that a claim speaks of, with the ids of the
    trials behind it. controls: the baseline, the control, and the variant minus its control.
    """
    told = document(report)
    found: dict[str, Table] = {"variants": _flat_rows(told["variants"]), "trials": told["trials"]}
    if report.claims:
        found["claims"] = [line for row in report.claims for line in claim_text.records(row)]
    if report.effects:
        found["effects"] = _flat_rows(told["effects"])
    if report.costs.measured:
        found["costs"] = cost_text.records(report)
    if report.controls:
        found["controls"] = _flat_rows(told["controls"])
    if report.tuning is not None:
        for position, search in enumerate(report.tuning.searches, start=1):
            found[f"tuning-{position}"] = records(report.tuning, search)
    for sweep, rows in zip(report.sweeps, told["sweeps"], strict=True):
        found[sweep.file_name] = _flat_rows(rows["levels"])
    return found


def to_csv(table: Table) -> str:
    """The columns are those of all rows; what a row lacks, or is no finite number, is an empty cell."""
    columns = list(dict.fromkeys(key for row in table for key in row))
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in table)
    return file.getvalue()


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat_rows(rows: Table) -> Table:
    return [_flat(row) for row in rows]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key.endswith("_ci"):
            low, high = value or (None, None)
            flat |= {f"{key}_low": low, f"{key}_high": high}
        elif key in ("paired", "on_new_images"):
            low, high = (value or {}).get("delta_ci") or (None, None)
            flat |= {
                f"{key}_ci_low": low,
                f"{key}_ci_high": high,
                f"{key}_p_value": (value or {}).get("p_value"),
            }
        elif key == "switches":
            flat |= {f"switch_{name}": on for name, on in value.items()}
        elif key in ("settings", "accuracy_by_seed"):  # settings: plan.json; scores: trials.csv
            continue
        else:
            flat[key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat
