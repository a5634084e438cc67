"""What a study file may say but this version cannot run, and modules of the user's that cannot be found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ablate.errors import Problem
from ablate.spec.dotted import leaves
from ablate.spec.names import is_import_path, module_file
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
    return list(found)


def _settings(study: Study) -> Iterator[tuple[Place, str, Any]]:
    """Every setting in the file, down to single values: its place, dotted key and value."""
    for inner, value in leaves(study.document.data.get("defaults") or {}):
        yield ("defaults", *inner), dotted(inner), value
    for section, specs in (("pretraining", study.pretraining), ("variants", study.variants)):
        for name, spec in specs.items():
            for key, whole in spec.settings.items():
                for inner, value in leaves(whole):
                    yield (section, name, key, *inner), dotted((key, *inner)), value
    for place, generator in study.generators():
        for cell in generator.cells():
            for key, whole in cell.settings.items():
                for inner, value in leaves(whole):
                    yield (*place, *cell.places[key], *inner), dotted((key, *inner)), value


def _refusal(setting: str, value: Any) -> tuple[str, tuple[str, ...], str]:
    """Message, what is allowed, and the way out; an empty message for what can be run."""
    names_a_module = setting in ("model.backbone", "model.attention.name", "data.source")
    if not (names_a_module and isinstance(value, str) and is_import_path(value)):
        return "", (), ""
    module = value.split(":")[0]
    if module_file(module) is not None:
        return "", (), ""
    hint = "run where it can be imported from, or install it"
    return f"there is no module {module!r} on Python's path", (), hint
