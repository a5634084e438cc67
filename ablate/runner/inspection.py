"""What only a network can tell: its modules and costs, and whether attention can sit where it is put."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.errors import AblateError, Problem, Problems
from ablate.spec import Study
from ablate.variants import Variant, canonical

if TYPE_CHECKING:
    from ablate.data import Images
    from ablate.trial import Inspection


DEFAULTS = "the defaults"


def with_defaults(study: Study, variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants, and the defaults beside them where those name places at which no variant puts anything:
    a slip there would show only with the first variant that comes to use it."""
    attention = study.defaults.model.attention
    if attention is None:
        return tuple(variants)
    used = {place for variant in variants if (own := variant.settings.model.attention) for place in own.at}
    if used.issuperset(attention.at):
        return tuple(variants)
    where = study.where("defaults", "model", "attention", "at")
    return (*variants, Variant(DEFAULTS, study.defaults, where=where))


def inspect_all(
    study: Study, variants: Sequence[Variant], images: dict[str, Images], problems: Problems
) -> dict[str, Inspection]:
    """Build every variant on the meta device; faults of all of them go to `problems`."""
    from ablate.models import PlaceError
    from ablate.trial import inspect_variant

    found: dict[str, Inspection] = {}
    faults: dict[_Fault, list[Variant]] = defaultdict(list)
    by_model: dict[str, Inspection | tuple[_Fault, ...]] = {}
    for variant in variants:
        shape, classes = images[variant.name].shape, len(images[variant.name].classes)
        key = json.dumps([canonical(variant.settings)["model"], shape, classes], sort_keys=True)
        if key not in by_model:
            try:
                by_model[key] = inspect_variant(variant.settings, shape, classes)
            except AblateError as error:
                parts = getattr(error, "faults", (error,))
                by_model[key] = tuple(_Fault(str(part), isinstance(part, PlaceError)) for part in parts)
            # Torch says only at run time that shapes do not fit, and a user's own module may raise anything.
            except Exception as error:
                message = f"the network cannot be built: {type(error).__name__}: {error}"
                by_model[key] = (_Fault(message, of_place=False),)
        outcome = by_model[key]
        if isinstance(outcome, tuple):
            for fault in outcome:
                faults[fault].append(variant)
        else:
            found[variant.name] = outcome
    problems.found += [_problem(study, fault, concerned) for fault, concerned in faults.items()]
    return found


@dataclass(frozen=True, slots=True)
class _Fault:
    message: str
    of_place: bool


def _problem(study: Study, fault: _Fault, variants: Sequence[Variant]) -> Problem:
    """One fault of one or many variants, with the line of the first."""
    first = variants[0]
    where = line_of(study, first, "model.attention.at") if fault.of_place else first.where
    if first.name == DEFAULTS:
        return Problem(fault.message, where, DEFAULTS)
    names = ", ".join(variant.name for variant in variants[:3])
    more = f" and {len(variants) - 3} more" if len(variants) > 3 else ""
    return Problem(fault.message, where, f"variant{'s' if len(variants) > 1 else ''} {names}{more}")


def line_of(study: Study, variant: Variant, setting: str) -> str:
    """Where the file says what this variant's dotted setting is."""
    parts = setting.split(".")
    keys = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    name: str | None = variant.name
    if name not in study.variants:
        return variant.where
    while name is not None:
        spec = study.variants[name]
        for key in keys:
            if key in spec.settings:
                return study.where("variants", name, key)
        name = spec.extends
    return study.where("defaults", *parts)
