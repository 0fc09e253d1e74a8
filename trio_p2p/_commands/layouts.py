"""The choice between layouts: that of rich where it is installed and of use, or plain text."""

from __future__ import annotations

from typing import TextIO

from .layout import Layout
from .plain_layout import PlainLayout
from .terminal import columns_of, obeys_escapes


def layout_for(stream: TextIO | None) -> Layout:
    """The layout that suits a stream: by rich if it is a terminal that can show that."""
    columns = columns_of(stream)
    if stream is None or columns is None or not obeys_escapes(stream) or not _shows_bars(stream):
        return PlainLayout(columns)
    try:
        from .rich_layout import RichLayout  # noqa: PLC0415 - an extra, and takes a while to load
    except ImportError:
        return PlainLayout(columns)
    return RichLayout(columns)


def _shows_bars(stream: TextIO) -> bool:
    return stream.encoding.lower().replace("-", "") == "utf8"
