"""Rows as pandas tables: `tables/*.csv`, and what the figures draw.

One record per line, units in the column names, an absent figure as an empty cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ablate.report import claim_text, cost_text
from ablate.report.json import document
from ablate.report.rows import Report

if TYPE_CHECKING:
    import pandas as pd


def variants_table(report: Report) -> pd.DataFrame:
    """One row a variant: what the JSON says of it, an interval as two columns, each switch as one."""
    return _table([_flat(row) for row in document(report)["variants"]])


def effects_table(report: Report) -> pd.DataFrame:
    return _table([_flat(row) for row in document(report)["effects"]])


def sweep_table(report: Report, position: int) -> pd.DataFrame:
    return _table([_flat(row) for row in document(report)["sweeps"][position]["levels"]])


def controls_table(report: Report) -> pd.DataFrame:
    """One row a control: the baseline, the control, and the variant minus its control."""
    return _table([_flat(row) for row in document(report)["controls"]])


def claims_table(report: Report) -> pd.DataFrame:
    """One row for each figure that a claim speaks of, with the ids of the trials behind it."""
    return _table([line for row in report.claims for line in claim_text.records(row)])


def trials_table(report: Report) -> pd.DataFrame:
    """One row a planned trial."""
    return _table(document(report)["trials"])


def tables(report: Report) -> dict[str, pd.DataFrame]:
    """Every table of the report by the name of its file."""
    found = {"variants": variants_table(report), "trials": trials_table(report)}
    if report.claims:
        found["claims"] = claims_table(report)
    if report.effects:
        found["effects"] = effects_table(report)
    if report.costs.measured:
        found["costs"] = _table(cost_text.records(report))
    if report.controls:
        found["controls"] = controls_table(report)
    for position, sweep in enumerate(report.sweeps):
        found[sweep.file_name] = sweep_table(report, position)
    return found


def to_csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    # Object columns keep whole numbers whole where a neighbour is absent.
    return pd.DataFrame(rows, dtype=object).replace([np.inf, -np.inf, np.nan], None)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
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
