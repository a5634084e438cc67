"""KEY=VALUE from the command line, laid over a study file before it is checked.

`train.epochs=2` changes the study's defaults; a variant that sets the same key itself keeps its own value,
because that value is what the variant is. `seeds=3`, `title=…`, `analysis.margin=1.0` and other keys of the
file are set as named. Values are YAML: `data.augment={flip: true}`, `model.attention=null`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from ablate.errors import Problem, Problems, StudyError
from ablate.spec.dotted import SECTIONS, check_key, keys_of, known_keys, lay_over, nearest_key
from ablate.spec.source import COMMAND_LINE, Document, Place, dotted, parse_value
from ablate.spec.study import Analysis, Study
from ablate.spec.tune import Tune

# Sections of the file whose keys can be set one by one.
_NESTED: dict[str, type[BaseModel]] = {"analysis": Analysis, "tune": Tune}


def apply_overrides(document: Document, overrides: Sequence[str], problems: Problems) -> Document:
    """A copy of the document with the overrides in it, placed at "command line"; faults go to `problems`."""
    data, places = copy.deepcopy(document.data), dict(document.places)
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            _add(problems, "", f"{override!r} is no override", hint="write KEY=VALUE, such as train.epochs=2")
            continue
        place = _place(key, problems)
        if place is None:
            continue
        try:
            value = parse_value(text)
        except StudyError as error:
            for problem in error.problems:
                problems.found.append(replace(problem, field=key))
            continue
        if _set(data, place, value, problems):
            for inner in [other for other in places if other[: len(place)] == place]:
                del places[inner]
            places[place] = COMMAND_LINE
    return Document(document.path, data, places)


def _add(problems: Problems, key: str, message: str, *, allowed: Sequence[str] = (), hint: str = "") -> None:
    problems.add(message, where=COMMAND_LINE, field=key, allowed=allowed, hint=hint)


def _place(key: str, problems: Problems) -> Place | None:
    """Where in the file the key lies; None, with a problem, if there is no such key."""
    setting = key.removeprefix("defaults.")
    parts = setting.split(".")
    if setting != key or parts[0] in SECTIONS:
        fault = check_key(setting)
        if fault is not None:
            problems.found.append(Problem(fault.message, COMMAND_LINE, key, fault.allowed, fault.hint))
            return None
        return ("defaults", *parts)
    top = [name for name in keys_of(Study) if name != "document"]
    if parts[0] in top and len(parts) == 1:
        return (key,)
    if parts[0] in _NESTED and len(parts) == 2:
        return tuple(parts)
    if parts[0] in top:
        _add(problems, key, f"only {parts[0]} as a whole can be set here", hint=f"write {parts[0]}=VALUE")
        return None
    nested = [f"{name}.{part}" for name, model in _NESTED.items() for part in keys_of(model)]
    hint = nearest_key(key, (*known_keys(), *top, *nested))
    allowed = (*(f"{section}.…" for section in SECTIONS), *top)
    _add(problems, key, "no such setting", allowed=allowed, hint=hint)
    return None


def _set(data: dict[str, Any], place: Place, value: Any, problems: Problems) -> bool:
    """Sets the value; False where something above it in the file is malformed, or absent and needed."""
    if place[0] != "defaults":
        node = data
        for part in place[:-1]:
            if node.get(str(part)) is None:
                node[str(part)] = {}
            node = node[str(part)]
            if not isinstance(node, dict):
                return False
        node[str(place[-1])] = value
        return True
    defaults = data.get("defaults")
    if defaults is not None and not isinstance(defaults, dict):
        return False
    data["defaults"], faults = lay_over(defaults or {}, {dotted(place[1:]): value})
    for fault in faults:
        _add(problems, dotted(place[1:]), fault.message, hint=fault.hint)
    return not faults
