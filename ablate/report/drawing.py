"""The drawings: each takes a plain table of `ablate.report.figures` and gives a matplotlib figure back."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from ablate.report.labels import label_points
from ablate.report.rows import SweepRows, VariantRow

if TYPE_CHECKING:
    import pandas as pd

# matplotlib's own annotations change from version to version.
Canvas: TypeAlias = Any
Axes: TypeAlias = Any

# From Okabe and Ito's palette, told apart by the colour-blind.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6B6B6B"
_COLOURS = {
    "better": GREEN,
    "better but within the margin": GREEN,
    "worse": VERMILION,
    "worse but within the margin": VERMILION,
    "equivalent": BLUE,
    "no-op": BLUE,
}
STYLE: dict[Any, Any] = {  # keys: names of rcParams
    "svg.hashsalt": "ablate",  # ids in the SVG are random without it
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "text.parse_math": False,  # a $ in a name is a $
    "savefig.dpi": 160,
}


def draw_accuracy(table: pd.DataFrame, baseline: str, note: str = "") -> Canvas:
    variants = list(dict.fromkeys(table["variant"]))
    canvas, axes = _canvas(6.4 + _beyond(variants, 50), 0.8 + 0.28 * len(variants), note)
    _seeds_and_mean(axes, table, variants)
    base = table.loc[table["variant"] == baseline, "mean"]
    if len(base):
        axes.axvline(base.iloc[0], color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
    axes.set(xlabel="Test accuracy, %", ylabel="")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    return canvas


def _seeds_and_mean(axes: Axes, table: pd.DataFrame, variants: list[str]) -> None:
    """Seeds as small dots, the mean and its interval below them; variants from top to bottom."""
    import seaborn as sns

    sns.stripplot(
        table,
        x="accuracy",
        y="variant",
        order=variants,
        jitter=False,
        color=ORANGE,
        size=4,
        alpha=0.75,
        ax=axes,
    )
    means = table.drop_duplicates("variant").set_index("variant").loc[variants]
    places = [place + 0.22 for place in range(len(variants))]
    _error_bars(axes, means["mean"], places, means, horizontal=True)


def draw_effects(table: pd.DataFrame, margin: float, note: str = "") -> Canvas:
    families = list(dict.fromkeys(table["family"]))
    width = 6.4 + _beyond(table["effect"], 40)
    canvas, axes = _canvas(width, 0.9 + 0.28 * (len(table) + len(families)), note)
    axes.axvspan(-margin, margin, color="#EFEFEF", zorder=0, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1, zorder=1)
    place, labels = 0, {}
    for family in families:
        axes.text(
            0.01, place, family, transform=axes.get_yaxis_transform(), va="center", fontsize=8, weight="bold"
        )
        for row in table[table["family"] == family].itertuples():
            place += 1
            labels[place] = str(row.effect)
            verdict = str(row.verdict)
            colour = _COLOURS.get(verdict, GREY)
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
            axes.plot([row.estimate], [place], "o", color=colour, markersize=5)
            axes.text(
                1.02,
                place,
                verdict,
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=8,
                color=colour,
            )
        place += 1
    axes.set_yticks(list(labels), list(labels.values()))
    axes.set_ylim(place - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="Effect on test accuracy, points")
    axes.grid(axis="x")
    return canvas


def draw_sweep(table: pd.DataFrame, sweep: SweepRows, baseline: VariantRow) -> Canvas:
    from matplotlib.transforms import ScaledTranslation

    levels = table.drop_duplicates("level")
    crowded = sum(levels["level"].str.len() + 2) > 70
    canvas, axes = _canvas(5.2, 3.2 + (_beyond(levels["level"], 8) if crowded else 0))
    log = sweep.numeric and _is_geometric(list(levels["value"]))
    if log:
        axes.set_xscale("log", base=2)
    axes.plot(
        table["value"], table["accuracy"], "o", color=ORANGE, markersize=4, alpha=0.75, linestyle="none"
    )
    # The mean stands a little to the right of its seeds, on any scale.
    beside = axes.transData + ScaledTranslation(6 / 72, 0, axes.figure.dpi_scale_trans)
    if sweep.numeric:
        axes.plot(levels["value"], levels["mean"], color=BLUE, linewidth=1, alpha=0.6, transform=beside)
    _error_bars(axes, levels["value"], levels["mean"], levels, horizontal=False, transform=beside)
    if baseline.accuracy is not None:
        axes.axhline(baseline.accuracy.mean, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
        axes.annotate(
            baseline.name,
            (1, baseline.accuracy.mean),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            color=GREY,
        )
    names = [
        f"{row.level}\n(start)" if row.variant == sweep.start else str(row.level)
        for row in levels.itertuples()
    ]
    axes.set_xticks(list(levels["value"]), names, rotation=90 if crowded else 0)
    axes.minorticks_off()
    if not sweep.numeric:
        axes.set_xlim(-0.5, float(levels["value"].max()) + 0.5)
    # What was shifted takes no part in matplotlib's own choice of limits.
    shown = table[["accuracy", "low", "high"]].stack()
    ends = [*shown, *([baseline.accuracy.mean] if baseline.accuracy else [])]
    room = 0.06 * (max(ends) - min(ends)) or 0.1
    axes.set_ylim(min(ends) - room, max(ends) + room)
    axes.set(xlabel=f"{sweep.name} ({sweep.setting})", ylabel="Test accuracy, %")
    axes.grid(axis="y")
    return canvas


def _is_geometric(values: list[float]) -> bool:
    """Positive, at least three, and spaced more evenly by ratio than by difference."""
    if len(values) < 3 or min(values) <= 0:
        return False
    ratios = [math.log(b / a) for a, b in itertools.pairwise(values)]
    steps = [b - a for a, b in itertools.pairwise(values)]
    return bool(max(ratios) / min(ratios) < max(steps) / min(steps))


def draw_cost(table: pd.DataFrame, cost: str, baseline: str, note: str = "") -> Canvas:
    """Intervals in both directions; a step line through the front by the means, hollow marks off it.

    Variants without a name in the figure are points, and no more.
    """
    canvas, axes = _canvas(6.4, 4.2, note)
    name, scale = _cost_axis(cost, float(table[cost].max()))
    front, crowd, table = table[table["on_front"]], table[~table["named"]], table[table["named"]]
    if len(crowd):
        axes.plot(crowd[cost] / scale, crowd["mean"], ".", color=GREY, alpha=0.5, markersize=4, zorder=1)
    places = table[cost] / scale
    looks = {"fmt": "none", "color": BLUE, "linewidth": 1, "alpha": 0.5, "zorder": 2}
    upright = [table["mean"] - table["low"], table["high"] - table["mean"]]
    across = [(table[cost] - table["cost_low"]) / scale, (table["cost_high"] - table[cost]) / scale]
    axes.errorbar(places, table["mean"], yerr=upright, xerr=across, **looks)
    axes.step(
        front[cost] / scale, front["mean"], where="post", color=GREEN, linewidth=1.2, alpha=0.8, zorder=1
    )
    for on_front, fill in ((True, BLUE), (False, "white")):
        at = table["on_front"] == on_front
        axes.plot(
            places[at],
            table.loc[at, "mean"],
            "o",
            color=BLUE,
            markerfacecolor=fill,
            markersize=4.5,
            zorder=3,
        )
    at = table["variant"] == baseline
    axes.plot(places[at], table.loc[at, "mean"], "o", color=GREY, markersize=7, zorder=4)
    axes.set(xlabel=name, ylabel="Test accuracy, %")
    axes.margins(x=0.18, y=0.1)
    axes.grid()
    around = list(zip(crowd[cost] / scale, crowd["mean"], strict=True))
    label_points(axes, list(zip(places, table["mean"], table["variant"], strict=True)), around)
    return canvas


def _cost_axis(cost: str, largest: float) -> tuple[str, float]:
    """What the axis is called, and what its figures are divided by."""
    if cost == "latency_ms":
        return "Latency of one image, ms", 1.0
    if cost == "peak_memory_bytes":
        return "Peak memory of a training step, MiB", 2.0**20
    name = {"param_count": "Parameters", "macs": "MACs of one image"}[cost]
    scale, unit = (1e6, "millions") if largest >= 1e6 else (1e3, "thousands")
    return f"{name}, {unit}", scale


def draw_curves(table: pd.DataFrame, baseline: str, note: str = "") -> Canvas:
    """A panel a variant, the baseline in grey behind it: mean over the seeds, band from lowest to highest."""
    from matplotlib.ticker import MaxNLocator

    variants = list(dict.fromkeys(table["variant"]))
    columns = min(5, len(variants))
    lines = math.ceil(len(variants) / columns)
    canvas, grid = _grid(lines, columns, 1.0 + 1.75 * columns, 0.5 + 1.45 * lines, note)
    by_epoch = table.groupby(["variant", "epoch"])["validation_accuracy"].agg(["mean", "min", "max"])
    for panel, variant in itertools.zip_longest(grid, variants):
        if variant is None:
            panel.remove()
            continue
        shown = {baseline: GREY, variant: GREY if variant == baseline else BLUE}
        for name, colour in shown.items():
            if name in by_epoch.index:
                rows = by_epoch.loc[name]
                panel.fill_between(rows.index, rows["min"], rows["max"], color=colour, alpha=0.2, linewidth=0)
                panel.plot(rows.index, rows["mean"], color=colour, linewidth=1.3)
        panel.set_title(variant, fontsize=8, y=1.0)
        panel.grid(axis="y")
        panel.xaxis.set_label_coords(0.5, 0)
        panel.yaxis.set_label_coords(0, 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _share_limits(grid[: len(variants)])
    canvas.supxlabel("Epoch", fontsize=9)
    canvas.supylabel("Validation accuracy, %", fontsize=9)
    return canvas


def _beyond(names: Iterable[str], letters: int) -> float:
    """Inches that the longest name takes beyond so many letters: without them no room is left for axes."""
    return 0.075 * max([0, *(len(name) - letters for name in names)])


def _canvas(width: float, height: float, note: str = "") -> tuple[Canvas, Axes]:
    canvas, grid = _grid(1, 1, width, height, note)
    return canvas, grid[0]


def _grid(lines: int, columns: int, width: float, height: float, note: str) -> tuple[Canvas, list[Axes]]:
    """Without pyplot: no display is sought, and no figure outlives its drawing.

    note: above the axes, what of the study the figure leaves out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    if note:
        canvas.suptitle(textwrap.fill(note, int(14 * width)), fontsize=8, color=GREY)
    axes = list(canvas.subplots(lines, columns, squeeze=False).flat)
    for panel in axes:
        panel.label_outer()
    return canvas, axes


def _share_limits(panels: list[Axes]) -> None:
    """Those of all data, everywhere. Panels that matplotlib ties together ask one another at every step, so
    that two hundred of them take minutes."""
    first, *others = panels
    for panel in others:
        first.update_datalim(panel.dataLim.get_points())
    limits = {"xlim": first.get_xlim(), "ylim": first.get_ylim()}
    for panel in panels:
        panel.set(**limits)


def _error_bars(axes: Axes, xs: Any, ys: Any, table: pd.DataFrame, *, horizontal: bool, **style: Any) -> None:
    """Means with their intervals; an unbounded interval draws none."""
    ends = [table["mean"] - table["low"], table["high"] - table["mean"]]
    looks = {"color": BLUE, "markersize": 4.5, "linewidth": 1.8, "zorder": 3} | style
    axes.errorbar(xs, ys, **{"xerr" if horizontal else "yerr": ends}, fmt="o", **looks)
