"""Study -> variants: those named, then those of sweeps, designs and matrix; equal ones are one variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from ablate.errors import Problems, StudyError
from ablate.record import PlannedDesign, PlannedSweep
from ablate.spec.catalogue import ATTENTION
from ablate.spec.dotted import lay_over
from ablate.spec.generators import Generator
from ablate.spec.names import label_of, pretraining_of
from ablate.spec.settings import Settings
from ablate.spec.study import Study, VariantSpec, variant_data
from ablate.spec.sweeps import Cell, Design, Level, Sweep
from ablate.spec.validation import faults_in
from ablate.variants.identity import ABSENT, canonical, complete, differences, variant_id

Origin = Literal["variant", "sweep", "design", "matrix", "control", "pretraining"]


@dataclass(frozen=True)
class Variant:
    """One configuration to train.

    aliases: its other names. where: the line that named it. changed: the dotted settings that differ from the
    baseline's, with the whole attention under "model.attention" when only one of the two has any.
    switches: the on/off arguments of its attention; without attention, those of the study's mechanisms, all
    off. pretraining: the id of the pretraining that it starts from, which its weights name; None: none.
    """

    name: str
    settings: Settings
    aliases: tuple[str, ...] = ()
    origin: Origin = "variant"
    where: str = ""
    changed: dict[str, Any] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    pretraining: str | None = None

    @cached_property
    def id(self) -> str:
        """12 hex characters over the canonical settings: the same for the same content under any name."""
        return variant_id(self.settings, pretraining=self.pretraining)


@dataclass(frozen=True)
class Expansion:
    """The variants of a study, the baseline first, and its sweeps and designs in terms of their names.

    pretraining: networks that are trained first and compared with nothing, each after those it starts from.
    """

    variants: tuple[Variant, ...]
    sweeps: tuple[PlannedSweep, ...] = ()
    designs: tuple[PlannedDesign, ...] = ()
    pretraining: tuple[Variant, ...] = ()

    def find(self, name: str) -> Variant | None:
        """The variant of that name or alias."""
        return next((variant for variant in self.variants if name in (variant.name, *variant.aliases)), None)


def expand(study: Study, *, precision: Callable[[str], str] | None = None) -> Expansion:
    """All variants in the order of the file, the baseline first, then sweeps, designs and matrix.

    Content that is met again is an alias of the variant that has it, not a second one. precision: what
    `train.precision` comes to on the device at hand, where `auto` and `fp32` may be the same content. Raises
    StudyError when two different contents would have the same name.
    """
    pool = _Pool(study, precision or str)
    for name in study.pretraining:
        pool.add_pretraining(name)
    pool.problems.raise_if_any()
    for name in dict.fromkeys((study.baseline, *study.variants)):
        data = variant_data(pool.defaults, study.variants, name)
        pool.add(name, data, origin="variant", where=study.where("variants", name))
    pool.problems.raise_if_any()
    sweeps: list[PlannedSweep] = []
    designs: list[PlannedDesign] = []
    for place, generator in study.generators():
        names = [pool.add_cell(cell, place, generator) for cell in generator.cells()]
        if isinstance(generator, Sweep):
            sweeps.append(pool.planned_sweep(generator, names))
        elif isinstance(generator, Design):
            cells = tuple((cell.on, name) for cell, name in zip(generator.cells(), names, strict=True))
            designs.append(
                PlannedDesign(
                    kind=generator.kind, start=generator.start, factors=generator.factors, cells=cells
                )
            )
    pool.problems.raise_if_any()
    return Expansion(pool.finished(), tuple(sweeps), tuple(designs), tuple(pool.pretraining.values()))


class _Pool:
    """Variants by their content; the first name for a content is its name, later ones are aliases."""

    def __init__(self, study: Study, precision: Callable[[str], str]) -> None:
        self.study = study
        self.precision = precision
        self.defaults = study.defaults.model_dump()
        self.problems = Problems()
        self.pretraining: dict[str, Variant] = {}
        self._specs: dict[str, VariantSpec] = {**study.pretraining, **study.variants}
        self._by_id: dict[str, Variant] = {}
        self._id_of: dict[str, str] = {}

    def add(self, name: str, data: Mapping[str, Any], *, origin: Origin, where: str) -> str:
        """The name under which this content is known from now on."""
        variant = self._variant(name, data, origin, where)
        if variant is None:
            return name
        content = variant_id(self._resolved(variant.settings), pretraining=variant.pretraining)
        known = self._by_id.get(content)
        if self._id_of.setdefault(name, content) != content:
            other = self._by_id[self._id_of[name]]
            message = f"two different variants would be called {name!r}; the other is at {other.where}"
            self.problems.add(
                message, where=where, hint="rename the variant, or the factor that names the other"
            )
            return name
        if known is None:
            self._by_id[content] = variant
            return name
        if name not in (known.name, *known.aliases):
            self._by_id[content] = replace(known, aliases=(*known.aliases, name))
        return known.name

    def _variant(self, name: str, data: Mapping[str, Any], origin: Origin, where: str) -> Variant | None:
        """None where the settings are faulty, which `problems` then says."""
        try:
            settings = _without_idle_attention(Settings.model_validate(data))
        except ValidationError as error:
            for fault in faults_in(error, Settings):
                self.problems.add(
                    fault.message, where=where, field=f"{name}: {'.'.join(map(str, fault.place))}"
                )
            return None
        start = pretraining_of(settings.model.weights)
        pretraining = self.add_pretraining(start).id if start is not None else None
        return Variant(name, settings, origin=origin, where=where, pretraining=pretraining)

    def add_pretraining(self, name: str) -> Variant:
        """The pretraining of that name, after what it starts from: the loader has refused circles."""
        if name not in self.pretraining:
            data = variant_data(self.defaults, self._specs, name)
            where = self.study.where("pretraining", name)
            variant = self._variant(name, data, "pretraining", where)
            if variant is None:
                raise StudyError(self.problems.found)
            self.pretraining[name] = variant
        return self.pretraining[name]

    def _resolved(self, settings: Settings) -> Settings:
        update = {"precision": self.precision(settings.train.precision)}
        return settings.model_copy(update={"train": settings.train.model_copy(update=update)})

    def add_cell(self, cell: Cell, place: tuple[str, int], generator: Generator) -> str:
        base = variant_data(self.defaults, self.study.variants, generator.start)
        inner = () if isinstance(generator, Design) else next(iter(cell.places.values()), ())
        where = self.study.where(*place, *inner)
        origins: dict[str, Origin] = {"sweeps": "sweep", "designs": "design", "matrix": "matrix"}
        return self.add(cell.name, lay_over(base, cell.settings)[0], origin=origins[place[0]], where=where)

    def planned_sweep(self, sweep: Sweep, names: list[str]) -> PlannedSweep:
        """With the level it starts from, a point of the curve that the file need not list."""
        start = self._by_id[self._id_of[sweep.start]]
        points = [(level, name) for level, name in zip(sweep.levels, names, strict=True)]
        value = _value_at(complete(start.settings), sweep.setting)
        fits = (
            isinstance(value, int | float) and not isinstance(value, bool)
            if sweep.numeric
            else value is not ABSENT
        )
        if start.name not in names and fits:
            label = (label_of(value) or start.name) if sweep.numeric else start.name
            points = _in_order([(Level(label, value, label), start.name), *points], sweep)
        levels = tuple((level.label, name) for level, name in points)
        return PlannedSweep(
            name=sweep.name, setting=sweep.setting, start=start.name, levels=levels, numeric=sweep.numeric
        )

    def finished(self) -> tuple[Variant, ...]:
        """All variants, with what each changes against the baseline and its switches."""
        baseline = canonical(self._by_id[self._id_of[self.study.baseline]].settings)
        variants = tuple(self._by_id.values())
        used = [variant.settings.model.attention for variant in variants]
        entries = [
            ATTENTION[attention.name] for attention in used if attention and attention.name in ATTENTION
        ]
        all_off = dict.fromkeys((switch for entry in entries for switch in entry.switches), False)
        return tuple(
            replace(
                variant,
                changed=_changed(baseline, variant.settings),
                switches=_switches(variant.settings, all_off),
            )
            for variant in variants
        )


def _without_idle_attention(settings: Settings) -> Settings:
    """An attention with nothing switched on is none, for whoever builds it too."""
    if settings.model.attention is None or complete(settings)["model"]["attention"] is not None:
        return settings
    return settings.model_copy(update={"model": settings.model.model_copy(update={"attention": None})})


def _changed(baseline: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What differs, at its value here: a default that leaves no trace in the canonical form has one too."""
    whole = complete(settings)
    found = differences(baseline, canonical(settings))
    values = {key: _value_at(whole, key) if after is ABSENT else after for key, (_, after) in found.items()}
    return {key: None if value is ABSENT else value for key, value in values.items()}


def _switches(settings: Settings, all_off: Mapping[str, bool]) -> dict[str, bool]:
    attention = complete(settings)["model"]["attention"]
    if attention is None:
        return dict(all_off)
    entry = ATTENTION.get(attention["name"])
    return {switch: attention["args"][switch] for switch in entry.switches} if entry else {}


def _value_at(plain: Any, setting: str) -> Any:
    for part in setting.split("."):
        if not isinstance(plain, Mapping) or part not in plain:
            return ABSENT
        plain = plain[part]
    return plain


def _in_order(points: list[tuple[Level, str]], sweep: Sweep) -> list[tuple[Level, str]]:
    """The starting level first, or in its place where the file lists numbers in order."""
    values = [level.value for level in sweep.levels] if sweep.numeric else []
    if sweep.numeric and values == sorted(values):
        return sorted(points, key=lambda point: point[0].value)
    if sweep.numeric and values == sorted(values, reverse=True):
        return sorted(points, key=lambda point: -point[0].value)
    return points
