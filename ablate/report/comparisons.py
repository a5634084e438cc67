"""Rows compared with rows, a family at a time: differences, sameness, and environments that mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.record import Environment, TrialRecord
from ablate.report.predictions import Predictions, difference_on_new_images, identical
from ablate.report.rows import Against, TwinRow, VariantRow
from ablate.stats import Comparison, Judgement, Procedure, compare, explain, paired
from ablate.variants.identity import differences

# What may change a result without being a setting; a comparison that mixes any of them is marked.
COMPARED_ENVIRONMENT = (
    "device",
    "device_name",
    "threads",
    "deterministic",
    "torch",
    "torchvision",
    "numpy",
    "cuda",
    "cudnn",
)


class Comparisons:
    """Compares rows, a family at a time."""

    def __init__(
        self,
        predictions: Mapping[str, dict[int, Predictions]],
        records: Mapping[str, TrialRecord],
        procedure: Procedure,
    ) -> None:
        """predictions: by variant and seed. records: by the id of the trial."""
        self._predictions, self._records, self._procedure = predictions, records, procedure

    def family(self, name: str, of: Sequence[VariantRow], against: VariantRow) -> list[Against]:
        """Every row of a family compared with one other."""
        return self.pairs(name, [(row, against) for row in of], self._procedure)

    def pairs(
        self, name: str, pairs: Sequence[tuple[VariantRow, VariantRow]], procedure: Procedure
    ) -> list[Against]:
        """A family of comparisons, each with its own other side; Dunnett's test knows no such family."""
        comparisons = [Comparison(of.scores, other.scores, self.same(of, other)) for of, other in pairs]
        judgements = compare(comparisons, procedure) if comparisons else []
        return [
            self._against(name, of, other, judgement)
            for (of, other), judgement in zip(pairs, judgements, strict=True)
        ]

    def same(self, of: VariantRow, against: VariantRow) -> bool:
        """Whether both predicted the same with every shared seed."""
        shared = _shared_seeds(of, against)
        return all(of.scores[seed] == against.scores[seed] for seed in shared) and identical(
            self._predictions[of.name], self._predictions[against.name], shared
        )

    def twins(self, rows: Sequence[VariantRow]) -> tuple[TwinRow, ...]:
        """Each row that predicted the same as an earlier one, with the first such."""
        found = []
        for position, row in enumerate(rows):
            first = next((other for other in rows[:position] if self.same(row, other)), None)
            if first is not None:
                apart = tuple(sorted(differences(first.settings, row.settings)))
                found.append(TwinRow(row.name, first.name, _shared_seeds(row, first), apart))
        return tuple(found)

    def _against(self, family: str, of: VariantRow, against: VariantRow, judgement: Judgement) -> Against:
        new_images = difference_on_new_images(
            self._predictions[of.name], self._predictions[against.name], (of.n, against.n)
        )
        return Against(
            variant=against.name,
            judgement=judgement,
            reason=explain(judgement, self._procedure),
            family=family,
            paired=paired(of.scores, against.scores),
            new_images=new_images,
        )

    def mixed(self, rows: Sequence[VariantRow]) -> tuple[str, ...]:
        """Fields of the environment in which the finished trials of these rows differ."""
        environments = [self._records[trial.id].environment for row in rows for trial in row.done]
        return tuple(
            field
            for field in COMPARED_ENVIRONMENT
            if len({_comparable(environment, field) for environment in environments}) > 1
        )


def _shared_seeds(of: VariantRow, against: VariantRow) -> tuple[int, ...]:
    return tuple(sorted(of.scores.keys() & against.scores.keys()))


def _comparable(environment: Environment, field: str) -> Any:
    value = getattr(environment, field)
    return value.split(":")[0] if field == "device" else value  # cuda:0 and cuda:1 are one kind of device
