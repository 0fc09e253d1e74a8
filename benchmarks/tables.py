"""Results: a table to print, to save for the documentation, and to hold against limits."""

import csv
from pathlib import Path

import attrs


@attrs.frozen
class Bars:
    """One bar in each group of a chart, and the floor that it cannot fall below."""

    label: str
    values: tuple[float, ...]
    floors: tuple[float, ...]


@attrs.frozen
class Chart:
    """Groups of bars."""

    groups: tuple[str, ...]
    group_label: str
    value_label: str
    bars: tuple[Bars, ...]


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
    chart: Chart | None = None

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
