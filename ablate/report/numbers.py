"""How figures are printed: two decimals, a true minus sign, thousands apart, "–" where there is none."""

from __future__ import annotations

import math

from ablate.stats import Summary

NONE = "–"


def points(value: float | None) -> str:
    """An accuracy in percent, or a standard deviation."""
    return NONE if value is None or math.isnan(value) else _minus(f"{_hundredths(value):.2f}")


def signed(value: float | None) -> str:
    """A difference in points, its sign always shown."""
    return NONE if value is None or math.isnan(value) else _minus(f"{_hundredths(value):+.2f}")


def interval(low: float, high: float, *, sign: bool = True) -> str:
    """[a, b]; an interval without bounds says so."""
    if math.isnan(low) or math.isnan(high):
        return NONE
    if math.isinf(low) or math.isinf(high):
        return "[−∞, ∞]"
    form = "+.2f" if sign else ".2f"
    return _minus(f"[{_hundredths(low):{form}}, {_hundredths(high):{form}}]")


def mean_and_std(summary: Summary | None) -> str:
    """84.68 ± 0.31; one score has no standard deviation, and shows none."""
    if summary is None:
        return NONE
    return points(summary.mean) if summary.n < 2 else f"{points(summary.mean)} ± {points(summary.std)}"


def p_value(value: float) -> str:
    if math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def signed_count(value: float | None) -> str:
    return NONE if value is None else _minus(f"{value:+,.0f}")


def macs(value: float | None) -> str:
    """In millions, or one by one where two decimals of a million would say little."""
    if value is None or abs(value) < 1e5:
        return count(value)
    return f"{value / 1e6:,.2f} M"


def signed_macs(value: float | None) -> str:
    if value is None or abs(value) < 1e5:
        return signed_count(value)
    return _minus(f"{value / 1e6:+,.2f} M")


def share(part: float | None, whole: float | None) -> str:
    """A signed percentage of `whole`; its denominator must stand beside it."""
    return NONE if part is None or not whole else _minus(f"{100 * part / whole:+.2f} %")


def _hundredths(value: float) -> float:
    """Rounded to two decimals; what rounds to zero is zero, without a minus."""
    return round(value, 2) + 0.0


def _minus(text: str) -> str:
    return text.replace("-", "−")
