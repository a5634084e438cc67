"""Width multipliers: one rule for every backbone of ours."""

from __future__ import annotations

import math


def scaled(base: int, width: float) -> int:
    """`base` channels times `width`, to the nearest whole number (halves up) and at least 1.

    Raises ValueError unless `width` is a finite number above 0.
    """
    if not (math.isfinite(width) and width > 0):
        raise ValueError(f"width must be a number above 0, not {width!r}")
    return max(1, math.floor(base * width + 0.5))
