"""Names beside the points of a scatter plot, where they hide neither a point nor one another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

_RADII = (8, 14, 22, 32, 44, 58, 74, 92)  # points (1/72 inch) from the marker to the near end of its name
_ANGLES = (0, 180, 35, -35, 145, -145, 70, -70, 110, -110)
_FONT_SIZE = 7

Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


def label_points(
    axes: Any, points: Sequence[tuple[float, float, str]], others: Sequence[tuple[float, float]] = ()
) -> None:
    """Name every point (x, y, name), the nearest free place first, the highest point first.

    A name that finds no free place stands at its first one, over whatever is there. others: points without a
    name, (x, y), which no name hides either.
    """
    axes.figure.get_layout_engine().execute(axes.figure)  # limits and layout, which the places depend on
    frame = axes.get_window_extent().extents
    marks = [tuple(axes.transData.transform((x, y))) for x, y, _ in points]
    crowd = [tuple(axes.transData.transform(other)) for other in others]
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in [*marks, *crowd]]
    for (x, y, name), mark in sorted(
        zip(points, marks, strict=True), key=lambda pair: (-pair[0][1], pair[0][0])
    ):
        size = _size(axes, name)
        places = list(_places(mark, size, axes.figure.dpi / 72))
        free = (place for place in places if _inside(place[1], frame) and _is_free(place[1], taken))
        (dx, dy), box = next(free, places[0])
        taken.append(box)
        _write(axes, (x, y), name, dx, dy)


def _places(
    mark: tuple[float, float], size: tuple[float, float], pixels: float
) -> Iterator[tuple[tuple[float, float], Box]]:
    """Offsets in points, with the box in pixels that a name would fill there."""
    width, height = size
    for radius, angle in itertools.product(_RADII, _ANGLES):
        dx, dy = radius * math.cos(math.radians(angle)), radius * math.sin(math.radians(angle))
        x, y = mark[0] + dx * pixels, mark[1] + dy * pixels
        left = x if dx > 0 else x - width
        yield (dx, dy), (left, y - height / 2, left + width, y + height / 2)


def _size(axes: Any, name: str) -> tuple[float, float]:
    probe = axes.text(0.5, 0.5, name, transform=axes.transAxes, fontsize=_FONT_SIZE)
    box = probe.get_window_extent()
    probe.remove()
    return float(box.width), float(box.height)


def _write(axes: Any, point: tuple[float, float], name: str, dx: float, dy: float) -> None:
    from matplotlib.patheffects import withStroke

    far = math.hypot(dx, dy) > _RADII[0] + 1
    note = axes.annotate(
        name,
        point,
        xytext=(dx, dy),
        textcoords="offset points",
        ha="left" if dx > 0 else "right",
        va="center_baseline",
        fontsize=_FONT_SIZE,
        path_effects=[withStroke(linewidth=2, foreground="white")],
        arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        if far
        else None,
        zorder=5,
    )
    note.set_in_layout(False)  # a name must not move the axes that it was placed in


def _inside(box: Box, frame: Sequence[float]) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    left, bottom, right, top = box
    return not any(left < x1 and x0 < right and bottom < y1 and y0 < top for x0, y0, x1, y1 in taken)
