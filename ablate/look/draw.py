"""The figures: each takes rows and gives a matplotlib figure back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.look.gates import CONSTANT
from ablate.look.rows import (
    Array,
    AttentionRow,
    BranchRow,
    ChangeRow,
    GateRow,
    LayerRow,
    Look,
    TrialLook,
)
from ablate.look.thumbs import unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 0.86  # inches
_GAP = 0.08  # of a cell
_LABEL = 2.3  # cells
STYLE: dict[str, Any] = {
    "svg.hashsalt": "ablate",  # ids in the SVG are random without it
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a $ in a name is a $
}


class _Grid:
    """A grid of pictures on one pair of axes, each row labelled on its left, each column at its top."""

    def __init__(self, title: str, note: str, lines: int, columns: int) -> None:
        width, height = (columns + _LABEL) * _CELL, (lines + 1.15) * _CELL
        self.figure = _figure(max(width, 6.4), height)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(-_LABEL, max(columns, 6.4 / _CELL - _LABEL)), ylim=(lines + 0.1, -1.05))
        self.axes.set_aspect("equal", anchor="NW")
        self.axes.axis("off")
        self.axes.text(-_LABEL + 0.1, -0.88, title, weight="bold", va="center", fontsize=9)
        self.axes.text(-_LABEL + 0.1, -0.62, note, va="center", color="#555555", fontsize=7)

    def column(self, at: int, text: str) -> None:
        self.axes.text(at + 0.5 - _GAP / 2, -0.08, _wrapped(text, 15), ha="center", va="bottom", fontsize=7)

    def row(self, at: int, text: str, *, wrong: bool = False) -> None:
        colour = "#B33A00" if wrong else "#222222"
        self.axes.text(-0.12, at + 0.46, text, ha="right", va="center", fontsize=7, color=colour)

    def photo(self, row: int, column: int, pixels: Any) -> None:
        shown = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
        self.axes.imshow(shown, extent=_cell(row, column), interpolation="nearest")

    def map(self, row: int, column: int, values: Array, low: float, high: float) -> None:
        """low and high: the ends of the colours."""
        ends = (low, high) if high > low else (low - 0.5, low + 0.5)
        self.axes.imshow(
            values,
            extent=_cell(row, column),
            interpolation="nearest",
            cmap="viridis",
            vmin=ends[0],
            vmax=ends[1],
        )

    def heat(self, row: int, column: int, pixels: Any, values: Array) -> None:
        """values: 0..1, laid over the photograph; the lower, the more transparent."""
        self.photo(row, column, pixels)
        self.axes.imshow(
            values,
            extent=_cell(row, column),
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=np.clip(values, 0, 1) * 0.85,
            interpolation="bilinear",
        )

    def tag(self, row: int, column: int, text: str, *, bottom: bool = False, wrong: bool = False) -> None:
        """A few words on a picture."""
        self.axes.text(
            column + 0.04,
            row + (0.84 if bottom else 0.08),
            text,
            color="white",
            fontsize=5.5,
            va="center",
            bbox={"facecolor": "#B33A00" if wrong else "#000000", "alpha": 0.6, "pad": 0.8, "linewidth": 0},
        )

    def dot(self, row: int, column: int, across: float, down: float) -> None:
        left, right, bottom, top = _cell(row, column)
        self.axes.plot(
            [left + across * (right - left)],
            [top + down * (bottom - top)],
            "o",
            markersize=3.5,
            color="#D55E00",
            markeredgecolor="white",
            markeredgewidth=0.6,
        )


def _figure(width: float, height: float, layout: str | None = None) -> Figure:
    """Without pyplot: no display is sought, and no figure outlives its drawing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _cell(row: int, column: int) -> tuple[float, float, float, float]:
    return column, column + 1 - _GAP, row + 1 - _GAP, row


def _wrapped(text: str, width: int) -> str:
    import textwrap

    lines = (line for part in text.split("\n") for line in textwrap.wrap(part, width))
    return "\n".join(list(lines)[:3])


