"""What is simulated: each cell draws studies whose truth is known, has them judged, and counts the errors.

The limits are those of docs/statistics.md. An error counts when a p-value or an interval says it, whatever
the verdict: at n = 3 the verdict is "exploratory", but the p-value is printed all the same.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ablate.record import PlannedDesign
from ablate.report.effects import design_effects
from ablate.selftest.judged import Judged, by_name, judge_on_disk, judge_scores, names
from ablate.selftest.tally import Line, Tallies, Tally, error_limit, tallies, widened
from ablate.selftest.worlds import BAD_SEEDS, CORRELATED, PLAIN, UNSTABLE, WORLDS, World, pictures
from ablate.stats import THRESHOLDS, Comparison, Judgement, Procedure, replay, summarise

# The limits hold as they stand from this many replicates on; with fewer, chance is allowed for.
FULL_REPLICATES = 20_000
COVERAGE = 0.93
# Seeds per variant until `--until-decided` stops, by the true difference in points, at a seed sd of 0.3.
MEAN_SEEDS = {0.0: 7.2, 0.3: 8.5, 0.7: 6.3, 1.5: 4.3}


class Cell(Protocol):
    """share: of the replicates asked for that it simulates (a slow one simulates fewer)."""

    @property
    def key(self) -> str: ...
    @property
    def share(self) -> float: ...
    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies: ...
    def lines(self, found: Tallies) -> list[Line]: ...


def _error(group: str, case: str, tally: Tally, nominal: float, *, control: bool = False) -> Line:
    limit = error_limit(nominal, tally.count)
    return _line(group, case, "error", tally, limit=limit, control=control)


def _line(
    group: str, case: str, measure: str, tally: Tally, *, limit: float | None = None, control: bool = False
) -> Line:
    return Line(
        group, case, measure, tally.mean, tally.standard_error, tally.count, limit=limit, control=control
    )


def _coverage(group: str, case: str, measure: str, tally: Tally) -> Line:
    # The error of the rate at its limit: the observed one is zero where every interval covered.
    spread = math.sqrt(COVERAGE * (1 - COVERAGE) / max(1, tally.count))
    limit = widened(COVERAGE, spread, -1, tally.count, FULL_REPLICATES)
    return replace(_line(group, case, measure, tally, limit=limit), rule="at least")


def _case(*parts: str | int) -> str:
    return ", ".join(str(part) for part in parts if part != "")


def _count(variants: int) -> str:
    return f"{variants} variant{'' if variants == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Family:
    """Variants that differ from the baseline by nothing; or, with shifts, by as much as they say."""

    group: str
    world: World
    n: int
    shifts: Sequence[float]
    procedure: Procedure = field(default_factory=Procedure)
    share: float = 1.0
    limited: bool = True

    @property
    def key(self) -> str:
        return f"family/{self.procedure.test}/{self.world.name}/{self.n}/{self.shifts}"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        found = tallies(("error", "coverage"))
        for scores in self.world.scores(rng, replicates, self.n, self.shifts):
            judged = judge_scores(scores, self.procedure)
            pairs = list(zip(judged, self.shifts, strict=True))
            found["error"].add(
                any(shift == 0 and one.p_adjusted <= self.procedure.level for one, shift in pairs)
            )
            found["coverage"].add(
                sum(one.low <= shift <= one.high for one, shift in pairs) / len(self.shifts)
            )
        return found

    def lines(self, found: Tallies) -> list[Line]:
        case = _case(self.world.name, f"n = {self.n}", _count(len(self.shifts)))
        error = _error(self.group, case, found["error"], self.procedure.level)
        coverage = _coverage(self.group, case, "coverage", found["coverage"])
        if not self.limited:
            return [replace(error, limit=None), replace(coverage, limit=None)]
        return [error, coverage] if 0 in self.shifts else [coverage]


@dataclass(frozen=True, slots=True)
class Means:
    """The interval printed beside the mean accuracy of a variant."""

    world: World
    n: int
    limited: bool = True
    share: float = 1.0

    @property
    def key(self) -> str:
        return f"means/{self.world.name}/{self.n}"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        found = tallies(("coverage",))
        for scores in self.world.scores(rng, replicates, self.n, [0.0]):
            summary = summarise(scores[0].tolist(), Procedure().level)
            found["coverage"].add(summary.low <= self.world.mean <= summary.high)
        return found

    def lines(self, found: Tallies) -> list[Line]:
        group = "Printed interval of a mean accuracy"
        line = _coverage(group, _case(self.world.name, f"n = {self.n}"), "coverage", found["coverage"])
        return [line if self.limited else replace(line, limit=None)]


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Variants whose true difference is the margin itself: none may be called equivalent."""

    n: int
    variants: int
    world: World = PLAIN
    share: float = 1.0

    @property
    def key(self) -> str:
        return f"equivalence/{self.world.name}/{self.n}/{self.variants}"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        procedure, found = Procedure(), tallies(("at the margin", "at none"))
        for name, shift in (("at the margin", procedure.margin), ("at none", 0.0)):
            for scores in self.world.scores(rng, replicates, self.n, [shift] * self.variants):
                judged = judge_scores(scores, procedure)
                found[name].add(any(one.p_equivalent <= procedure.level for one in judged))
        return found

    def lines(self, found: Tallies) -> list[Line]:
        group = 'Equivalence: called "equivalent" at a true difference of the margin'
        case = _case(self.world.name, f"n = {self.n}", _count(self.variants))
        lines = [_error(group, case, found["at the margin"], Procedure().level)]
        if self.variants == 1:
            lines.append(_line(group, case, "power at no difference", found["at none"]))
        return lines


