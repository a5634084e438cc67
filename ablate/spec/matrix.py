"""The matrix: products of settings, with zip, exclude and include."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from ablate.errors import did_you_mean
from ablate.spec.names import label_of, part_name
from ablate.spec.settings import Frozen
from ablate.spec.source import Place
from ablate.spec.sweeps import Cell, Level, last_part, to_levels, value_label
from ablate.spec.words import must_be, refuse, show

MAX_CELLS = 1000


@dataclass(frozen=True, slots=True)
class Axis:
    """One factor of a matrix; `place` is where its levels stand within the entry."""

    name: str
    setting: str
    levels: tuple[Level, ...]
    place: Place = field(default=())

    def find(self, given: Any) -> Level | None:
        """The level with this label or value."""
        alike = [x for x in self.levels if type(x.value) is type(given) and x.value == given]
        return next(
            (x for x in self.levels if x.label in (given, label_of(given))), alike[0] if alike else None
        )


def to_axes(data: Any) -> Any:
    """`set` of an entry: dotted setting -> values, or a name of one's own -> {dotted setting: values}."""
    if not isinstance(data, Mapping):
        return data
    axes = []
    for key, value in data.items():
        place: Place = (key,)
        name, setting = last_part(key), key
        if "." not in key:
            if not isinstance(value, Mapping) or len(value) != 1:
                wanted = f"a mapping with one dotted setting, {key}: {{model.attention.at: [...]}}"
                raise must_be(wanted, value, place=place)
            name = part_name(key)
            setting, value = next(iter(value.items()))
            place = (key, setting)
        try:
            levels = to_levels(value)
        except PydanticCustomError as error:
            raise _moved(error, place) from None
        axes.append(Axis(name, setting, levels, ("set", *place)))
    if not axes:
        raise refuse("must not be empty: give at least one setting")
    twice = [name for name, count in Counter(axis.name for axis in axes).items() if count > 1]
    if twice:
        message = f"two settings would both be called {twice[0]!r}"
        raise refuse(message, hint="name them: {encoder: {model.args.width: [...]}}")
    return tuple(axes)


def _moved(error: PydanticCustomError, place: Place) -> PydanticCustomError:
    """One of our own errors, seen from further out."""
    context = error.context or {}
    inner: Place = tuple(context["place"])
    return refuse(
        context["message"], allowed=context["allowed"], hint=context["hint"], place=(*place, *inner)
    )


def _to_tuple(value: Any) -> Any:
    return (
        tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if isinstance(value, list)
        else value
    )


_AXES_SCHEMA = {
    "type": "object",
    "minProperties": 1,
    "description": "dotted setting: values, or name: {setting: values}",
}
Groups = Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_to_tuple)]
Rows = Annotated[tuple[dict[str, Any], ...], BeforeValidator(_to_tuple)]


