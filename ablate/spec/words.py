"""Values and refusals in the words of someone who writes YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from ablate.spec.source import Place

MAX_SHOWN = 80


def show(value: Any) -> str:
    """A value as the user would write it, at most 80 characters."""
    text = written(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(written(item) for item in value) + "]"
    return repr(value)


def refuse(
    message: str, *, allowed: tuple[str, ...] = (), hint: str = "", place: Place = ()
) -> PydanticCustomError:
    """An error for our own validators to raise; it passes through pydantic with all its parts.

    place: from the validated value inwards, where the validator sees more than one.
    """
    context = {"message": message, "allowed": allowed, "hint": hint, "place": place}
    return PydanticCustomError("ablate", "{message}", context)


def must_be(wanted: str, value: Any, *, hint: str = "", place: Place = ()) -> PydanticCustomError:
    return refuse(f"must be {wanted}, got {show(value)}", hint=hint, place=place)
