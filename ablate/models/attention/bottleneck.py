"""Whole-number arguments of mechanisms, and what to say when one of them cannot be had for C channels."""

from __future__ import annotations


def positive_int(name: str, value: object) -> int:
    """`value` if it is a whole number of at least 1; ValueError otherwise (True is not a number here)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def odd_int(name: str, value: object) -> int:
    """`value` if it is an odd number of at least 1, so that padding by k // 2 keeps the size of a map."""
    number = positive_int(name, value)
    if number % 2 == 0:
        raise ValueError(f"{name} must be odd to keep the size of the map, not {value!r}")
    return number


def switch(name: str, value: object) -> bool:
    """`value` if it is true or false; ValueError otherwise."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value


def bottleneck(channels: int, reduction: int, *, least: int = 1) -> tuple[int, tuple[str, ...]]:
    """(m, notes) for C channels and ratio r, m = max(least, ⌊C/r⌋). ValueError when C or r is below 1."""
    channels, reduction = positive_int("channels", channels), positive_int("reduction", reduction)
    width = channels // reduction
    if width < least:
        if channels < reduction and least == 1:
            start = f"reduction={reduction} is larger than the {channels} channels"
        else:
            start = f"{channels} channels / reduction={reduction} = {channels / reduction:.4g}"
        return least, (f"{start}: the bottleneck has {least} channel{'s' * (least > 1)}",)
    if channels % reduction:
        ratio = f"{channels} channels / reduction={reduction} = {channels / reduction:.4g}"
        return width, (f"{ratio}: the bottleneck is rounded down to {width}",)
    return width, ()


def equal_parts(name: str, wanted: int, width: int) -> tuple[int, tuple[str, ...]]:
    """(n, notes): the largest number of equal parts, at most `wanted`, that `width` channels fall into."""
    wanted, width = positive_int(name, wanted), positive_int("channels", width)
    parts = next(n for n in range(min(wanted, width), 0, -1) if width % n == 0)
    if parts == wanted:
        return parts, ()
    channels = f"{width} channel{'s' * (width > 1)}"
    return parts, (f"{channels} do{'es' * (width == 1)} not fall into {name}={wanted}: {parts} are used",)
