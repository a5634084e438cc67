"""The baseline given the budget of another variant: is it attention, or only more parameters?

A control is the baseline with one numeric argument of its backbone raised (its width, unless the study names
another) until it has as many parameters, or as many MACs, as the variant that it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, Literal, Protocol

from ablate.controls.search import Grid, SearchError, Staircase, nearest, shortest
from ablate.errors import AblateError, Problem, Problems, did_you_mean
from ablate.record import PlannedControl
from ablate.spec import Settings, Study
from ablate.spec.catalogue import BACKBONES, Argument
from ablate.spec.names import is_library_name
from ablate.spec.study import Control
from ablate.variants import Expansion, Variant

MATCHED = 0.01  # of the budget: what lies farther off is said
REFUSED = 0.05  # and what lies farther off than this answers another question
CLOSE = 0.005  # of what the variant adds to the baseline, and of the budget: nearer the search does not go

WORDS: Mapping[Literal["params", "macs"], str] = {"params": "parameters", "macs": "MACs"}


class Budget(Protocol):
    """What a network costs; `ablate.trial.Inspection` is one."""

    @property
    def param_count(self) -> int: ...
    @property
    def macs(self) -> int: ...


Inspect = Callable[[Settings], Any]


@dataclass(frozen=True)
class Controlled:
    """A study with its controls.

    expansion: with the controls' variants at the end; a control that is a variant already, such as the
    baseline where nothing comes nearer, became its alias.
    inspections: of the added variants, by name, as `inspect` gave them. warnings: whole sentences.
    """

    expansion: Expansion
    controls: tuple[PlannedControl, ...] = ()
    inspections: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def budget_controls(study: Study, expansion: Expansion, inspect: Inspect) -> Controlled:
    """Find the argument of every control and add its variant.

    inspect: settings -> something with `param_count` and `macs` (a Budget), built on the meta device. Raises
    StudyError, with the line of each control whose backbone has no such argument, or which comes no nearer
    than 5 %; beyond 1 % it is a warning.
    """
    if not study.controls:
        return Controlled(expansion)
    problems, seen = Problems(), dict[str, Any]()

    def once(settings: Settings) -> Any:
        key = settings.model_dump_json()
        if key not in seen:
            seen[key] = inspect(settings)
        return seen[key]

    found = Controlled(expansion)
    for index, control in enumerate(study.controls):
        where = study.where("controls", index)
        search = _Search(study.baseline, control, where, expansion, once)
        try:
            found = search.join(found)
        except _Refused as refusal:
            problems.found.append(Problem(str(refusal), where, f"controls[{index}]", *refusal.way_out))
    problems.raise_if_any()
    return found


def describe_control(control: PlannedControl) -> str:
    """``"baseline params=msa: width 1.02 gives 1,187,312 parameters, +0.01 % from msa's 1,187,210"``"""
    what, off = WORDS[control.match], 100 * (control.achieved / control.budget - 1)
    how = "as it is has" if control.value is None else f"{control.argument} {control.value} gives"
    return (
        f"{control.variant}: {how} {control.achieved:,} {what}, {off:+.2f} % from {control.to}'s "
        f"{control.budget:,}"
    )


class _Refused(Exception):
    def __init__(self, message: str, allowed: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message)
        self.way_out = (allowed, hint)


@dataclass(frozen=True)
class _Search:
    """One control of a study."""

    baseline_name: str
    control: Control
    where: str
    expansion: Expansion
    inspect: Inspect

    @property
    def baseline(self) -> Variant:
        return self.expansion.variants[0]

    def join(self, known: Controlled) -> Controlled:
        """`known` with this control in it."""
        control, baseline = self.control, self.baseline
        to = self.expansion.find(control.to)
        if to is None or to.name == baseline.name:
            hint = f"choose a variant that costs something beyond {baseline.name!r}"
            raise _Refused(f"{control.to!r} is the baseline itself", hint=hint)
        if baseline.settings.model.weights is not None:
            message = (
                f"{baseline.name!r} starts from weights, and those fit no other {control.by} than its own"
            )
            raise _Refused(message, hint="a budget control needs model.weights: null in the baseline")
        budget, before = self._cost(to.settings), self._cost(baseline.settings)
        value = None if budget == before else self._value(budget, before)
        achieved = before if value is None else self._cost(self._with(value))
        if abs(achieved / budget - 1) > REFUSED:
            raise self._too_far(to.name, value, achieved, budget)
        settings = baseline.settings if value is None else self._with(value)
        variants, name = self._added(known.expansion.variants, settings, value)
        inspections = {**known.inspections, name: self.inspect(settings)}
        planned = PlannedControl(
            match=control.match,
            to=to.name,
            variant=name,
            argument=control.by,
            value=value,
            budget=budget,
            achieved=achieved,
            baseline=before,
        )
        return Controlled(
            expansion=replace(known.expansion, variants=variants),
            controls=(*known.controls, planned),
            inspections={key: kept for key, kept in inspections.items() if not self.expansion.find(key)},
            warnings=(*known.warnings, *self._warnings(planned, to)),
        )

    def _cost(self, settings: Settings) -> int:
        found = self.inspect(settings)
        return int(found.param_count if self.control.match == "params" else found.macs)

    def _with(self, value: int | float) -> Settings:
        """The baseline's settings but for the argument."""
        model = self.baseline.settings.model
        args = {**model.args, self.control.by: value}
        changed = model.model_copy(update={"args": args})
        return self.baseline.settings.model_copy(update={"model": changed})

    def _value(self, budget: int, before: int) -> int | float | None:
        """Of the argument; None where nothing comes nearer than the baseline as it is."""
        grid = _grid(self.baseline.settings, self.control.by)

        def build(index: int) -> Settings:
            return self._with(grid.value(index))

        def cost(index: int) -> int:
            try:
                return self._cost(build(index))
            except AblateError as error:
                message = f"cannot be built with {self.control.by} {grid.value(index)}: {error}"
                raise _Refused(message, hint=_OTHER) from error

        stairs = Staircase(cost)
        slack = CLOSE * min(abs(budget - before), budget)
        try:
            index = nearest(stairs, budget, grid.index(grid.start), grid.ends, slack)
        except SearchError as error:
            what = f"the number of {WORDS[self.control.match]} of {self.baseline.name!r}"
            message = f"with {self.control.by}, {what} {error}"
            if str(error) == "stays below":
                message += f" {self.control.to!r}'s {budget:,}, up to {grid.value(grid.ends[1])}"
            raise _Refused(message, hint=_OTHER) from None

        def alike(at: int) -> bool:
            if not stairs.like(at, index):
                return False
            one, other = self.inspect(build(at)), self.inspect(build(index))
            return bool((one.param_count, one.macs) == (other.param_count, other.macs))

        if abs(before - budget) <= abs(stairs(index) - budget):
            return None
        return shortest(grid, alike, index)

    def _added(
        self, variants: tuple[Variant, ...], settings: Settings, value: int | float | None
    ) -> tuple[tuple[Variant, ...], str]:
        """The variants with that of the control, and the name that it goes by."""
        name = self.control.name(self.baseline_name)
        added = replace(
            self.baseline,
            name=name,
            settings=settings,
            aliases=(),
            origin="control",
            where=self.where,
            changed={f"model.args.{self.control.by}": value},
        )
        for position, variant in enumerate(variants):
            if variant.id == added.id:
                twin = replace(variant, aliases=(*variant.aliases, name))
                return (*variants[:position], twin, *variants[position + 1 :]), variant.name
        return (*variants, added), name

    def _too_far(self, to: str, value: int | float | None, achieved: int, budget: int) -> _Refused:
        what, by = WORDS[self.control.match], self.control.by
        has = f"{by} {value}" if value is not None else f"{self.baseline.name!r} as it is"
        return _Refused(
            f"no {by} brings {self.baseline.name!r} within {REFUSED:.0%} of {to!r}'s {budget:,} {what}: the "
            f"nearest, {has}, has {achieved:,} ({achieved / budget - 1:+.1%})",
            hint=_OTHER,
        )

    def _warnings(self, planned: PlannedControl, to: Variant) -> list[str]:
        what, found = WORDS[planned.match], []
        budgets = f"{planned.budget:,} {what} against {self.baseline.name}'s {planned.baseline:,}"
        if planned.budget == planned.baseline:
            found.append(f"{to.name} adds nothing, {budgets}: the baseline is its own control")
        elif planned.value is None:
            found.append(f"no {planned.argument} comes nearer to {to.name} than the baseline, {budgets}")
        elif planned.budget < planned.baseline:
            found.append(f"{to.name} costs less, {budgets}: its control is smaller than the baseline")
        if abs(planned.achieved / planned.budget - 1) > MATCHED:
            found.append(f"not within {MATCHED:.0%}: {describe_control(planned)}")
        apart = [key for key in to.changed if key.split(".")[0] in ("data", "train")]
        if apart:
            found.append(
                f"{to.name} differs from its control {planned.variant} in {', '.join(apart)}, too: their "
                "comparison is not one of networks alone"
            )
        return [f"{self.where}: {sentence}" for sentence in found]


