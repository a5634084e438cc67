"""Rows compared with rows, a family at a time: differences, sameness, and environments that mix."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ablate.record import Environment, TrialRecord
from ablate.report.predictions import Predictions, difference_on_new_images, identical
from ablate.report.rows import Against, TwinRow, VariantRow
from ablate.stats import Comparison, Estimate, Judgement, Procedure, compare, explain, paired
from ablate.variants.identity import differences

# What may change a result without being a setting; a comparison that mixes any of them is marked.
COMPARED_ENVIRONMENT = (
    "device",
    "device_name",
    "threads",
    "deterministic",
    "processes",
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
        return [
            self._against(name, of, other, judgement)
            for (of, other), judgement in zip(pairs, self.judge(pairs, procedure), strict=True)
        ]

    def judge(self, pairs: Sequence[tuple[VariantRow, VariantRow]], procedure: Procedure) -> list[Judgement]:
        """The verdicts on a family, and nothing else: what `ablate selftest` holds against its limits."""
        return compare([self._comparison(*pair) for pair in pairs], procedure) if pairs else []

    def _comparison(self, of: VariantRow, against: VariantRow) -> Comparison:
        return Comparison(of.scores, against.scores, self.same(of, against))

    def same(self, of: VariantRow, against: VariantRow) -> bool:
        """Whether both predicted the same with every shared seed."""
        return self._same(of, of.scores, against, against.scores)

    def _same(
        self, of: VariantRow, first: Mapping[int, float], against: VariantRow, second: Mapping[int, float]
    ) -> bool:
        shared = tuple(sorted(first.keys() & second.keys()))
        return all(first[seed] == second[seed] for seed in shared) and identical(
            self._predictions[of.name], self._predictions[against.name], shared
        )

    def twins(self, rows: Sequence[VariantRow]) -> tuple[TwinRow, ...]:
        """Each row that predicted the same as an earlier one, with the first such."""
        found = []
        scores = [row.scores for row in rows]  # a property, which so many pairs would reckon again and again
        for position, row in enumerate(rows):
            earlier = zip(rows[:position], scores, strict=False)
            first = next(
                (other for other, theirs in earlier if self._same(row, scores[position], other, theirs)), None
            )
            if first is not None:
                apart = tuple(sorted(differences(first.settings, row.settings)))
                found.append(TwinRow(row.name, first.name, _shared_seeds(row, first), apart))
        return tuple(found)

    def _against(self, family: str, of: VariantRow, against: VariantRow, judgement: Judgement) -> Against:
        return Against(
            variant=against.name,
            judgement=judgement,
            reason=_no_run(of, against) or explain(judgement, self._procedure),
            family=family,
            paired=paired(of.scores, against.scores),
            new_images=self.on_new_images(of, against),
        )

    def on_new_images(self, of: VariantRow, against: VariantRow) -> Estimate | None:
        """The difference with the error of other images than these; None where predictions are missing."""
        return difference_on_new_images(
            self._predictions[of.name], self._predictions[against.name], (of.n, against.n)
        )

    def of_seeds(
        self, of: VariantRow, against: VariantRow, seeds: Collection[int]
    ) -> tuple[Comparison, Estimate | None]:
        """The comparison over these seeds alone, and the same difference on new images."""
        scores = [{seed: row.scores[seed] for seed in seeds if seed in row.scores} for row in (of, against)]
        answers = [
            {seed: found[seed] for seed in seeds if seed in found}
            for found in (self._predictions[of.name], self._predictions[against.name])
        ]
        counts = (len(scores[0]), len(scores[1]))
        return (
            Comparison(scores[0], scores[1], self.same(of, against)),
            difference_on_new_images(answers[0], answers[1], counts),
        )

    def mixed(self, rows: Sequence[VariantRow]) -> tuple[str, ...]:
        """Fields of the environment in which the finished trials of these rows differ."""
        return mixed_among([self._records[trial.id].environment for row in rows for trial in row.done])


def mixed_among(environments: Sequence[Environment]) -> tuple[str, ...]:
    """Fields in which they differ."""
    return tuple(
        field
        for field in COMPARED_ENVIRONMENT
        if len({_comparable(environment, field) for environment in environments}) > 1
    )


def _no_run(*rows: VariantRow) -> str:
    """No figure follows from runs that were never made, not even how many would decide."""
    names = [row.name for row in rows if not row.n]
    return f"no finished run of {' and '.join(names)}" if names else ""


def unequal_spread(rows: Sequence[VariantRow]) -> str | None:
    """A warning where a test that rests on equal scatter was chosen, and the variants scatter differently."""
    evidence = [row.against.judgement.evidence for row in rows if row.against]
    doubted = [one.p_equal_spread for one in evidence if one.unequal_spread]
    if not doubted:
        return None
    stds = sorted((row.accuracy.std, row.name) for row in rows if row.accuracy and row.n > 1)
    (least, calmest), (most, wildest) = stds[0], stds[-1]
    return (
        "Warning: Dunnett's test takes all variants to scatter alike, and these do not (Bartlett's "
        f"p = {min(doubted):.2g}; seed sd {least:.2f} points of {calmest}, {most:.2f} of {wildest}): its "
        "verdicts may be wrong twice as often as the level says. `test: welch` rests on no such thing."
    )


def _shared_seeds(of: VariantRow, against: VariantRow) -> tuple[int, ...]:
    return tuple(sorted(of.scores.keys() & against.scores.keys()))


def _comparable(environment: Environment, field: str) -> Any:
    value = getattr(environment, field)
    return value.split(":")[0] if field == "device" else value  # cuda:0 and cuda:1 are one kind of device
