"""Pydantic's findings as faults, in the words of someone who writes YAML."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ablate.errors import did_you_mean
from ablate.spec.dotted import keys_of, model_in
from ablate.spec.faults import Fault
from ablate.spec.words import show, written

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "string_too_short": "text that is not empty",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def faults_in(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """One fault for each of pydantic's errors; `model` tells which keys an unknown one could have been."""
    return [_fault(details, model) for details in error.errors(include_url=False)]


def _fault(details: ErrorDetails, model: type[BaseModel]) -> Fault:
    kind, place, value = details["type"], details["loc"], details["input"]
    context = details.get("ctx", {})
    if place and place[-1] == "[key]":  # pydantic's mark for the key itself
        place = place[:-1]
    if kind == "ablate":
        return Fault(
            (*place, *context["place"]), context["message"], tuple(context["allowed"]), context["hint"]
        )
    if kind == "missing":
        return Fault(place, "is missing")
    if kind == "extra_forbidden":
        keys = tuple(_keys_at(model, place[:-1]))
        return Fault(
            place, f"unknown key {show(place[-1])}", keys, did_you_mean(place[-1], keys), of_key=True
        )
    if kind == "literal_error":
        return _choice(place, value, context["expected"])
    if kind == "too_short":
        return Fault(place, f"must not be empty, got {show(value)}")
    if kind == "string_type" and isinstance(value, int | float):
        return Fault(place, f"must be text, got {show(value)}", hint=f"put it in quotes: '{written(value)}'")
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return Fault(place, f"must be {words} {show(_number(context[key]))}, got {show(value)}")
    if kind in _WANTED:
        return Fault(place, f"must be {_WANTED[kind]}, got {show(value)}", hint=_number_hint(kind, value))
    return Fault(place, f"{details['msg']}, got {show(value)}")


def _choice(place: tuple[str | int, ...], value: Any, expected: str) -> Fault:
    allowed = tuple(part.strip("'") for part in expected.replace(" or ", ", ").split(", "))
    hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return Fault(place, f"{show(value)} is not allowed here", allowed, hint)


def _number_hint(kind: str, value: Any) -> str:
    """A number, or true or false, that stands in quotes or is spelt the way of older YAML."""
    if not isinstance(value, str):
        return ""
    if kind == "bool_type" and value.lower() in ("on", "off", "yes", "no", "true", "false"):
        return f"write {'true' if value.lower() in ('on', 'yes', 'true') else 'false'}, without quotes"
    if kind in ("int_type", "float_type"):
        try:
            float(value.replace("_", ""))
        except ValueError:
            return ""
        return f"write the number without quotes: {value.replace('_', '')}"
    return ""


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _keys_at(model: type[BaseModel], place: tuple[str | int, ...]) -> tuple[str, ...]:
    for part in place:
        if isinstance(part, int):
            continue
        inner = model_in(keys_of(model).get(part))
        if inner is None:
            return ()
        model = inner
    return tuple(keys_of(model))