_OTHER = "name another numeric argument of the backbone with `by: ARGUMENT`, or drop the control"


def _grid(settings: Settings, by: str) -> Grid:
    """The values that the argument may take, from what the baseline has on."""
    name, given = settings.model.backbone, settings.model.args.get(by)
    if name in BACKBONES:
        return _catalogued(name, by, given)
    default = _default(name, by)
    value = given if given is not None else default
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise _Refused(
            f"the backbone {name!r} does not say what its {by} is",
            hint=f"write its present value under model.args of the baseline, such as {by}: 1.0; or {_OTHER}",
        )
    return Grid(float(value) if isinstance(default, float) else value, 0, float("inf"))


def _catalogued(name: str, by: str, given: Any) -> Grid:
    arguments = BACKBONES[name].args
    numeric = tuple(key for key, argument in arguments.items() if _is_number(argument))
    if by not in numeric:
        message = f"the backbone {name!r} has no numeric argument {by!r}"
        way_out = did_you_mean(by, numeric) or _OTHER
        raise _Refused(message, numeric or ("none",), way_out)
    argument = arguments[by]
    value = given if given is not None else argument.default
    if argument.kind == "int":
        low = max(1, argument.minimum or 1)
        return Grid(max(int(low), value or 1), low, argument.maximum or float("inf"))
    if value <= 0:
        raise _Refused(f"{by} is {value} in the baseline, and cannot be raised in proportion", hint=_OTHER)
    low = max(argument.minimum or 0.0, argument.above or 0.0)
    limits = [argument.maximum, None if argument.below is None else argument.below - 1e-6, float("inf")]
    return Grid(float(value), low, min(limit for limit in limits if limit is not None))


def _is_number(argument: Argument) -> bool:
    return argument.kind in ("int", "float") and argument.length is None


def _default(name: str, by: str) -> Any:
    """Of an argument of the user's own function; None where the library's do not show it."""
    if is_library_name(name):
        return None
    from ablate.models.construct import accepted_arguments, resolve

    factory = resolve("backbone", name, {})
    accepted = accepted_arguments(factory)
    if by not in accepted and "**" not in accepted:
        known = tuple(key for key in accepted if key not in ("classes", "image_shape"))
        message = f"the backbone {name!r} has no argument {by!r}"
        raise _Refused(message, known or ("none",), did_you_mean(by, known) or _OTHER)
    parameter = signature(factory).parameters.get(by)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default
