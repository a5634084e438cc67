"""Before anything is trained: what is searched around, whether the networks can be, and what to say of it."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

from ablate.errors import AblateError, Problems
from ablate.runner import Plan
from ablate.spec.dotted import lay_over
from ablate.spec.settings import Settings
from ablate.spec.study import variant_data
from ablate.spec.tune import Tune
from ablate.tune.beside import looked_up
from ablate.tune.objective import Costs, Limits
from ablate.tune.search import search_name
from ablate.tune.space import MAX_SIZES, Point, Space, word_for
from ablate.tune.storage import Place

DEFAULTS = "the defaults"
_OF_NETWORKS = ("model.", "train.lr", "train.stages", "data.")


def starts_of(plan: Plan, tune: Tune) -> list[tuple[str, Space]]:
    """What is searched around, the one that `from` names first."""
    study = plan.study
    defaults = study.defaults.model_dump()
    found = []
    for name in (tune.start, *tune.also):
        if name is None:
            data = defaults
        elif name in study.variants:
            data = variant_data(defaults, study.variants, name)
        else:  # of a sweep, a design or a matrix
            data = next(v for v in plan.variants if name in (v.name, *v.aliases)).settings.model_dump()
        base = lay_over(data, tune.overrides)[0]
        Settings.model_validate(base)
        found.append((name or DEFAULTS, Space(base, tune.space)))
    return found


def check(plan: Plan, tune: Tune, starts: list[tuple[str, Space]], costs: Costs, limits: Limits) -> None:
    """Build every network that a single choice leads to: what no network bears is an error now, with its
    line, and not a failed trial hours later."""
    study, problems, space = plan.study, Problems(), starts[0][1]
    for key, dimension in tune.space.items():
        if key not in space.dimensions:
            where = study.where("tune", "space", key)
            problems.add("there is no such setting around what is searched", where=where, field=key)
        elif key.startswith(_OF_NETWORKS):
            for inner, value in dimension.ends():
                fault = _fault(space, key, _choice(space, key, value), costs)
                if fault is not None:
                    message, *hints = str(fault).splitlines()
                    place = study.where("tune", "space", key, inner)
                    hint = "; ".join(map(str.strip, hints))
                    problems.add(message, where=place, field=f"tune.space: {key}", hint=hint)
    for name, each in starts if tune.constraints and not problems.found else ():
        points = tried(each)
        if not any(
            limits.kept(lambda point=point, each=each: each.settings(point), costs) for point in points
        ):
            texts = " and ".join(constraint.text for constraint in tune.constraints)
            said = nearest(each, points, costs, limits)
            where = study.where("tune", "constraints")
            message = f"no setting around {name} keeps {texts}: the nearest of the space is {said}"
            problems.add(message, where=where, field="tune.constraints")
    problems.raise_if_any()


def _choice(space: Space, key: str, value: Any) -> Any:
    return value if space.dimensions[key].values is None else word_for(value)


def _fault(space: Space, key: str, choice: Any, costs: Costs) -> AblateError | None:
    """Why no network bears a choice; None where one does, with whatever other choice beside it."""
    first: AblateError | None = None
    for point in _beside(space, key):
        try:
            costs.inspected(Settings.model_validate(space.laid_over({**point, key: choice})))
            return None
        except ValueError:
            continue  # it goes with another choice alone, which the loader has seen to
        except AblateError as error:
            if point and first is None and not _stands(space, point, costs):
                continue  # the fault of the choice beside it, which is told of that one
            first = first or error
    return first


def _beside(space: Space, key: str) -> Iterator[Point]:
    """Choices that a network may need before it bears one of `key`: none at first, then those that others
    hang on, together, then all others one at a time; never all together."""
    if space.exists(key, {}):
        yield {}
    others = [
        point
        for point in itertools.chain(space.branches(), space.one_by_one())
        if point and key not in point and space.exists(key, point)
    ]
    yield from itertools.islice(others, MAX_SIZES)


def _stands(space: Space, point: Point, costs: Costs) -> bool:
    try:
        costs.inspected(Settings.model_validate(space.laid_over(point)))
    except (ValueError, AblateError):
        return False
    return True


def tried(space: Space) -> list[Point]:
    """All points of a finite space, as far as that goes; else those that differ most in their counts."""
    points = space.points()
    return points if points is not None and len(points) <= MAX_SIZES else space.sizes()


def nearest(space: Space, points: list[Point], costs: Costs, limits: Limits) -> str:
    """What of each constraint's metric the space comes nearest to it with, as a constraint would say it."""
    every = []
    for point in points:
        with contextlib.suppress(AblateError, ValueError):
            every.append(costs.counts(space.settings(point)))
    found = []
    for constraint in limits.constraints if every else ():
        pick = min if constraint.at_most else max
        value = pick(counts[constraint.metric] for counts in every)
        number = f"{value:.0f}"
        if constraint.relative:  # rounded to the side that keeps the setting
            share = value / (limits.baseline[constraint.metric] or 1.0) * 1000
            number = f"{(math.ceil(share) if constraint.at_most else math.floor(share)) / 1000:g}x baseline"
        found.append(f"{constraint.metric} {'<=' if constraint.at_most else '>='} {number}")
    return " and ".join(found) or "no network at all"


