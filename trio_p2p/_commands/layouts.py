"""The choice between layouts: that of rich where it is installed and of use, or plain text."""

from __future__ import annotations

import os
from typing import TextIO

from .layout import Layout
from .plain_layout import PlainLayout
from .terminal import columns_of


def layout_for(stream: TextIO | None) -> Layout:
    """The layout that suits a stream: by rich if it is a terminal that can show that."""
    columns = columns_of(stream)
    is_capable = (
        columns is not None
        and stream is not None
        and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        and stream.encoding.lower().replace("-", "") == "utf8"
    )
    if columns is None or not is_capable:
        return PlainLayout(columns)
    try:
        from .rich_layout import RichLayout  # noqa: PLC0415 - an extra, and takes a while to load
    except ImportError:
        return PlainLayout(columns)
    return RichLayout(columns)
