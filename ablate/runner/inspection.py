"""What only a network can tell: its modules and costs, and whether attention can sit where it is put."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.errors import AblateError, Problem, StudyError
from ablate.spec import Study
from ablate.variants import Variant, canonical

if TYPE_CHECKING:
    from ablate.data import Images
    from ablate.trial import Inspection


def inspect_all(
    study: Study, variants: Sequence[Variant], images: dict[str, Images]
) -> dict[str, Inspection]:
    """Build every variant on the meta device; faults of all of them come in one StudyError."""
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
    if faults:
        raise StudyError([_problem(study, fault, concerned) for fault, concerned in faults.items()])
    return found


@dataclass(frozen=True, slots=True)
class _Fault:
    message: str
    of_place: bool


def _problem(study: Study, fault: _Fault, variants: Sequence[Variant]) -> Problem:
    """One fault of one or many variants, with the line of the first."""
    first = variants[0]
    where = _line_of_places(study, first) if fault.of_place else first.where
    names = ", ".join(variant.name for variant in variants[:3])
    more = f" and {len(variants) - 3} more" if len(variants) > 3 else ""
    return Problem(fault.message, where, f"variant{'s' if len(variants) > 1 else ''} {names}{more}")


def _line_of_places(study: Study, variant: Variant) -> str:
    """Where the file says at which modules this variant's attention sits."""
    name: str | None = variant.name
    if name not in study.variants:
        return variant.where
    while name is not None:
        spec = study.variants[name]
        for key in ("model.attention.at", "model.attention", "model"):
            if key in spec.settings:
                return study.where("variants", name, key)
        name = spec.extends
    return study.where("defaults", "model", "attention", "at")