def _with_photos(look: Look, trial: TrialLook, title: str, note: str, columns: int) -> _Grid:
    """A grid with a row an image, its photograph first."""
    grid = _Grid(title, note, len(look.images), columns + 1)
    grid.column(0, "image")
    for row, image in enumerate(look.images):
        wrong = trial.predictions[row].predicted != image.label
        grid.row(row, look.title_of(trial, row), wrong=wrong)
        grid.photo(row, 0, image.pixels)
    return grid


def draw_features(look: Look, trial: TrialLook, layer: LayerRow) -> Figure:
    """Image × channel of one layer."""
    size = "×".join(map(str, layer.shape))
    grid = _with_photos(
        look,
        trial,
        f"{layer.layer} of {trial.name}",
        f"{size}; the {len(layer.channels)} channels with the largest mean |value|; each has one colour "
        "scale, from its lowest to its highest value here",
        len(layer.channels),
    )
    for column, channel in enumerate(layer.channels):
        grid.column(column + 1, f"channel {channel}")
        values = layer.maps[:, column]
        for row in range(len(look.images)):
            grid.map(row, column + 1, values[row], float(values.min()), float(values.max()))
    return grid.figure


def draw_top_channels(look: Look, trial: TrialLook, layer: LayerRow) -> Figure:
    """The channels that respond most to each image, as heat over it."""
    count = layer.top.shape[1]
    grid = _with_photos(
        look,
        trial,
        f"{layer.layer} of {trial.name}: the {count} channels that respond most",
        "by mean |value| over the positions; heat from the channel's lowest to its highest value there",
        count,
    )
    for column in range(count):
        grid.column(column + 1, f"no. {column + 1}")
        for row, image in enumerate(look.images):
            values = layer.top_maps[row, column]
            grid.heat(row, column + 1, image.pixels, unit(values, float(values.min()), float(values.max())))
            grid.tag(row, column + 1, str(layer.top[row, column]))
    return grid.figure


def draw_cam(look: Look, trials: Sequence[TrialLook]) -> Figure:
    """Class activation of several trials side by side: for the predicted class, and for the true one."""
    shown = [(trial, trial.cam) for trial in trials if trial.cam is not None]
    grid = _Grid(
        "Class activation (Grad-CAM), predicted and true class",
        "each map from 0 to its own highest value; on it the class and its probability",
        len(look.images),
        2 * len(shown) + 1,
    )
    grid.column(0, "image")
    for row, image in enumerate(look.images):
        grid.row(row, f"true {look.classes[image.label]}")
        grid.photo(row, 0, image.pixels)
    for number, (trial, cam) in enumerate(shown):
        for offset, what in ((1, "predicted"), (2, "true")):
            column = 2 * number + offset
            grid.column(column, f"{trial.variant} {trial.seed}\n{what}")
            for row, image in enumerate(look.images):
                said = trial.predictions[row]
                maps = cam.predicted if what == "predicted" else cam.true
                grid.heat(row, column, image.pixels, unit(maps[row], 0.0, float(maps[row].max())))
                if what == "predicted":
                    label, share = said.predicted, said.confidence
                else:
                    label, share = image.label, said.true_confidence
                text = f"{look.classes[label][:11]} {100 * share:.0f} %"
                grid.tag(row, column, text, bottom=True, wrong=label != image.label)
    return grid.figure


def draw_place(
    look: Look, trial: TrialLook, change: ChangeRow, gates: Sequence[GateRow], branches: BranchRow | None
) -> Figure:
    """One attention module over the images: what it changes, its gates with positions, its branches."""
    spatial = [(gate, gate.maps) for gate in gates if gate.maps is not None]
    names = branches.names if branches else ()
    grid = _with_photos(
        look,
        trial,
        f"attention at {change.place} of {trial.name}",
        "change: |output − input| / |input|; branches: mean |value| over the channels, all on one scale",
        1 + len(spatial) + len(names),
    )
    columns: list[tuple[str, Array, float, float]] = [("change", change.maps, 0.0, float(change.maps.max()))]
    for gate, maps in spatial:
        columns.append(
            (gate.label.removeprefix(f"{gate.place}, "), maps, float(maps.min()), float(maps.max()))
        )
    if branches is not None:
        high = float(branches.maps.max())
        columns += [(name, branches.maps[:, at], 0.0, high) for at, name in enumerate(names)]
    for at, (name, maps, low, high) in enumerate(columns, start=1):
        grid.column(at, f"{name}\n{low:.2g} to {high:.2g}")
        for row in range(len(look.images)):
            grid.map(row, at, maps[row], low, high)
    return grid.figure


