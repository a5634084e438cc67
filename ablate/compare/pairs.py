"""The rows of a comparison: each pair judged as a report judges it, with all that the verdict rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ablate.compare.sides import Side
from ablate.record import TrialRecord
from ablate.report import looks, pace
from ablate.report.build import read_procedure, report_of
from ablate.report.comparisons import Comparisons, mixed_among
from ablate.report.predictions import Predictions
from ablate.report.rows import Against, VariantRow
from ablate.report.trials import Trials, variant_row
from ablate.stats import MANY_SEEDS, Procedure
from ablate.stats.mcnemar import McNemar
from ablate.variants.identity import changed_fields

Question = Literal["variants", "studies", "trees"]


@dataclass(frozen=True, slots=True)
class Pair:
    """`of` less `against`, both under the labels that are printed.

    settings: what differs between the two, a line each; None where no finished trial tells. mixed: what
    differs between the environments. same_trials: seeds of finished trials that are one and the same on both
    sides, by identity; not_reproduced: of these, the ones whose result is another. two_runs: of single runs,
    whether the two networks differ. time: in words, until as many seeds are there as would decide.
    """

    of: VariantRow
    against: VariantRow
    judged: Against
    settings: tuple[str, ...] | None
    mixed: tuple[str, ...]
    same_trials: tuple[int, ...]
    not_reproduced: tuple[int, ...]
    two_runs: McNemar | None
    time: str | None

    @property
    def seeds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return tuple(sorted(self.of.scores)), tuple(sorted(self.against.scores))


@dataclass(frozen=True, slots=True)
class Compared:
    """names: of both sides, as they are printed. only: variants that one side alone has."""

    question: Question
    names: tuple[str, str]
    procedure: Procedure
    pairs: tuple[Pair, ...]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where a pair could not be compared, for want of a finished run."""
        return 0 if all(pair.of.n and pair.against.n for pair in self.pairs) else 1


@dataclass(frozen=True, slots=True)
class _Found:
    """All that the results tree has of one side."""

    side: Side
    rows: Mapping[str, VariantRow]
    trials: Trials
    procedure: Procedure

    def predictions(self, name: str) -> dict[int, Predictions]:
        return self.trials.predictions(self.rows[name])

    def record(self, name: str, seed: int) -> TrialRecord | None:
        trial = next((each for each in self.rows[name].done if each.seed == seed), None)
        return None if trial is None else self.trials.records[trial.id]


def compare_sides(of: Side, against: Side) -> Compared:
    """Two variants, or every variant that two studies share by name, as one family."""
    sides = (_found(of), _found(against))
    question = _question(of, against)
    if of.variant is not None and against.variant is not None:
        wanted = [(of.variant, against.variant)]
    else:
        wanted = [(name, name) for name in sides[0].rows if name in sides[1].rows]
    prefixes = _prefixes(of, against, question)
    procedure = sides[0].procedure
    pairs = _pairs(sides, wanted, prefixes, procedure)
    names = [
        side.variant if side.variant and not prefix else prefix.removesuffix("/") or side.plan.study
        for side, prefix in zip((of, against), prefixes, strict=True)
    ]
    if of.variant is not None:
        names = [pairs[0].of.name, pairs[0].against.name]
    return Compared(
        question=question,
        names=(names[0], names[1]),
        procedure=procedure,
        pairs=tuple(pairs),
        only=(
            tuple(name for name in sides[0].rows if name not in sides[1].rows) if of.variant is None else (),
            tuple(name for name in sides[1].rows if name not in sides[0].rows) if of.variant is None else (),
        ),
        notes=tuple(_notes(sides, pairs, question)),
    )


def _found(side: Side) -> _Found:
    procedure, _ = read_procedure(side.plan)
    trials = Trials(side.store, side.plan)
    rows = {each.name: variant_row(side.store, each, trials, procedure) for each in side.plan.variants}
    return _Found(side, rows, trials, procedure)


def _question(of: Side, against: Side) -> Question:
    if of.variant is not None:
        return "variants"
    return "trees" if of.plan.study == against.plan.study else "studies"


def _prefixes(of: Side, against: Side, question: Question) -> tuple[str, str]:
    """What tells the two apart where their own names do not."""
    if of.same_place == against.same_place:
        return "", ""
    if of.plan.study != against.plan.study:
        return f"{of.plan.study}/", f"{against.plan.study}/"
    roots = [str(side.store.root) for side in (of, against)]
    if question == "trees":
        return f"{roots[0]}/", f"{roots[1]}/"
    return f"{roots[0]}/{of.plan.study}/", f"{roots[1]}/{against.plan.study}/"


def _pairs(
    sides: tuple[_Found, _Found],
    wanted: Sequence[tuple[str, str]],
    prefixes: tuple[str, str],
    procedure: Procedure,
) -> list[Pair]:
    first, second = sides
    labelled = [
        (
            replace(first.rows[of], name=f"{prefixes[0]}{of}"),
            replace(second.rows[against], name=f"{prefixes[1]}{against}"),
        )
        for of, against in wanted
    ]
    predictions = {
        row.name: found.predictions(name)
        for rows, names in zip(labelled, wanted, strict=True)
        for row, name, found in zip(rows, names, sides, strict=True)
    }
    # A trial's id says what it was asked to do; two trees may hold two outcomes of it.
    comparisons = Comparisons(predictions, {**second.trials.records, **first.trials.records}, procedure)
    family = "these two alone" if len(wanted) == 1 else "the variants that both have"
    plain = replace(procedure, test="welch") if procedure.test == "dunnett" else procedure
    judged = comparisons.pairs(family, labelled, plain)
    return [
        _pair(sides, names, rows, _as_reported(sides, names, against))
        for names, rows, against in zip(wanted, labelled, judged, strict=True)
    ]


