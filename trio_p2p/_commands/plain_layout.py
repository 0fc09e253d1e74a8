"""Tables and progress in plain text, for any terminal, and for programs that read them."""

from __future__ import annotations

from collections.abc import Sequence

from .._files.tally import Tally
from .._stream.stream_path import StreamPath
from .layout import LOOKING_FOR_PATH, Column, Tone, amount_text, pace_texts, percent_of
from .terminal import fitted, harmless


class PlainLayout:
    """Text without a character that a terminal would obey.

    Args:
        columns: those of the terminal; None where there is none, and lines may be long.
    """

    def __init__(self, columns: int | None = None) -> None:
        self._columns = columns

    def title(self, text: str) -> str:
        """The text as it is."""
        return fitted(harmless(text), self._columns)

    def header(self, columns: Sequence[Column]) -> list[str]:  # noqa: ARG002 - as all layouts
        """Nothing: a program that reads rows need not skip one."""
        return []

    def row(
        self,
        columns: Sequence[Column],
        cells: Sequence[str],
        tone: Tone = Tone.NEUTRAL,  # noqa: ARG002 - there are no colours
    ) -> str:
        """Cells with two spaces in between; a long last one goes on below itself."""
        *padded, last = (_padded(*pair) for pair in zip(columns, cells, strict=True))
        before = "".join(f"{cell}  " for cell in padded)
        return fitted(before + last.rstrip(), self._columns, " " * len(before))

    def progress(self, tally: Tally, rate: float | None, path: StreamPath | None) -> str:
        """Percent, amounts, rate, time and path, with commas in between."""
        parts = [f"{percent_of(tally):3} %", amount_text(tally)]
        if tally.files > 1:
            parts.append(f"file {min(tally.files_done + 1, tally.files)} of {tally.files}")
        parts += pace_texts(tally, rate)
        parts.append(LOOKING_FOR_PATH if path is None else str(path.kind))
        line = ", ".join(parts)
        if self._columns is None:
            return line
        room = self._columns - 1
        return line[:room].ljust(room)  # over what stood there


def _padded(column: Column, cell: str) -> str:
    cell = harmless(cell)
    return cell.rjust(column.width) if column.is_number else cell.ljust(column.width)
