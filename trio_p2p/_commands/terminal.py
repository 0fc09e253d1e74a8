"""What a terminal shows of a text: lines that fit, and no character that it would obey."""

from __future__ import annotations

import os
import textwrap
from functools import partial
from typing import TextIO

MAX_COLUMNS = 80  # of what people read, also where there is more room

_LAYOUT = "\n\t"  # characters that a text of several lines may have


def columns_of(stream: TextIO | None) -> int | None:
    """How many columns of a stream's terminal to write to; None if it is no terminal."""
    if stream is None or not stream.isatty():
        return None
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # ValueError: a stream that was replaced by one without a file
        columns = 0
    return min(columns or MAX_COLUMNS, MAX_COLUMNS)


def harmless(text: str) -> str:
    """A text without what moves the cursor, changes colours or the direction, or worse."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in _LAYOUT else "\N{REPLACEMENT CHARACTER}"
        for each in text
    )


def fitted(text: str, columns: int | None, indent: str = "  ") -> str:
    """A text as lines that a terminal shows whole. Words are not broken, so that they are copied.

    Args:
        text: a line, or several.
        columns: those of the terminal; if None, lines stay as they are, for programs.
        indent: what the second line and those below it begin with.
    """
    if columns is None:
        return text
    wrap = partial(
        textwrap.wrap,
        width=columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = text.split("\n")
    return "\n".join("\n".join(wrap(line)) if len(line) > columns else line for line in lines)
