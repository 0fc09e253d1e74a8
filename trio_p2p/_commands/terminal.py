"""What a terminal shows of a text: lines that fit, and no character that it would obey."""

from __future__ import annotations

import os
import textwrap
from functools import partial
from typing import TextIO

MAX_COLUMNS = 80  # of what people read, also where there is more room

_TIE = "\N{NO-BREAK SPACE}"
_LAYOUT = f"\n\t{_TIE}"  # characters that are not printable, and do no harm


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
    """A text as lines that a terminal shows whole.

    Words are not broken, nor what is :func:`tied`, so that a user can copy it.

    Args:
        text: a line, or several.
        columns: those of the terminal; if None, lines stay as they are, for programs.
        indent: what the second line and those below it begin with.
    """
    if columns is None:
        return text.replace(_TIE, " ")
    wrap = partial(
        textwrap.wrap,
        width=columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = text.split("\n")
    fitting = ("\n".join(wrap(line)) if len(line) > columns else line for line in lines)
    return "\n".join(fitting).replace(_TIE, " ")


def tied(text: str) -> str:
    """Words that :func:`fitted` leaves on one line, and has spaces in between."""
    return text.replace(" ", _TIE)