class Matrix(Frozen):
    """Products of settings, laid over one variant; variants "{from} reduction=4 at=deep".

    set: the axes, `model.attention.args.reduction: [4, 8]` (named by its last part) or
         `at: {model.attention.at: {shallow: [block1], deep: [block3]}}` (named by the user).
    zip: groups of axes that advance together instead of being multiplied; they have equally many levels.
    exclude: cells to leave out, each as axis -> level; axes that are not named match any level.
    include: cells to add, each as axis -> level or any other value; axes that are not named stay as in
    `from`.
    """

    start: str = Field(alias="from", description="the variant to start from")
    axes: Annotated[tuple[Axis, ...], BeforeValidator(to_axes), WithJsonSchema(_AXES_SCHEMA)] = Field(
        alias="set"
    )
    zipped: Groups = Field((), alias="zip", description="groups of axes that advance together")
    exclude: Rows = Field((), description="cells to leave out: axis -> level")
    include: Rows = Field((), description="cells to add: axis -> level or value")

    @model_validator(mode="after")
    def _consistent(self) -> Matrix:
        self._check_zip()
        count = math.prod(len(rows) for rows in self._groups())
        if count > MAX_CELLS:
            raise refuse(f"gives {count:,} variants", allowed=(f"at most {MAX_CELLS:,}",), place=("set",))
        for kind, rows in (("exclude", self.exclude), ("include", self.include)):
            for index, row in enumerate(rows):
                self._check_row(kind, index, row)
        if not self.cells():
            raise refuse("every cell is excluded", place=("exclude",))
        return self

    def _axis(self, name: str, place: Place) -> Axis:
        axes = {axis.name: axis for axis in self.axes}
        if name not in axes:
            hint = did_you_mean(name, axes)
            raise refuse(
                f"there is no axis {name!r} in this entry", allowed=tuple(axes), hint=hint, place=place
            )
        return axes[name]

    def _check_zip(self) -> None:
        seen: set[str] = set()
        for index, group in enumerate(self.zipped):
            axes = [self._axis(name, ("zip", index)) for name in group]
            if len(group) < 2 or seen & set(group) or len(set(group)) < len(group):
                raise must_be(
                    "a group of two or more axes, each in one group only", group, place=("zip", index)
                )
            seen |= set(group)
            sizes = {axis.name: len(axis.levels) for axis in axes}
            if len(set(sizes.values())) > 1:
                counts = ", ".join(f"{name} has {size}" for name, size in sizes.items())
                raise refuse(f"zipped axes need equally many values: {counts}", place=("zip", index))

    def _check_row(self, kind: str, index: int, row: Mapping[str, Any]) -> None:
        place: Place = (kind, index)
        if not row:
            raise refuse("must name at least one axis, got {}", place=place)
        for name, given in row.items():
            axis = self._axis(name, (*place, name))
            if axis.find(given) is not None:
                continue
            if kind == "exclude":
                labels = tuple(level.label for level in axis.levels)
                raise refuse(f"{name!r} has no level {show(given)}", allowed=labels, place=(*place, name))
            value_label(given, (*place, name))
        if kind == "exclude" and not any(self._matches(row, levels) for levels in self._product()):
            raise refuse(f"{show(row)} matches no cell", place=place)

    def _groups(self) -> list[list[dict[str, Level]]]:
        """One list of rows for each zipped group or single axis, in the order of the file."""
        group_of = {name: group for group in self.zipped for name in group}
        groups = dict.fromkeys(group_of.get(axis.name, (axis.name,)) for axis in self.axes)
        axes = {axis.name: axis for axis in self.axes}
        return [
            [
                dict(zip(group, levels, strict=True))
                for levels in zip(*(axes[name].levels for name in group), strict=True)
            ]
            for group in groups
        ]

    def _product(self) -> list[dict[str, Level]]:
        return [
            {name: level for row in rows for name, level in row.items()}
            for rows in itertools.product(*self._groups())
        ]

    def _matches(self, row: Mapping[str, Any], levels: Mapping[str, Level]) -> bool:
        return all(levels[axis.name] == axis.find(row[axis.name]) for axis in self.axes if axis.name in row)

    def cells(self) -> tuple[Cell, ...]:
        product = [x for x in self._product() if not any(self._matches(row, x) for row in self.exclude)]
        cells = [self._cell(levels, {axis.name: axis.place for axis in self.axes}) for levels in product]
        for index, row in enumerate(self.include):
            found = {axis.name: axis.find(row[axis.name]) for axis in self.axes if axis.name in row}
            levels = {
                name: level or Level(label_of(row[name]) or "", row[name], name)
                for name, level in found.items()
            }
            cells.append(self._cell(levels, dict.fromkeys(levels, ("include", index))))
        return tuple({cell.name: cell for cell in cells}.values())

    def _cell(self, levels: Mapping[str, Level], places: Mapping[str, Place]) -> Cell:
        chosen = [(axis, levels[axis.name]) for axis in self.axes if axis.name in levels]
        return Cell(
            " ".join([self.start, *(f"{axis.name}={level.label}" for axis, level in chosen)]),
            {axis.setting: level.value for axis, level in chosen},
            {axis.setting: (*places[axis.name], level.key) for axis, level in chosen},
        )

    def key_place(self, setting: str) -> Place:
        return next((axis.place for axis in self.axes if axis.setting == setting), ())
