"""What a study file may say but this version cannot run, and modules of the user's that cannot be found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ablate.errors import Problem
from ablate.spec.catalogue import BACKBONES, LATER_BACKBONES
from ablate.spec.dotted import leaves
from ablate.spec.names import is_import_path, is_library_name, module_file
from ablate.spec.source import Place, dotted
from ablate.spec.study import Study

_LATER = "a later version will; this one cannot run it yet"


def unsupported(study: Study) -> list[Problem]:
    """One problem, with file and line, for everything that `plan` and `run` must refuse."""
    found: dict[Problem, None] = {}
    for place, setting, value in _settings(study):
        message, allowed, hint = _refusal(setting, value)
        if message:
            found[Problem(message, study.where(*place), setting, allowed, hint)] = None
    for index, control in enumerate(study.controls):
        message = f"this version builds no budget-matched controls (match: {control.match})"
        found[Problem(message, study.where("controls", index), "controls", (), _LATER)] = None
    return list(found)


def _settings(study: Study) -> Iterator[tuple[Place, str, Any]]:
    """Every setting in the file, down to single values: its place, dotted key and value."""
    for inner, value in leaves(study.document.data.get("defaults") or {}):
        yield ("defaults", *inner), dotted(inner), value
    for name, spec in study.variants.items():
        for key, whole in spec.settings.items():
            for inner, value in leaves(whole):
                yield ("variants", name, key, *inner), dotted((key, *inner)), value
    for place, generator in study.generators():
        for cell in generator.cells():
            for key, whole in cell.settings.items():
                for inner, value in leaves(whole):
                    yield (*place, *cell.places[key], *inner), dotted((key, *inner)), value


def _refusal(setting: str, value: Any) -> tuple[str, tuple[str, ...], str]:
    """Message, what is allowed, and the way out; an empty message for what can be run."""
    if setting in ("model.backbone", "model.attention.name", "data.source") and isinstance(value, str):
        if setting != "data.source" and (is_library_name(value) or value in LATER_BACKBONES):
            allowed = (*BACKBONES, "package.module:function") if setting == "model.backbone" else ()
            return f"this version cannot build {value!r}", allowed, _LATER
        if is_import_path(value) and module_file(value.split(":")[0]) is None:
            hint = "run where it can be imported from, or install it"
            return f"there is no module {value.split(':')[0]!r} on Python's path", (), hint
    if setting == "model.weights" and value is not None:
        return f"this version loads no weights, got {value!r}", ("null",), _LATER
    if setting == "train.stages" and value:
        return "this version trains in one stage", ("[]",), _LATER
    return "", (), ""