def costs_of(plan: Plan) -> Costs:
    if plan.ground is None:
        raise RuntimeError("a plan without its ground was never made by plan_study")
    around = plan.ground.around
    every = plan.ground.controlled.expansion.pretraining
    around.pretraining = {**around.pretraining, **{variant.name: variant for variant in every}}
    return Costs(around)


def notes_on(plan: Plan, tune: Tune) -> list[str]:
    notes = []
    if tune.pruner != "none" and len(tune.objectives) > 1:
        notes.append(f"nothing is stopped early by {tune.pruner}: Optuna prunes for one objective only")
    if plan.study.baseline not in (tune.start, *tune.also):
        notes.append(
            f"the baseline {plan.study.baseline!r} is not tuned: what is tuned has an advantage over it; "
            f"write also: [{plan.study.baseline}] to give it the same budget"
        )
    return notes


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def described(
    plan: Plan, tune: Tune, starts: list[tuple[str, Space]], place: Place, costs: Costs, limits: Limits
) -> str:
    seeds = tune.seeds_beside(plan.study.seeds)
    lines = []
    for name, space in starts:
        points = space.points()
        size = "an endless space" if points is None else f"a space of {_count(len(points), 'setting')}"
        asked = tune.trials if points is None else min(tune.trials, len(points))
        ruled = ""
        if tune.constraints:
            some = tried(space)
            kept = sum(limits.kept(lambda p=point, s=space: s.settings(p), costs) for point in some)
            if some == points:
                asked = min(asked, kept)
            ruled = _ruled_out(tune, len(some) - kept, len(some), some == points)
            ruled += f"; nearest to it: {nearest(space, some, costs, limits)}"
        keys = ", ".join(space.dimensions) or "nothing that exists there"
        each = f"{_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
        lines.append(f"{name}: {_count(asked, 'trial')} of {each} over {keys}: {size}")
        there = looked_up(place, name_of(plan, tune, name, space)).sentence(asked)
        lines += [f"  {line}" for line in (there, ruled) if line]
    return "\n".join([*lines, f"sampler {tune.sampler}, pruner {tune.pruner}; kept in {place.shown}"])


def _ruled_out(tune: Tune, out: int, of: int, every: bool) -> str:
    texts = " and ".join(constraint.text for constraint in tune.constraints)
    what = "" if every else " tried at the ends and in the middle of the ranges"
    return f"{texts} rules out {out} of {_count(of, 'setting')}{what}"


def name_of(plan: Plan, tune: Tune, start: str, space: Space) -> str:
    """Of a search, in its storage."""
    content = [
        Settings.model_validate(space.base).model_dump(mode="json"),
        {key: found.model_dump(mode="json") for key, found in sorted(space.dimensions.items())},
        sorted(tune.seeds_beside(plan.study.seeds)),
        dict(tune.objectives),
        [constraint.text for constraint in tune.constraints],
        plan.record.data,
    ]
    return search_name(plan.study.name, start, content)
