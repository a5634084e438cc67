"""Sweeps and designs: what makes variants by itself, as cells, each a name and dotted settings."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ablate.spec.names import PART_RULE, PartName, label_of, part_fault
from ablate.spec.settings import Frozen
from ablate.spec.source import Place
from ablate.spec.words import must_be, refuse, show

ALL_OFF = "none"
ALL_ON = "full"


@dataclass(frozen=True, slots=True)
class Cell:
    """A variant to be: `settings` laid over those of the variant that the generator starts from.

    places: for each setting, where its value stands within the generator. on: a design's factors that are on.
    label: a sweep's level.
    """

    name: str
    settings: dict[str, Any]
    places: dict[str, Place]
    on: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a setting; `key` finds it in the list or mapping that it stands in."""

    label: str
    value: Any
    key: str | int


def to_levels(values: Any) -> Any:
    """A list of values, or a mapping label -> value, as levels."""
    if isinstance(values, Mapping):
        for label in values:
            fault = part_fault(label)
            if fault:
                raise refuse(f"the label {show(label)} {fault}", allowed=(PART_RULE,), place=(label,))
        levels = [Level(label, value, label) for label, value in values.items()]
    elif isinstance(values, list):
        levels = [Level(value_label(value, (index,)), value, index) for index, value in enumerate(values)]
    elif isinstance(values, tuple):  # levels already
        return values
    else:
        raise must_be("a list of values or a mapping label: value", values)
    if not levels:
        raise refuse("must not be empty: give at least one value")
    twice = [label for label, count in Counter(level.label for level in levels).items() if count > 1]
    if twice:
        raise refuse(f"the value {twice[0]} is given twice")
    return tuple(levels)


def value_label(value: Any, place: Place) -> str:
    label = label_of(value)
    if label is None:
        hint = f"write a mapping of labels instead of a list: {{some-label: {show(value)}}}"
        raise refuse(f"the value {show(value)} needs a label to name its variant by", hint=hint, place=place)
    return label


_VALUES_SCHEMA = {
    "anyOf": [{"type": "array", "minItems": 1}, {"type": "object", "minProperties": 1}],
    "description": "a list of values, or a mapping label: value",
}
Levels = Annotated[tuple[Level, ...], BeforeValidator(to_levels), WithJsonSchema(_VALUES_SCHEMA)]


def last_part(setting: str) -> str:
    return setting.rsplit(".", 1)[-1]


class Sweep(Frozen):
    """One factor at a time: variants "{from} {as}={label}". `as` is the setting's last part if not given."""

    start: str = Field(alias="from", description="the variant to start from")
    setting: str = Field(alias="set", description="the dotted setting to vary")
    name: PartName = Field(alias="as", description="the factor's name in names and plots", default="")
    levels: Levels = Field(alias="values")

    @model_validator(mode="before")
    @classmethod
    def _name_by_setting(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "as" not in data and isinstance(data.get("set"), str):
            return {**data, "as": last_part(data["set"])}
        return data

    @property
    def numeric(self) -> bool:
        """Whether the levels are numbers, so that a trend can be asked for."""
        return all(isinstance(x.value, int | float) and not isinstance(x.value, bool) for x in self.levels)

    def cells(self) -> tuple[Cell, ...]:
        return tuple(
            Cell(
                f"{self.start} {self.name}={level.label}",
                {self.setting: level.value},
                {self.setting: ("values", level.key)},
                label=level.label,
            )
            for level in self.levels
        )

    def key_place(self, setting: str) -> Place:
        return ("set",)


class Design(Frozen):
    """Named switches (true-or-false settings), and which combinations of them to train.

    factorial: all of them, named by what is on ("multi-scale+channel"; all off: "none").
    leave-one-out: all on ("full"), and each alone off ("-channel").
    add-one: all off ("none"), and each alone on ("+channel").
    chain: the cells of a factorial, told as parts added in the order of the switches, and as Shapley shares.
    """

    kind: Literal["factorial", "leave-one-out", "add-one", "chain"]
    start: str = Field(alias="from", description="the variant whose other settings every cell has")
    switches: dict[PartName, str] = Field(min_length=1, max_length=8, description="factor: dotted setting")

    @model_validator(mode="after")
    def _settings_differ(self) -> Design:
        first: dict[str, str] = {}
        for factor, setting in self.switches.items():
            if setting in first:
                message = f"{setting} is switched by {first[setting]!r} already"
                raise refuse(message, place=("switches", factor))
            first[setting] = factor
        return self

    @property
    def factors(self) -> tuple[str, ...]:
        return tuple(self.switches)

    def cells(self) -> tuple[Cell, ...]:
        factors = self.factors
        if self.kind == "leave-one-out":
            names = {factors: ALL_ON} | {tuple(f for f in factors if f != off): f"-{off}" for off in factors}
        elif self.kind == "add-one":
            names = {(): ALL_OFF} | {(factor,): f"+{factor}" for factor in factors}
        else:
            sizes = range(len(factors) + 1)
            combinations = [on for size in sizes for on in itertools.combinations(factors, size)]
            names = {on: "+".join(on) or ALL_OFF for on in combinations}
        places: dict[str, Place] = {
            setting: ("switches", factor) for factor, setting in self.switches.items()
        }
        return tuple(
            Cell(name, {setting: factor in on for factor, setting in self.switches.items()}, places, on=on)
            for on, name in names.items()
        )

    def key_place(self, setting: str) -> Place:
        return next((("switches", factor) for factor, key in self.switches.items() if key == setting), ())
