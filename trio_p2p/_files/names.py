"""Which names files and folders may have that another peer has named. Pure.

A name is one component of a path, never a path. What is refused is what could lead out of a folder,
what a terminal would take as something else than text, what other systems keep for devices, and
what the tools keep for themselves. The side that gives files checks them by the same rules, so that
its user learns of it first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

MAX_NAME_BYTES = 255  # of most file systems
RESERVED_PREFIX = ".trio-p2p-"  # of files that are not complete

_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?: *\..*)?", re.DOTALL
)
_SLASHES = frozenset("/\\")
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Controls, halves of surrogate pairs, and separators of lines and paragraphs.
_NOT_TEXT = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Joiners, without which emoji and some scripts cannot be written; nothing else that is not seen.
_JOINERS = frozenset("\u200c\u200d")
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def check_name(value: Any) -> str:
    """Return the name if a file or folder may have it; else ValueError says what is wrong."""
    if not isinstance(value, str):
        raise ValueError("a name is text")
    for is_against, reason in _RULES:
        if is_against(value):
            raise ValueError(f"{value[:64]!a} {reason}")
    return value


def folded(name: str) -> str:
    """What is the same for names that are one and the same to some file systems."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_invisible(character: str) -> bool:
    is_format = unicodedata.category(character) == "Cf" and character not in _JOINERS
    return is_format or character in _BLANKS


_RULES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (
        lambda name: any(unicodedata.category(each) in _NOT_TEXT for each in name),
        "has characters that are no text: rename it",
    ),
    (lambda name: name in ("", ".", ".."), "is no name of a file"),
    (
        lambda name: not _SLASHES.isdisjoint(name),
        "has a slash or a backslash in it: rename it",
    ),
    (
        lambda name: not _DIRECTIONS.isdisjoint(name),
        "has characters that change the direction of text: rename it",
    ),
    (
        lambda name: any(map(_is_invisible, name)),
        "has characters that are not seen: rename it",
    ),
    (
        lambda name: len(name.encode()) > MAX_NAME_BYTES,
        f"is longer than {MAX_NAME_BYTES} bytes in UTF-8: rename it",
    ),
    (
        lambda name: name[-1] == "." or name[-1].isspace(),
        "ends with a dot or a space, which some systems leave out: rename it",
    ),
    (
        lambda name: _DEVICE.fullmatch(name.casefold()) is not None,
        "is the name of a device on some systems: rename it",
    ),
    (
        lambda name: folded(name).startswith(RESERVED_PREFIX),
        f"begins with {RESERVED_PREFIX!r}, as files do that have not come to their end",
    ),
)
"""What keeps a text from being a name, and what follows it in a sentence that refuses it."""