@dataclass(frozen=True, slots=True)
class Sequential:
    """`run --until-decided`: the rule followed to its end."""

    shifts: Sequence[float]
    world: World = PLAIN
    procedure: Procedure = field(default_factory=Procedure)
    share: float = 1.0

    @property
    def key(self) -> str:
        return f"sequential/{self.procedure.test}/{self.world.name}/{self.shifts}"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        found = tallies(("error", "equivalent", "found", "excess", "coverage", "seeds", "trials"))
        most = max(THRESHOLDS)
        for scores in self.world.scores(rng, replicates, most, self.shifts):
            rows = list(Judged(by_name(scores), self.procedure).rows.values())
            family = {row.name: Comparison(row.scores, rows[0].scores) for row in rows[1:]}
            last = replay(family, range(most), self.procedure)[-1]
            pairs = list(zip(last, self.shifts, strict=True))
            found["error"].add(any(one.significant and one.estimate.value * true <= 0 for one, true in pairs))
            found["equivalent"].add(
                any(one.verdict == "equivalent" and abs(true) >= self.procedure.margin for one, true in pairs)
            )
            found["found"].add(sum(one.significant for one in last) / len(last))
            for one, true in pairs:
                if one.significant and true:
                    found["excess"].add(one.estimate.value - true)
            found["coverage"].add(sum(one.low <= true <= one.high for one, true in pairs) / len(last))
            found["seeds"].add(sum(one.n for one in last) / len(last))
            found["trials"].add(sum(one.n for one in last) + max(one.n for one in last))
        return found

    def lines(self, found: Tallies) -> list[Line]:
        group = "Deciding with fewer runs (`run --until-decided`)"
        true = ", ".join(f"{shift:g}" for shift in dict.fromkeys(self.shifts))
        test = "" if self.procedure.test == "welch" else f"{self.procedure.test} t"
        case = _case(test, self.world.name, _count(len(self.shifts)), f"truly {true} points")
        level = Procedure().level
        lines = [_error(group, case, found["error"], level)]
        if any(abs(shift) >= self.procedure.margin for shift in self.shifts):
            wrongly = _error(group, case, found["equivalent"], level)
            lines.append(replace(wrongly, measure="wrongly equivalent"))
        if any(self.shifts):
            lines.append(_line(group, case, "declared better or worse", found["found"]))
            if found["excess"].count:
                lines.append(_line(group, case, "too high by, when declared", found["excess"]))
        lines.append(_coverage(group, case, "coverage of the stage interval", found["coverage"]))
        seeds = found["seeds"]
        limit = None
        if len(self.shifts) == 1 and self.world is PLAIN and not test:
            limit = MEAN_SEEDS.get(self.shifts[0])
        if limit is not None:
            limit = widened(limit, seeds.standard_error, 1, seeds.count, FULL_REPLICATES)
        lines.append(_line(group, case, "seeds per variant", seeds, limit=limit))
        if len(self.shifts) > 1:
            most = (len(self.shifts) + 1) * max(THRESHOLDS)
            lines.append(_line(group, case, f"trials instead of {most}", found["trials"]))
        return lines


