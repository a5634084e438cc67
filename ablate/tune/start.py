"""Before anything is trained: what is searched around, whether the networks can be, and what to say of it."""

from __future__ import annotations

from typing import Any

from ablate.errors import AblateError, Problems
from ablate.runner import Plan
from ablate.spec.dotted import lay_over
from ablate.spec.settings import Settings
from ablate.spec.study import variant_data
from ablate.spec.tune import Tune
from ablate.tune.objective import Costs, Limits
from ablate.tune.space import Space, word_for
from ablate.tune.storage import Place

DEFAULTS = "the defaults"


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
        where = study.where("tune", "space", key)
        if key not in space.dimensions:
            problems.add("there is no such setting around what is searched", where=where, field=key)
            continue
        if not key.startswith(("model.", "train.lr", "train.stages", "data.")):
            continue
        for inner, value in dimension.ends():
            try:
                data = space.laid_over({key: _choice(space, key, value)})
                costs.inspected(Settings.model_validate(data))
            except ValueError:
                continue  # it goes with another choice alone, which the loader has seen to
            except AblateError as error:
                if not _hangs_on_another(space, key):
                    place = study.where("tune", "space", key, inner)
                    problems.add(str(error).splitlines()[0], where=place, field=f"tune.space: {key}")
    for name, each in starts if tune.constraints and not problems.found else ():
        if not any(
            limits.kept(lambda point=point, each=each: each.settings(point), costs)
            for point in each.points() or each.sizes()
        ):
            texts = " and ".join(constraint.text for constraint in tune.constraints)
            where = study.where("tune", "constraints")
            problems.add(f"no setting around {name} keeps {texts}", where=where, field="tune.constraints")
    problems.raise_if_any()


def _choice(space: Space, key: str, value: Any) -> Any:
    return value if space.dimensions[key].values is None else word_for(value)


def _hangs_on_another(space: Space, key: str) -> bool:
    return not space.exists(key, {}) or len([one for one in space.dimensions if one.startswith("model.")]) > 1


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


def described(plan: Plan, tune: Tune, starts: list[tuple[str, Space]], place: Place) -> str:
    seeds = tune.seeds_beside(plan.study.seeds)
    lines = []
    for name, space in starts:
        points = space.points()
        size = "an endless space" if points is None else f"a space of {_count(len(points), 'setting')}"
        trials = _count(tune.trials if points is None else min(tune.trials, len(points)), "trial")
        keys = ", ".join(space.dimensions) or "nothing that exists there"
        each = f"{_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
        lines.append(f"{name}: {trials} of {each} over {keys}: {size}")
    return "\n".join([*lines, f"sampler {tune.sampler}, pruner {tune.pruner}; kept in {place.shown}"])
