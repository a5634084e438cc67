"""How far a gate is from constant: figures over many test images, and what they say in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.look.rows import Array, GateFigures

CONSTANT = 0.01
"""A gate whose root-mean-square variation is under this share of its mean counts as constant: put its mean in
its place, and what it scales is off by less than a hundredth. How many predictions that changes is measured
beside it."""


def kind_of(shape: Sequence[int]) -> str:
    """channel, spatial or both, from the shape of a gate for one image: (…, H, W), 1 where it broadcasts."""
    positions = math.prod(shape[-2:])
    if positions == 1:
        return "channel"
    return "spatial" if math.prod(shape[:-2]) == 1 else "both"


def over_images(values: NDArray[np.floating]) -> float:
    """As `GateFigures` has it. values: the gate of N images, (N, …)."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    return float(np.sqrt(flat.var(axis=0).mean())) / (abs(float(flat.mean())) or 1.0)


def gate_figures(
    values: Array, labels: NDArray[np.int64], *, start: Array | None = None, changed: int | None = None
) -> GateFigures:
    """values: the gate of N images, (N, …). labels: their classes. start: what the weights at the start of
    training give for the same maps. changed: as `GateFigures` has it."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    mean = float(flat.mean())
    scale = abs(mean) or 1.0
    means = flat.mean(axis=0)
    from_start = None
    if start is not None:
        apart = start.reshape(len(values), -1).astype(np.float64) - flat
        from_start = float(np.sqrt((apart**2).mean())) / scale
    share, by_chance = _between_classes(flat, labels)
    return GateFigures(
        images=len(values),
        mean=mean,
        low=float(flat.min()),
        high=float(flat.max()),
        over_images=over_images(flat),
        over_elements=float(means.std()) / scale,
        between_classes=share,
        by_chance=by_chance,
        from_start=from_start,
        changed=changed,
    )


def _between_classes(
    flat: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """Share of the variance over images between the classes (η²), and its mean if classes meant nothing,
    (k − 1)/(N − 1) for k classes."""
    present = np.unique(labels)
    total = float(((flat - flat.mean(axis=0)) ** 2).sum())
    if len(present) < 2 or len(flat) <= len(present) or total <= 1e-12 * max(float((flat**2).sum()), 1e-300):
        return None, None
    between = 0.0
    for label in present:
        own = flat[labels == label]
        between += len(own) * float(((own.mean(axis=0) - flat.mean(axis=0)) ** 2).sum())
    return between / total, (len(present) - 1) / (len(flat) - 1)


def class_means(values: Array, labels: NDArray[np.int64], classes: int) -> Array:
    """(classes, …): the mean gate of each class, NaN where none of the images is of it."""
    found = np.full((classes, *values.shape[1:]), np.nan, np.float32)
    for label in np.unique(labels):
        found[label] = values[labels == label].mean(axis=0)
    return found


def verdict(figures: GateFigures, kind: str, *, static: bool = False) -> tuple[str, str]:
    """(verdict, sentence), as `GateRow` has them. static: it cannot depend on its image."""
    over = {"channel": "channels", "spatial": "positions", "both": "channels and positions"}[kind]
    varies = f"{_percent(figures.over_images)} of its mean {figures.mean:.3f} over {figures.images} images"
    under = f"under {100 * CONSTANT:g} % counts as constant"
    as_drawn = figures.from_start is not None and figures.from_start < CONSTANT
    fixed = f"{_percent(figures.over_elements)} over the {over}"
    if static:
        if as_drawn:
            return "as it began", f"learned nothing: still the {figures.mean:.3f} that it began with"
        return "static", f"static: the same for every image, as it was built; it varies by {fixed}"
    if figures.over_images < CONSTANT and figures.over_elements < CONSTANT:
        began = ", as before training" if as_drawn else ""
        return "constant", (
            f"learned nothing: {figures.mean:.3f} everywhere{began}; it varies by {varies} and by {fixed} "
            f"({under})"
        )
    if as_drawn:
        return "as it began", (
            "learned nothing: on the same maps the weights that it began with give the same gate to within "
            f"{_percent(figures.from_start or 0)} of its mean ({under}); it varies by {varies}"
        )
    if figures.over_images < CONSTANT:
        return "the same for every image", (
            f"does not look at its image: it varies by {varies} ({under}), but by {fixed}: a fixed weighting"
        )
    return (
        "depends on its image",
        f"depends on its image: it varies by {varies}, and by {fixed}{_consequences(figures)}",
    )


def _consequences(figures: GateFigures) -> str:
    said = ""
    if figures.between_classes is not None and figures.by_chance is not None:
        said += (
            f"; {_percent(figures.between_classes)} of its variance over images lies between classes "
            f"({_percent(figures.by_chance)} by chance)"
        )
    if figures.changed is not None:
        said += f"; with its mean in its place {figures.changed} of {figures.images} predictions change"
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