@dataclass(frozen=True, slots=True)
class Scopes:
    """Predictions of every run on every image: the interval for these images, and the one for new images.

    runs: of the variant and of the baseline.
    """

    images: int
    runs: tuple[int, int]
    share: float = 1.0

    @property
    def key(self) -> str:
        return f"scopes/{self.images}/{self.runs}"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        found = tallies(("here", "anywhere", "here for anywhere"))
        for _ in range(replicates):
            drawn = pictures(rng, self.images, self.runs)
            sides = dict(zip(names(1), (drawn.against, drawn.of), strict=True))
            judged = Judged(scores_of(sides), Procedure(), by_seed(sides))
            [judgement], [new] = judged.judgements(), judged.on_new_images()
            if new is None:
                raise RuntimeError("predictions of every run are at hand, yet there is no second scope")
            found["here"].add(judgement.low <= drawn.true_here <= judgement.high)
            found["here for anywhere"].add(judgement.low <= drawn.true_anywhere <= judgement.high)
            low, high = new.interval(judgement.level)
            found["anywhere"].add(low <= drawn.true_anywhere <= high)
        return found

    def lines(self, found: Tallies) -> list[Line]:
        group = "Printed intervals of a difference, both scopes"
        case = _case(f"{self.images:,} images", f"n = {self.runs[0]} against {self.runs[1]}")
        return [
            _coverage(group, case, "coverage, this test set", found["here"]),
            _coverage(group, case, "coverage, new images", found["anywhere"]),
            _line(group, case, "of the first, for new images", found["here for anywhere"]),
        ]


def scores_of(sides: dict[str, NDArray[np.bool_]]) -> dict[str, dict[int, float]]:
    return {name: dict(enumerate((100 * right.mean(axis=1)).tolist())) for name, right in sides.items()}


def by_seed(sides: dict[str, NDArray[np.bool_]]) -> dict[str, dict[int, NDArray[np.bool_]]]:
    return {name: dict(enumerate(right)) for name, right in sides.items()}


@dataclass(frozen=True, slots=True)
class Effects:
    """A 2³ design in which no part buys anything: the effects that a report's headline speaks of.

    Each family is corrected on its own: all effects, those with the first factor on, and the two views.
    """

    n: int
    share: float = 0.25

    @property
    def key(self) -> str:
        return f"effects/{self.n}"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        found: Tallies = {}
        factors, procedure = ("a", "b", "c"), Procedure()
        cells = [tuple(f for i, f in enumerate(factors) if cell >> i & 1) for cell in range(8)]
        named = tuple(zip(cells, names(7), strict=True))
        design = PlannedDesign(kind="factorial", start=names(7)[-1], factors=factors, cells=named)
        for scores in PLAIN.scores(rng, replicates, self.n, [0.0] * 7):
            families: dict[str, list[Judgement]] = {}
            for row in design_effects(design, Judged(by_name(scores), procedure).rows, procedure):
                family = row.family.replace(f"from {design.start}", "")
                families.setdefault(" ".join(family.split()), []).append(row.judgement)
            for family, judged in families.items():
                error = any(one.p_adjusted <= procedure.level for one in judged)
                found.setdefault(f"error {family}", Tally()).add(error)
                covered = sum(one.low <= 0 <= one.high for one in judged) / len(judged)
                found.setdefault(f"coverage {family}", Tally()).add(covered)
        return found

    def lines(self, found: Tallies) -> list[Line]:
        group = "Effects of a 2³ design without any, each family by Welch's t and Holm"
        lines = []
        for name, tally in found.items():
            measure, _, family = name.partition(" ")
            case = _case(family, f"n = {self.n}")
            if measure == "error":
                lines.append(_error(group, case, tally, Procedure().level))
            else:
                lines.append(_coverage(group, case, measure, tally))
        return lines


