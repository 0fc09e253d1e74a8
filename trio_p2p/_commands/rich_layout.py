"""Tables and progress as rich shows them: with headers, colours, and a bar.

rich makes text here, and writes none: what writes to standard output and to standard error stays
the same, and copes with full disks, closed terminals and cancelling.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .._files.tally import Tally
from .._stream.stream_path import StreamPath
from .layout import (
    LOOKING_FOR_PATH,
    Column,
    Tone,
    amount_text,
    pace_texts,
    percent_of,
    tone_of,
)
from .terminal import harmless

_STYLES = {Tone.NEUTRAL: "", Tone.GOOD: "green", Tone.FAIR: "yellow", Tone.BAD: "red"}
_HEADER = "bold"
_ERASE = "\x1b[K"  # what stands behind the cursor
_MIN_BAR = 8  # columns; where there is less room there is no bar


class RichLayout:
    """Text for a terminal, of rich's making. ``NO_COLOR`` and the terminal's kind are rich's care.

    Args:
        columns: those of the terminal.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def title(self, text: str) -> str:
        """The text, bold."""
        return self._rendered(_text(text, _HEADER))

    def header(self, columns: Sequence[Column]) -> list[str]:
        """The titles of the columns, if they have any, bold."""
        titles = [column.title for column in columns]
        if not any(titles):
            return []
        return [self._rendered(_grid(columns, [_text(title, _HEADER) for title in titles]))]

    def row(
        self, columns: Sequence[Column], cells: Sequence[str], tone: Tone = Tone.NEUTRAL
    ) -> str:
        """Cells below the titles, the last one in the colour of its tone."""
        *others, last = cells
        shown = [*map(_text, others), _text(last, _STYLES[tone])]
        return self._rendered(_grid(columns, shown))

    def progress(self, tally: Tally, rate: float | None, path: StreamPath | None) -> str:
        """A bar, percent, amounts, files, rate, time and path."""
        parts = [_text(f"{percent_of(tally):3} %", _HEADER), _text(amount_text(tally))]
        if tally.files > 1:
            parts.append(_text(f"{min(tally.files_done + 1, tally.files)}/{tally.files}"))
        parts += map(_text, pace_texts(tally, rate))
        where = LOOKING_FOR_PATH if path is None else str(path.kind)
        parts.append(_text(where, _STYLES[tone_of(path)]))
        words = Text("  ").join(parts)
        room = self._columns - 1
        bar = room - words.cell_len - 1
        if bar < _MIN_BAR:
            words.truncate(room)
            return self._rendered(words) + _ERASE
        line = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        line.add_row(ProgressBar(100, percent_of(tally), width=bar), words)
        return self._rendered(line) + _ERASE

    def _rendered(self, renderable: RenderableType) -> str:
        """The lines of something, without those of blanks at their ends."""
        console = Console(
            file=io.StringIO(),
            force_terminal=True,
            width=self._columns,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )
        with console.capture() as capture:
            console.print(renderable)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _text(text: str, style: str = "") -> Text:
    """Text that is no markup."""
    return Text(harmless(text), style)


def _grid(columns: Sequence[Column], cells: Sequence[Text]) -> Table:
    """A row of a table that is shown row by row: all have the same widths."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    *others, _ = columns
    for column in others:
        grid.add_column(
            min_width=column.width, justify="right" if column.is_number else "left", no_wrap=True
        )
    grid.add_column(overflow="fold")
    grid.add_row(*cells)
    return grid
