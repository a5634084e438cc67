"""The sweeps of a plan as rows: one factor at a time, each level compared with where the sweep starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ablate.record import StudyPlan
from ablate.report.comparisons import Comparisons
from ablate.report.rows import Against, SweepLevel, SweepRows, VariantRow


def sweep_name(plan: StudyPlan, position: int) -> str:
    """The word after `as`, told apart by its start where two sweeps share it."""
    sweep = plan.sweeps[position]
    alike = [other for other in plan.sweeps if other.name == sweep.name]
    return sweep.name if len(alike) == 1 else f"{sweep.name} from {sweep.start}"


def sweep_rows(
    plan: StudyPlan, position: int, rows: Mapping[str, VariantRow], comparisons: Comparisons
) -> SweepRows:
    sweep = plan.sweeps[position]
    name = sweep_name(plan, position)
    labels = [(label, variant) for label, variant in sweep.levels if variant in rows]
    if sweep.start in rows and all(variant != sweep.start for _, variant in labels):
        labels.insert(0, (_start_label(plan, position), sweep.start))
    others = [(label, rows[variant]) for label, variant in labels if variant != sweep.start]
    found: dict[str, Against] = {}
    if sweep.start in rows:
        judged = comparisons.family(
            f"sweep {name} against {sweep.start}", [row for _, row in others], rows[sweep.start]
        )
        found = {label: against for (label, _), against in zip(others, judged, strict=True)}
    levels = [
        SweepLevel(label, _number(label) if sweep.numeric else None, rows[variant], found.get(label))
        for label, variant in labels
    ]
    numeric = sweep.numeric and all(level.value is not None for level in levels)
    if numeric:
        levels.sort(key=lambda level: level.value or 0.0)
    file_name = f"sweep-{position + 1}-{_slug(name)}"
    return SweepRows(name, sweep.setting, sweep.start, numeric, tuple(levels), file_name)


def _start_label(plan: StudyPlan, position: int) -> str:
    """The start's own value of the swept setting, where the plan tells it; else the start's name."""
    sweep = plan.sweeps[position]
    settings = next(variant.settings for variant in plan.variants if variant.name == sweep.start)
    parts = sweep.setting.split(".")
    for length in range(len(parts), 0, -1):
        value: Any = settings.get(".".join(parts[:length]))
        for part in parts[length:]:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return sweep.start


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "sweep"
