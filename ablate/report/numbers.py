"""How figures are printed: two decimals, a true minus sign, thousands apart, "–" where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ablate.stats import MANY_SEEDS, Judgement, Summary

NONE = "–"


def points(value: float | None, *, digits: int = 2) -> str:
    """An accuracy in percent, or a standard deviation."""
    return NONE if value is None or math.isnan(value) else _minus(f"{_rounded(value, digits):.{digits}f}")


def signed(value: float | None, *, digits: int = 2) -> str:
    """A difference in points with its sign; what rounds to zero is zero, and has none."""
    if value is None or math.isnan(value):
        return NONE
    rounded = _rounded(value, digits)
    return _minus(f"{rounded:{'+' if rounded else ''}.{digits}f}")


def interval(low: float, high: float, *, sign: bool = True, digits: int = 2) -> str:
    """[a, b]; what has no bounds, as of a single run, is no interval.

    sign: of a difference; then a bound of an interval without zero has the decimals that tell it from zero.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return NONE
    if not sign:
        return f"[{points(low, digits=digits)}, {points(high, digits=digits)}]"
    bounds = (signed(bound, digits=_telling(bound, low, high, digits)) for bound in (low, high))
    return f"[{', '.join(bounds)}]"


def with_interval(value: float, low: float, high: float, *, digits: int = 2) -> str:
    """+0.62 [+0.31, +0.93], or +0.70 (no interval)."""
    if math.isnan(value):
        return NONE
    bounds = interval(low, high, digits=digits)
    told = signed(value, digits=_telling(value, low, high, digits))
    return f"{told} {'(no interval)' if bounds == NONE else bounds}"


def difference(judgement: Judgement, *, digits: int = 2) -> str:
    """A judged difference without its interval."""
    value = judgement.evidence.estimate.value
    return signed(value, digits=_telling(value, *judgement.deciding, digits))


def estimate(judgement: Judgement, *, digits: int = 2) -> str:
    """A judged difference with the interval that its verdict rests on."""
    return with_interval(judgement.evidence.estimate.value, *judgement.deciding, digits=digits)


def confidence(judgement: Judgement) -> str:
    """Of that interval: 99.29 %, and whether it is that of the two one-sided tests."""
    if interval(*judgement.deciding) == NONE:
        return NONE
    return f"{100 * judgement.confidence:.2f} %{' (TOST)' if judgement.by_equivalence else ''}"


def counted(number: int, what: str) -> str:
    """1 seed, 5 seeds."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def seeds(count: int | None, std: float) -> str:
    """Seeds per variant; beyond what anybody trains the number itself says nothing."""
    if count is None or count > MANY_SEEDS:
        return f"> {MANY_SEEDS}" if std > 0 else NONE
    return str(count)


def decimals(spreads: Iterable[float]) -> int:
    """With how many decimals figures of such spreads are printed: two digits of the median, one to three."""
    known = sorted(value for value in spreads if math.isfinite(value) and value > 0)
    if not known:
        return 2
    return min(3, max(1, 1 - math.floor(math.log10(known[len(known) // 2]))))


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


def _telling(value: float, low: float, high: float, digits: int) -> int:
    """As many decimals as tell a figure from zero where its interval excludes zero; else `digits`."""
    if low <= 0 <= high or not math.isfinite(value) or round(value, digits) or not value:
        return digits
    return max(digits, -math.floor(math.log10(abs(value))))


def _rounded(value: float, digits: int) -> float:
    """What rounds to zero is zero, without a minus."""
    return round(value, digits) + 0.0


def _minus(text: str) -> str:
    return text.replace("-", "−")
