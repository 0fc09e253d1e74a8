"""Draws charts, where matplotlib is installed."""

from __future__ import annotations

import importlib.util
import math
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from .tables import Chart, Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IS_AVAILABLE = importlib.util.find_spec("matplotlib") is not None
_GROUP_WIDTH = 0.8


def draw(chart: Chart | Curves, path: Path) -> None:
    """Write a chart as SVG."""
    import matplotlib as mpl  # noqa: PLC0415 - optional, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "the same names for the same chart"
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    if isinstance(chart, Curves):
        _draw_curves(axes, chart)
    else:
        _draw_bars(axes, chart)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_curves(axes: Axes, chart: Curves) -> None:
    for curve in chart.curves:
        axes.plot(chart.places, curve.values, marker="o", label=curve.label)
    axes.set_xlabel(chart.place_label)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _draw_bars(axes: Axes, chart: Chart) -> None:
    width = _GROUP_WIDTH / len(chart.bars)
    for number, bars in enumerate(chart.bars):
        places = [group + number * width for group in range(len(chart.groups))]
        axes.bar(places, bars.values, width, label=bars.label)
        if bars.floors:
            floor_label = "" if number else "floor"  # once is enough for the legend
            lefts = [place - width / 2 for place in places]
            rights = [place + width / 2 for place in places]
            axes.hlines(bars.floors, lefts, rights, colors="black", label=floor_label)
    middle = (_GROUP_WIDTH - width) / 2
    axes.set_xticks([group + middle for group in range(len(chart.groups))], chart.groups)
    if chart.is_logarithmic:
        _make_logarithmic(
            axes, min(filter(math.isfinite, chain(*(it.values for it in chart.bars))))
        )
    axes.set_xlabel(chart.group_label)
    axes.set_ylabel(chart.value_label)
    axes.legend(frameon=False, loc="upper left" if chart.is_logarithmic else "best")


def _make_logarithmic(axes: Axes, least: float) -> None:
    """Show values in powers of ten, from the one below a third of the least value."""
    axes.set_yscale("log")
    axes.set_ylim(bottom=10 ** math.floor(math.log10(least / 3)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
