"""Draws charts, where matplotlib is installed."""

import importlib.util
from pathlib import Path

from .tables import Chart

IS_AVAILABLE = importlib.util.find_spec("matplotlib") is not None
_GROUP_WIDTH = 0.8


def draw(chart: Chart, path: Path) -> None:
    """Write a chart as SVG."""
    import matplotlib as mpl  # noqa: PLC0415 - optional, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "the same names for the same chart"
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    width = _GROUP_WIDTH / len(chart.bars)
    for number, bars in enumerate(chart.bars):
        places = [group + number * width for group in range(len(chart.groups))]
        axes.bar(places, bars.values, width, label=bars.label)
        floor_label = "" if number else "floor"  # once is enough for the legend
        lefts = [place - width / 2 for place in places]
        rights = [place + width / 2 for place in places]
        axes.hlines(bars.floors, lefts, rights, colors="black", label=floor_label)
    middle = (_GROUP_WIDTH - width) / 2
    axes.set_xticks([group + middle for group in range(len(chart.groups))], chart.groups)
    axes.set_xlabel(chart.group_label)
    axes.set_ylabel(chart.value_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