def _as_reported(sides: tuple[_Found, _Found], names: tuple[str, str], alone: Against) -> Against:
    """The report's own verdict where it has judged this very pair, so that no two differ."""
    first, second = (found.side for found in sides)
    by_rule = first.plan.until_decided or second.plan.until_decided
    if first.same_place == second.same_place and names[1] == second.plan.baseline:
        report = report_of(first.store, first.plan)
        row = next(row for row in report.variants if row.name == names[0])
        if row.against is not None:
            return row.against
    return looks.unplanned(alone) if by_rule else alone


def _pair(
    sides: tuple[_Found, _Found],
    names: tuple[str, str],
    rows: tuple[VariantRow, VariantRow],
    judged: Against,
) -> Pair:
    first, second = sides
    of, against = rows
    shared = sorted(of.scores.keys() & against.scores.keys())
    ids = [{trial.seed: trial.id for trial in row.done} for row in rows]
    same = tuple(seed for seed in shared if ids[0][seed] == ids[1][seed])
    answers = first.predictions(names[0]), second.predictions(names[1])
    return Pair(
        of=of,
        against=against,
        judged=judged,
        settings=_settings(first, second, names),
        mixed=_mixed(sides, names),
        same_trials=same,
        not_reproduced=tuple(seed for seed in same if not _alike(of, against, answers, seed)),
        two_runs=_two_runs(of, against, answers),
        time=_time(sides, names, rows, judged),
    )


def _alike(
    of: VariantRow,
    against: VariantRow,
    answers: tuple[Mapping[int, Predictions], Mapping[int, Predictions]],
    seed: int,
) -> bool:
    if of.scores[seed] != against.scores[seed]:
        return False
    one, other = answers[0].get(seed), answers[1].get(seed)
    return one is None or other is None or one.answers == other.answers


def _settings(first: _Found, second: _Found, names: tuple[str, str]) -> tuple[str, ...] | None:
    """From finished trials, which alone hold all settings; the seed is no setting."""
    records = [
        next((found.trials.records[trial.id] for trial in found.rows[name].done), None)
        for found, name in zip((first, second), names, strict=True)
    ]
    if records[0] is None or records[1] is None:
        return None
    identities = [
        {key: value for key, value in record.identity.items() if key != "seed"}
        for record in records
        if record is not None
    ]
    return tuple(changed_fields(identities[1], identities[0]))


def _mixed(sides: tuple[_Found, _Found], names: tuple[str, str]) -> tuple[str, ...]:
    return mixed_among(
        [
            found.trials.records[trial.id].environment
            for found, name in zip(sides, names, strict=True)
            for trial in found.rows[name].done
        ]
    )


def _two_runs(
    of: VariantRow,
    against: VariantRow,
    answers: tuple[Mapping[int, Predictions], Mapping[int, Predictions]],
) -> McNemar | None:
    """Only of a run each: of several, no pair of networks speaks for the rest."""
    if of.n != 1 or against.n != 1 or not (answers[0] and answers[1]):
        return None
    (one,), (other,) = answers[0].values(), answers[1].values()
    if one.images != other.images:
        return None
    only_of = int((one.correct & ~other.correct).sum())
    return McNemar(only_of, int((other.correct & ~one.correct).sum()))


def _time(
    sides: tuple[_Found, _Found],
    names: tuple[str, str],
    rows: tuple[VariantRow, VariantRow],
    judged: Against,
) -> str | None:
    judgement = judged.judgement
    seeds = judgement.seeds_to_decide
    if judgement.verdict not in ("undecided", "exploratory", "undecidable"):
        return None
    if seeds is None or seeds > MANY_SEEDS:
        return None
    if all(row.n >= seeds for row in rows) or not all(row.n for row in rows):
        return None
    each = [
        pace.pace_of(found.side.plan, {row.name: row}, [found.trials.records[t.id] for t in row.done])
        for found, row in zip(sides, rows, strict=True)
    ]
    hours = [
        pace.hours_at(one, {row.name: row.n}, {row.name: seeds}) for one, row in zip(each, rows, strict=True)
    ]
    known = [one for one in hours if one is not None]
    return pace.in_words(each[0], sum(known)) if len(known) == 2 else None


def _notes(sides: tuple[_Found, _Found], pairs: Sequence[Pair], question: Question) -> list[str]:
    first, second = (found.side for found in sides)
    notes = []
    if sides[0].procedure != sides[1].procedure:
        notes.append(
            f"the two studies are judged in different ways; here as {first.plan.study} under "
            f"{first.store.root} is"
        )
    if question == "variants" and pairs and pairs[0].judged.family == "these two alone":
        notes.append(
            "one comparison by itself: chosen among several for what it shows, it would not keep its level"
        )
    fingerprints = [side.plan.data.get("fingerprint") for side in (first, second)]
    if None not in fingerprints and fingerprints[0] != fingerprints[1]:
        notes.append("the two studies hold different data")
    return notes
