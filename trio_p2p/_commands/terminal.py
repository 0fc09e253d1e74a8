"""What a terminal shows of a text: lines that fit, and no character that it would obey."""

from __future__ import annotations

import os
import textwrap
import unicodedata
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


def obeys_escapes(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that can do more than show lines, by ``TERM``."""
    term = os.environ.get("TERM", "dumb")
    return columns_of(stream) is not None and term not in {"dumb", "unknown"}


def shows_colours(stream: TextIO | None) -> bool:
    """Whether to write colours to a stream: not if the user has set ``NO_COLOR``."""
    return obeys_escapes(stream) and not os.environ.get("NO_COLOR")


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


def ending_of(text: str, columns: int) -> str:
    """A text that has room in so many columns, without its beginning if need be."""
    if _width_of(text) <= columns:
        return text
    text = text[-columns:]  # which bounds what is done for a text of any length
    while _width_of(text) >= columns:
        text = text[1:]
    return f"…{text}"


def _width_of(text: str) -> int:
    """How many columns a terminal takes for a text."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) > 0 for each in text)


def tied(text: str) -> str:
    """Words that :func:`fitted` leaves on one line, and has spaces in between."""
    return text.replace(" ", _TIE)
