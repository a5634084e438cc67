"""Which figures a report has, and what stands below each."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report.costs import CostRows
from ablate.report.readable import readable_effects, readable_names, readable_variants
from ablate.report.rows import ClaimRow, EffectRow, Figure, SweepRows, VariantRow


def figures_of(
    variants: Sequence[VariantRow],
    baseline: str,
    claims: Sequence[ClaimRow],
    effects: Sequence[EffectRow],
    sweeps: Sequence[SweepRows],
    costs: CostRows,
    have_curves: bool,
) -> tuple[Figure, ...]:
    """Which figures the finished trials can fill; the renderings and the drawing both go by this."""
    if not any(row.n for row in variants):
        return ()
    shown = readable_variants(variants, baseline, claims).note
    found = [_figure("accuracy", "Test accuracy: each dot a seed, the bar the mean with its interval", shown)]
    if any(not row.missing for row in effects):
        shown = readable_effects(effects).note
        found.append(_figure("effects", "Effects with intervals after correction; shaded: the margin", shown))
    for sweep in sweeps:
        if any(level.variant.n for level in sweep.levels):
            found.append(Figure(sweep.file_name, f"Test accuracy by {sweep.name}"))
    for front in costs.fronts:
        where = f" on {front.machine}" if front.machine else ""
        caption = f"Test accuracy against {front.noun}{where}; the line: the Pareto front by the means"
        found.append(_figure(front.file_name, caption, readable_names(front, baseline, claims).note))
    if have_curves:
        shown = readable_variants(variants, baseline, claims, rest="report.html").note
        found.append(_figure("curves", "Validation accuracy by epoch: mean and range over the seeds", shown))
    return tuple(found)


def _figure(name: str, caption: str, note: str) -> Figure:
    return Figure(name, f"{caption}; {note}" if note else caption, note)
