"""How tables and progress look: what a layout has to be, and what it is asked to lay out.

A layout makes text, and writes none. What stands in cells may come from a peer, so a layout lets
nothing through that a terminal would obey, and takes no text for markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import attrs

from .._files.tally import Tally
from .._stream.stream_path import PathKind, StreamPath
from .amounts import size_text, time_text

LOOKING_FOR_PATH = "looking for a path"


class Tone(Enum):
    """What a cell means for the user, which colours can show."""

    NEUTRAL = "neutral"
    GOOD = "good"
    FAIR = "fair"
    BAD = "bad"


def tone_of(path: StreamPath | None) -> Tone:
    """What a path means for the user."""
    if path is None:
        return Tone.BAD
    return Tone.GOOD if path.kind is PathKind.DIRECT else Tone.FAIR


@attrs.frozen
class Column:
    """A column of a table.

    Attributes:
        title: what stands above it where a table has a header.
        width: how many characters its cells have room for. The last column takes what is left.
        is_number: whether its cells are aligned on the right.
    """

    title: str = ""
    width: int = 0
    is_number: bool = False


class Layout(Protocol):
    """Makes lines of tables and of progress."""

    def title(self, text: str) -> str:
        """What stands above a section of a page."""
        ...

    def header(self, columns: Sequence[Column]) -> list[str]:
        """The lines above a table, or none."""
        ...

    def row(
        self, columns: Sequence[Column], cells: Sequence[str], tone: Tone = Tone.NEUTRAL
    ) -> str:
        """A row of a table.

        Args:
            columns: the columns.
            cells: what stands in each.
            tone: of the last cell.
        """
        ...

    def progress(self, tally: Tally, rate: float | None, path: StreamPath | None) -> str:
        """One line of how a transfer goes on, which hides all of an earlier one.

        Args:
            tally: how much of it is done.
            rate: bytes a second, or None if that is not known.
            path: what carries it now.
        """
        ...


def percent_of(tally: Tally) -> int:
    """How much of a transfer is done."""
    return 100 * (tally.size - tally.left) // tally.size if tally.size else 100


def amount_text(tally: Tally) -> str:
    """How much of a transfer is done, as an amount."""
    return f"{size_text(tally.size - tally.left)} of {size_text(tally.size)}"


def pace_texts(tally: Tally, rate: float | None) -> list[str]:
    """How fast a transfer is and how long it still takes, as far as that is known."""
    if rate is None:
        return []
    pace = [f"{size_text(rate)}/s"]
    return [*pace, f"{time_text(tally.left / rate)} left"] if rate >= 1 else pace


def table(layout: Layout, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """A whole table, whose columns become as wide as it takes; neutral in tone."""
    wide = widened(columns, rows)
    return "\n".join([*layout.header(wide), *(layout.row(wide, row) for row in rows)])


def widened(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[Column]:
    """Columns that have room for what stands in all rows."""
    return [
        attrs.evolve(column, width=max([column.width, *(len(row[number]) for row in rows)]))
        for number, column in enumerate(columns)
    ]