@dataclass(frozen=True, slots=True)
class SamePath:
    """Studies that also go through records on disk and `build_report`: every figure must be the same float.

    Compared as they print in full precision, in which an unknown one equals an unknown one.
    """

    share: float = 0.0  # one of each kind

    @property
    def key(self) -> str:
        return "same path"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        found = tallies(("differs",))
        cases: list[tuple[World, int, int, Procedure]] = [
            (PLAIN, 5, 5, Procedure()),
            (CORRELATED, 3, 1, Procedure(test="paired")),
            (BAD_SEEDS, 10, 2, Procedure(test="dunnett")),
        ]
        with tempfile.TemporaryDirectory() as folder:
            for position, (world, n, variants, procedure) in enumerate(cases):
                [scores] = world.scores(rng, 1, n, [0.3] * variants)
                told = judge_on_disk(Path(folder, str(position)), by_name(scores), procedure)
                found["differs"].add(repr([one for one, _ in told]) != repr(judge_scores(scores, procedure)))
            drawn = pictures(rng, 200, (3, 5))
            sides = dict(zip(names(1), (drawn.against, drawn.of), strict=True))
            told = judge_on_disk(Path(folder, "images"), scores_of(sides), Procedure(), by_seed(sides))
            judged = Judged(scores_of(sides), Procedure(), by_seed(sides))
            here = list(zip(judged.judgements(), judged.on_new_images(), strict=True))
            found["differs"].add(repr(told) != repr(here))
        return found

    def lines(self, found: Tallies) -> list[Line]:
        group = "One code path: studies written to disk and read by a report"
        return [
            _line(
                group,
                "every figure of every judgement",
                "share of studies that differ",
                found["differs"],
                limit=0,
            )
        ]


@dataclass(frozen=True, slots=True)
class Peeking:
    """The control: tests at .05 after every seed from 3 to 10 and stops when it likes the answer."""

    share: float = 1.0

    @property
    def key(self) -> str:
        return "peeking"

    def simulate(self, rng: np.random.Generator, replicates: int) -> Tallies:
        found, procedure = tallies(("error",)), Procedure()
        for scores in PLAIN.scores(rng, replicates, 10, [0.0]):
            found["error"].add(
                any(
                    judge_scores(scores[:, :n], procedure)[0].p_adjusted <= procedure.level
                    for n in range(3, 11)
                )
            )
        return found

    def lines(self, found: Tallies) -> list[Line]:
        group = "Control: it errs, and must be seen to"
        case = "a test at .05 after every seed from 3 to 10"
        return [_error(group, case, found["error"], Procedure().level, control=True)]


_PAIRED = Procedure(test="paired")
_DUNNETT = Procedure(test="dunnett")
_WELCH_GROUP = "Welch's t and Holm: variants that differ by nothing"
_PAIRED_GROUP = "Paired t and Holm (the main test when every seed has its own split)"
_DUNNETT_GROUP = "Dunnett's test, by choice"


def _cells() -> list[Cell]:
    found: list[Cell] = [
        Family(_WELCH_GROUP, world, n, [0.0] * variants)
        for world in WORLDS
        for n in (3, 5, 10)
        for variants in (1, 5)
    ]
    found.append(Family("Welch's t and Holm: some variants differ", PLAIN, 5, [0.0, 0.0, 0.3, 0.7, 1.5]))
    found += [
        Family(_PAIRED_GROUP, CORRELATED, n, [0.0] * variants, _PAIRED)
        for n in (3, 5, 10)
        for variants in (1, 5)
    ]
    # With an unstable variant it errs, which the report warns of: shown, and no limit claims otherwise.
    found += [Family(_DUNNETT_GROUP, PLAIN, n, [0.0] * 5, _DUNNETT, share=0.25) for n in (3, 5, 10)]
    found += [
        Family(_DUNNETT_GROUP, UNSTABLE, n, [0.0] * 5, _DUNNETT, share=0.25, limited=False)
        for n in (3, 5, 10)
    ]
    found += [Effects(n) for n in (3, 5)]
    # A run in ten that goes wrong is missing from most samples of five: no interval made of them can know.
    found += [Means(world, n, limited=world is PLAIN) for world in (PLAIN, BAD_SEEDS) for n in (3, 5, 10)]
    found += [Equivalence(n, variants) for n in (3, 5, 10) for variants in (1, 5)]
    found += [Sequential([shift]) for shift in (*MEAN_SEEDS, Procedure().margin)]
    found += [Sequential([0.0] * 5), Sequential([0.0, 1.0, 1.0, 1.0, 1.0]), Sequential([0.5] * 5)]
    found += [Sequential([0.0] * variants, world) for world in WORLDS[1:] for variants in (1, 5)]
    found.append(Sequential([0.0], CORRELATED, _PAIRED))
    found += [Scopes(images, runs) for images, runs in ((1000, (5, 5)), (1000, (3, 10)), (100, (5, 5)))]
    return [*found, SamePath()]


CONTROLS: dict[str, Callable[[], Cell]] = {"peeking": Peeking}


def all_cells() -> list[Cell]:
    """Everything that must keep its limit, and the controls, which must not."""
    return [*_cells(), *(make() for make in CONTROLS.values())]
