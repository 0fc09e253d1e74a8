"""Results: a table to print, to save for the documentation, and to hold against limits."""

import csv
from pathlib import Path

import attrs


@attrs.frozen
class Bars:
    """One bar in each group of a chart, and the floor that it cannot fall below.

    Attributes:
        label: what the bars show.
        values: how high each is; not a number where a group has none.
        floors: the floor of each; empty if there are none.
    """

    label: str
    values: tuple[float, ...]
    floors: tuple[float, ...] = ()


@attrs.frozen
class Chart:
    """Groups of bars.

    Attributes:
        groups: what each group is of.
        group_label: what the groups are.
        value_label: what is shown of them, and its unit.
        bars: the bars of all groups.
        is_logarithmic: whether to show values that are orders of magnitude apart.
    """

    groups: tuple[str, ...]
    group_label: str
    value_label: str
    bars: tuple[Bars, ...]
    is_logarithmic: bool = False


@attrs.frozen
class Curve:
    """One line of a plot.

    Attributes:
        label: what it shows, and its unit.
        values: one for each place; not a number where there is none.
    """

    label: str
    values: tuple[float, ...]


@attrs.frozen
class Curves:
    """Lines over the same places.

    Attributes:
        places: where each value stands.
        place_label: what the places are.
        curves: the lines.
    """

    places: tuple[float, ...]
    place_label: str
    curves: tuple[Curve, ...]


@attrs.frozen
class Table:
    """What a benchmark found.

    Attributes:
        title: what was measured.
        columns: the head of each column; the first names the row.
        rows: the cells.
        notes: what one has to know to read it: the limits, what is computed and not measured.
        exceeded: one sentence for each limit that is exceeded.
        chart: the same to look at.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    exceeded: tuple[str, ...] = ()
    chart: Chart | Curves | None = None

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        formatted = [_format(line, widths) for line in lines]
        formatted.insert(1, "-" * len(formatted[0]))
        exceeded = [f"TOO MUCH: {sentence}" for sentence in self.exceeded]
        return "\n".join([self.title, "", *formatted, "", *self.notes, *exceeded])

    def save(self, path: Path) -> None:
        """Write the columns and rows as CSV."""
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([self.columns, *self.rows])


def _format(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *others = (
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others])
