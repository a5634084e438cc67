"""Learning curves: what every finished trial reached after each epoch, thinned out for drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ablate.report.rows import CurveRow

if TYPE_CHECKING:
    from ablate.record import TrialRecord
    from ablate.report.rows import VariantRow
    from ablate.store import Store

POINTS = 48  # of one curve: more than the eye parts in a small panel


def curve_rows(
    store: Store, variants: Iterable[VariantRow], records: Mapping[str, TrialRecord]
) -> tuple[CurveRow, ...]:
    """One row a finished trial that kept its epochs, in the order of the report. records: by id."""
    found = []
    for row in variants:
        for trial in row.done:
            epochs = [
                epoch
                for epoch in store.read_epochs(trial.id, records.get(trial.id))
                if epoch["validation_accuracy"] is not None
            ]
            if epochs:
                kept = [epochs[place] for place in thinned(len(epochs), POINTS)]
                found.append(
                    CurveRow(
                        variant=row.name,
                        seed=trial.seed,
                        id=trial.id,
                        epochs=tuple(_whole(epoch["epoch"]) for epoch in kept),
                        validation_accuracy=tuple(_number(epoch["validation_accuracy"]) for epoch in kept),
                    )
                )
    return tuple(found)


def thinned(length: int, most: int) -> Sequence[int]:
    """Places of at most `most` members, evenly spread, the first and the last among them."""
    if length <= most:
        return range(length)
    return [round(place * (length - 1) / (most - 1)) for place in range(most)]


def _whole(value: float | None) -> int:
    return 0 if value is None else int(value)


def _number(value: float | None) -> float:
    return 0.0 if value is None else float(value)