def draw_attention(look: Look, trial: TrialLook, row: AttentionRow) -> Figure:
    """Where a few positions look, over each image."""
    part = f", along the {row.part}" if row.part else ""
    grid = _with_photos(
        look,
        trial,
        f"self-attention at {row.place}{part}, of {trial.name}",
        "where the position with the dot looks: the mean over the heads, from 0 to its highest value",
        len(row.queries),
    )
    height, width = row.maps.shape[2:]
    for column, (down, across) in enumerate(row.queries):
        grid.column(column + 1, f"row {down},\ncolumn {across}")
        for at, image in enumerate(look.images):
            values = row.maps[at, column]
            grid.heat(at, column + 1, image.pixels, unit(values, 0.0, float(values.max())))
            grid.dot(at, column + 1, (across + 0.5) / width, (down + 0.5) / height)
    return grid.figure


def draw_gates(look: Look, trial: TrialLook) -> Figure:
    """Weights of each channel gate over the sample, and its mean for each class."""
    gates = [gate for gate in trial.gates if gate.kind == "channel"]
    figure = _figure(7.6, 0.4 + 2.0 * len(gates), layout="constrained")
    panels = figure.subplots(len(gates), 2, squeeze=False, width_ratios=(1.25, 1))
    figure.suptitle(f"channel gates of {trial.name}", fontsize=9, weight="bold", x=0.01, ha="left")
    for (left, right), gate in zip(panels, gates, strict=True):
        _draw_weights(left, gate)
        _draw_classes(figure, right, gate, look.classes)
    return figure


def _draw_weights(axes: Axes, gate: GateRow) -> None:
    mean, std = gate.element_mean.ravel(), gate.element_std.ravel()
    order = np.argsort(-mean, kind="stable")
    across = np.arange(len(mean))
    axes.fill_between(across, (mean - std)[order], (mean + std)[order], color="#0072B2", alpha=0.25, lw=0)
    axes.plot(across, mean[order], color="#0072B2", lw=1.3)
    shape = "×".join(map(str, (side for side in gate.shape if side > 1))) or "1"
    axes.set_title(f"{gate.label} ({shape}): {gate.verdict}", loc="left")
    axes.set(
        xlabel="channels, by their mean", ylabel="gate: mean ± sd", ylim=(0, max(1.0, float(mean.max())))
    )
    axes.set_xlabel(f"channels, by their mean; sd over {gate.figures.images} images", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", color="#E4E4E4", lw=0.7)


def _draw_classes(figure: Figure, axes: Axes, gate: GateRow, classes: Sequence[str]) -> None:
    apart, high = class_contrast(gate)
    order = np.argsort(-gate.element_mean.ravel(), kind="stable")
    drawn = axes.imshow(
        apart[:, order], aspect="auto", cmap="RdBu_r", vmin=-high, vmax=high, interpolation="nearest"
    )
    few = len(classes) <= 20
    axes.set_yticks(range(len(classes)) if few else [], classes if few else [], fontsize=6)
    axes.set_xlabel("channels, in the same order", fontsize=7)
    axes.set_title("mean of a class − mean", loc="left")
    axes.tick_params(labelsize=6)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02).ax.tick_params(labelsize=6)


def class_contrast(gate: GateRow) -> tuple[Array, float]:
    """(classes, elements), the mean gate of a class minus the mean of classes, and the end of its colours.

    That is no less than what counts as constant: rounding is no picture.
    """
    means = gate.class_means.reshape(len(gate.class_means), -1)
    apart = means - np.nanmean(means, axis=0)
    return apart, max(float(np.nanmax(np.abs(apart))), CONSTANT * abs(gate.figures.mean), 1e-9)
