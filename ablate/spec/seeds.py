"""How seeds are written in a study, those it reports and those of a search alike."""

from __future__ import annotations

from typing import Any

from ablate.spec.words import must_be, refuse


def read_seeds(value: Any, *, first: int, most: int, example: str, fewest: int = 1) -> tuple[int, ...]:
    """A list of distinct whole numbers, or a number n for `first` .. `first` + n - 1; `fewest` to `most`.

    example: what to do in place of an empty list.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not fewest <= value <= most:
            raise must_be(f"a number of seeds from {fewest} to {most}", value)
        return tuple(range(first, first + value))
    if not isinstance(value, list):
        listed = isinstance(value, str) and value.replace(",", "").isdigit()
        hint = f"write seeds: [{value}]" if listed else ""
        raise must_be("a list of whole numbers, or the number of seeds", value, hint=hint)
    if not value:
        raise refuse("must not be empty, got []: without a seed nothing is trained", hint=example)
    if len(value) > most:
        raise must_be(f"at most {most} seeds", len(value))
    for index, seed in enumerate(value):
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise must_be("a whole number of at least 0", seed, place=(index,))
        if seed in value[:index]:
            raise refuse(f"the seed {seed} is given twice", place=(index,))
    return tuple(value)


def seeds_schema(most: int, fewest: int = 1) -> list[dict[str, Any]]:
    """The two ways to write them, as JSON schemas."""
    return [
        {"type": "integer", "minimum": fewest, "maximum": most},
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True},
    ]
