"""Scales, ticks and the frame of a chart: everything that places a figure on paper."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablate.web import Html, element, join


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps [low, high] of the data to [start, end] of the drawing, in straight proportion or by ratio."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Clamped, so that a far value stands at the edge."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def padded(
    values: Iterable[float], start: float, end: float, *, share: float = 0.06, log: bool = False
) -> Scale:
    """A scale over finite values with some room on either side."""
    found = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(found), max(found)
    if log:
        room = (high / low) ** share
        return Scale(low / room, high * room, start, end, log=True)
    room = share * (high - low) or abs(high) * 0.01 or 0.5
    return Scale(low - room, high + room, start, end)


def ticks(scale: Scale, count: int) -> list[float]:
    """At most about `count` round values on the scale."""
    if scale.log:
        return _log_ticks(scale, count)
    step = _round_step((scale.high - scale.low) / max(1, count))
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= least * (1 - 1e-9))


def _log_ticks(scale: Scale, count: int) -> list[float]:
    decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    for steps in ((1, 2, 5), (1,)):
        found = [step * 10.0**power for power in decades for step in steps if scale.holds(step * 10.0**power)]
        if len(found) <= count + 2:
            return found
    return found[:: math.ceil(len(found) / count)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """With as many decimals as tell neighbours apart, thousands apart, and a true minus sign."""
    steps = [b - a for a, b in itertools.pairwise(values)]
    decimals = 0
    while decimals < 6 and any(abs(round(v, decimals) - v) > 1e-3 * min(steps, default=1) for v in values):
        decimals += 1
    return [f"{value + 0.0:,.{decimals}f}".replace("-", "−") for value in values]


def si(values: Sequence[float]) -> tuple[float, str]:
    """The divisor and the word for large counts, so that labels stay short."""
    most = max((abs(value) for value in values), default=0.0)
    return next(
        (found for found in ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands")) if most >= found[0]),
        (1.0, ""),
    )


def place(value: float) -> str:
    """A coordinate in tenths."""
    return f"{value:.1f}".removesuffix(".0")


def path(points: Iterable[tuple[float, float]]) -> str:
    """For `points` of a polyline."""
    said = "".join([f"{x:.1f},{y:.1f} " for x, y in points])
    return said.replace(".0,", ",").replace(".0 ", " ").rstrip()


def drawing(
    width: float, height: float, *parts: object, label: str, described: str = "", class_: str = "chart"
) -> Html:
    """An SVG of this size in its own units, which fills the width that it is given."""
    return element(
        "svg",
        element("desc", described) if described else None,
        *parts,
        viewBox=f"0 0 {place(width)} {place(height)}",
        class_=class_,
        role="group",
        aria_label=label,
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    return element("line", x1=place(x1), y1=place(y1), x2=place(x2), y2=place(y2), class_=class_)


def text(x: float, y: float, said: object, class_: str = "", anchor: str | None = None) -> Html:
    """anchor: start | middle | end."""
    return element("text", said, x=place(x), y=place(y), class_=class_ or None, text_anchor=anchor)


def frame(
    x: Scale,
    y: Scale,
    x_title: str,
    y_title: str,
    *,
    x_ticks: Sequence[tuple[float, str]],
    y_count: int = 5,
) -> Html:
    """Grid, tick labels and titles of a chart whose y grows upwards; y_title stands on top of its axis."""
    across = ticks(y, y_count)
    parts: list[Html] = []
    for value, label in zip(across, tick_labels(across), strict=True):
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(text(x.start - 7, y(value) + 4, label, anchor="end"))
    parts += [text(x(value), y.start + 17, label, anchor="middle") for value, label in x_ticks]
    parts.append(line(x.start, y.start, x.end, y.start, "axis"))
    parts.append(text((x.start + x.end) / 2, y.start + 36, x_title, "title", "middle"))
    parts.append(text(0, 11, y_title, "title"))
    return element("g", join(parts), class_="frame", aria_hidden="true")
