"""What a figure of a large study shows: as much as can be read, and it says how much of how much that is.

Nothing is lost by it: tables, CSV files and the page hold everything. A study of up to `MOST` variants is
shown whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from ablate.report.pareto import Front
    from ablate.report.rows import ClaimRow, EffectRow, VariantRow

MOST = 40  # lines or panels among which a reader still finds one
MOST_NAMES = 25  # beside the points of a figure that holds more than MOST
MOST_EFFECTS = 60  # lines of a page

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Readable(Generic[Kept]):
    """kept: in the order of the report. note: what was kept, and where all are; empty where they are here."""

    kept: tuple[Kept, ...]
    note: str


def readable_variants(
    variants: Sequence[VariantRow],
    baseline: str,
    claims: Iterable[ClaimRow],
    rest: str = "tables/variants.csv",
) -> Readable[str]:
    """Names of those with a finished trial: the baseline, what claims name, then the best."""
    means = {row.name: row.accuracy.mean for row in variants if row.accuracy is not None}
    kept, why = _chosen(means, baseline, claims, (), MOST)
    return Readable(kept, _note(f"{len(kept)} of {len(means)} variants", rest, why, kept, means))


def readable_names(front: Front, baseline: str, claims: Iterable[ClaimRow]) -> Readable[str]:
    """Whose names stand in the figure of a front: those first that are on it. The points of all stay."""
    means = {row.variant: row.accuracy for row in front.rows}
    on_front = [row.variant for row in front.rows if row.on_front]
    most = MOST if len(means) <= MOST else MOST_NAMES
    kept, why = _chosen(means, baseline, claims, on_front, most)
    shown = f"{len(kept)} of {len(means)} variants with name and interval"
    return Readable(kept, _note(shown, "tables/variants.csv", why, kept, means))


def readable_effects(effects: Iterable[EffectRow]) -> Readable[EffectRow]:
    """Of those that are drawn: the parts, then the largest interactions."""
    drawn = [row for row in effects if not row.missing and not row.view]
    size = [abs(row.judgement.evidence.estimate.value) for row in drawn]
    order = sorted(range(len(drawn)), key=lambda at: (len(drawn[at].factors) > 1, -size[at]))
    kept = tuple(drawn[at] for at in sorted(order[:MOST_EFFECTS]))
    why = "the parts and the largest interactions"
    shown = f"{len(kept)} of {len(drawn)} effects"
    return Readable(kept, _note(shown, "tables/effects.csv", why, kept, drawn))


def _chosen(
    means: dict[str, float],
    baseline: str,
    claims: Iterable[ClaimRow],
    on_front: Sequence[str],
    most: int,
) -> tuple[tuple[str, ...], str]:
    """Names, and by what they were chosen."""
    claimed = [name for row in claims for figure in row.figures for name in figure.sides]
    best = sorted(means, key=lambda name: -means[name])
    first = dict.fromkeys([baseline, *claimed, *on_front, *best])
    kept = frozenset([name for name in first if name in means][:most])
    why = [baseline, *(["those in claims"] if claimed else []), *(["those on the front"] if on_front else [])]
    return tuple(name for name in means if name in kept), f"{', '.join(why)} and the best by mean accuracy"


def _note(shown: str, rest: str, why: str, kept: Sized, every: Sized) -> str:
    return "" if len(kept) == len(every) else f"{shown} ({why}); all are in {rest}"
