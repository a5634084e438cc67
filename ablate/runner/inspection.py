"""What only a network can tell: its modules and costs, and whether attention can sit where it is put."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ablate.controls import Controlled, budget_controls, find_no_ops
from ablate.environment import available_cores, cpu_name, require_torch, require_torchvision
from ablate.errors import AblateError, Problem, Problems
from ablate.runner.patience import NOBODY, Teller, patience
from ablate.runner.recall import Recall, network_key
from ablate.spec import Settings, Study
from ablate.spec.study import VariantSpec
from ablate.trial.inspected import Inspection
from ablate.variants import Expansion, Variant, canonical, variant_id

if TYPE_CHECKING:
    from ablate.data import Images


AskForDigest = Callable[[], str | None]
DEFAULTS = "the defaults"
_JSON = TypeAdapter(Inspection)


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
    study: Study,
    variants: Sequence[Variant],
    images: dict[str, Images],
    problems: Problems,
    recall: Recall,
    tell: Teller,
) -> dict[str, Inspection]:
    """Build every variant on the meta device that is not known; faults of all of them go to `problems`.

    Raises MachineError where one has to be built and torch cannot be used.
    """
    found: dict[str, Inspection] = {}
    faults: dict[_Fault, list[Variant]] = defaultdict(list)
    by_model: dict[str, Inspection | tuple[_Fault, ...]] = {}
    for variant in variants:
        shape, classes = images[variant.name].shape, len(images[variant.name].classes)
        plain = canonical(variant.settings)
        key = json.dumps([plain["model"], plain["train"], shape, classes], sort_keys=True)
        if key not in by_model:
            known = _known(recall, variant.settings, shape, classes)
            if known is None:
                load_torch(variant.settings, tell)
            by_model[key] = known or _outcome(variant, shape, classes, recall, tell)
        outcome = by_model[key]
        if isinstance(outcome, tuple):
            for fault in outcome:
                faults[fault].append(variant)
        else:
            found[variant.name] = outcome
    problems.found += [_problem(study, fault, concerned) for fault, concerned in faults.items()]
    return found


def load_torch(settings: Settings, tell: Teller) -> None:
    """torch, and torchvision where the network may come from it or use it, so that one which is broken is
    told as such, and not as a fault of a variant. Raises MachineError."""
    attention = settings.model.attention
    with patience("loading torch", NOBODY if "torch" in sys.modules else tell):
        require_torch()
        # Those of libraries, and the user's own: ours import what they need of it where they need it.
        if ":" in settings.model.backbone or (attention is not None and ":" in attention.name):
            require_torchvision()


def _known(
    recall: Recall, settings: Settings, shape: tuple[int, int, int], classes: int
) -> Inspection | None:
    answer = recall.get(network_key("inspection", settings, shape, classes))
    try:
        return None if answer is None else _JSON.validate_python(answer)
    except ValueError:
        return None


def _inspected(recall: Recall, settings: Settings, shape: tuple[int, int, int], classes: int) -> Inspection:
    """Asked of the network, and kept. Raises what `inspect_variant` raises."""
    from ablate.trial import inspect_variant

    found = inspect_variant(settings, shape, classes)
    recall.put(network_key("inspection", settings, shape, classes), _JSON.dump_python(found, mode="json"))
    return found


def _outcome(
    variant: Variant, shape: tuple[int, int, int], classes: int, recall: Recall, tell: Teller
) -> Inspection | tuple[_Fault, ...]:
    try:
        with patience("building the networks", tell, variant.name):
            return _inspected(recall, variant.settings, shape, classes)
    except AblateError as error:
        return tuple(map(_fault, getattr(error, "faults", (error,))))
    # Torch says only at run time that shapes do not fit, and a user's own module may raise anything.
    except (Exception, SystemExit) as error:
        return (_Fault(f"the network cannot be built: {type(error).__name__}: {error}"),)


@dataclass(frozen=True, slots=True)
class _Fault:
    """setting: dotted, where the study says what is at fault; empty when no setting is."""

    message: str
    setting: str = ""
    allowed: tuple[str, ...] = ()
    hint: str = ""


def _fault(part: AblateError | Problem) -> _Fault:
    from ablate.models import PlaceError

    if isinstance(part, Problem):
        return _Fault(f"{part.field}: {part.message}", part.field, part.allowed, part.hint)
    return _Fault(str(part), "model.attention.at" if isinstance(part, PlaceError) else "")


def _problem(study: Study, fault: _Fault, variants: Sequence[Variant]) -> Problem:
    """One fault of one or many variants, with the line of the first."""
    first = variants[0]
    where = line_of(study, first, fault.setting) if fault.setting else first.where
    names = ", ".join(variant.name for variant in variants[:3])
    more = f" and {len(variants) - 3} more" if len(variants) > 3 else ""
    who = f"variant{'s' if len(variants) > 1 else ''} {names}{more}" if first.name != DEFAULTS else DEFAULTS
    return Problem(fault.message, where, who, fault.allowed, fault.hint)


def add_controls(
    study: Study,
    expansion: Expansion,
    inspections: dict[str, Inspection],
    images: dict[str, Images],
    recall: Recall,
) -> Controlled:
    """The study with its budget controls; their inspections and images join those of the variants.

    Raises StudyError for a control that cannot be had.
    """
    names = {variant.id: variant.name for variant in expansion.variants}
    shown = images[study.baseline]

    def inspect(settings: Settings) -> Inspection:
        if name := names.get(variant_id(settings)):
            return inspections[name]
        shape, classes = shown.shape, len(shown.classes)
        if (known := _known(recall, settings, shape, classes)) is not None:
            return known
        require_torch()
        return _inspected(recall, settings, shape, classes)

    found = budget_controls(study, expansion, inspect)
    inspections.update(found.inspections)
    images.update(dict.fromkeys(found.inspections, shown))
    return found


def no_ops(
    variants: Sequence[Variant],
    inspections: dict[str, Inspection],
    images: dict[str, Images],
    recall: Recall,
) -> tuple[str, ...]:
    """A sentence for every variant that differs from another in the file alone."""

    def build(*network: Any) -> Any:
        from ablate.trial import build_for

        return build_for(*network)

    def remember(
        kind: str, settings: Settings, shape: tuple[int, int, int], classes: int, ask: AskForDigest
    ) -> str | None:
        key = network_key(kind, settings, shape, classes, cpu=cpu_name(), cores=available_cores())
        if (known := recall.get(key)) is not None:
            return str(known)
        require_torch()
        if (digest := ask()) is not None:
            recall.put(key, digest)
        return digest

    return tuple(map(str, find_no_ops(variants, inspections, images, build, remember)))


def line_of(study: Study, variant: Variant, setting: str) -> str:
    """Where the file says what this variant's setting is, given as ``"train.stages[1].lr"``."""
    parts: tuple[str | int, ...] = tuple(
        int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", setting)
    )
    plain = [str(part) for part in parts]
    named: dict[str, tuple[str, VariantSpec]] = {
        **{name: ("pretraining", spec) for name, spec in study.pretraining.items()},
        **{name: ("variants", spec) for name, spec in study.variants.items()},
    }
    name: str | None = variant.name
    if name not in named:
        return variant.where
    while name is not None:
        section, spec = named[name]
        for length in range(len(plain), 0, -1):
            if (key := ".".join(plain[:length])) in spec.settings:
                return study.where(section, name, key, *parts[length:])
        name = spec.extends
    return study.where("defaults", *parts)
