"""The width of a mechanism's bottleneck, m = max(1, ⌊C/r⌋), and what to say when C/r is no whole number."""

from __future__ import annotations


def positive_int(name: str, value: object) -> int:
    """`value` if it is a whole number of at least 1; ValueError otherwise (True is not a number here)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def bottleneck(channels: int, reduction: int) -> tuple[int, tuple[str, ...]]:
    """(m, notes) for C channels and ratio r. ValueError when either is below 1."""
    channels, reduction = positive_int("channels", channels), positive_int("reduction", reduction)
    width = max(1, channels // reduction)
    if channels < reduction:
        note = f"reduction={reduction} is larger than the {channels} channels: the bottleneck has 1 channel"
    elif channels % reduction:
        ratio = f"{channels} channels / reduction={reduction} = {channels / reduction:.4g}"
        note = f"{ratio}: the bottleneck is rounded down to {width}"
    else:
        return width, ()
    return width, (note,)
