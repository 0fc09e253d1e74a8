"""What a connection may take of memory and time, and how many a peer may have. Pure."""

from __future__ import annotations

from typing import Final

import attrs

DEFAULT_WINDOW: Final = 8 * 1024 * 1024
DEFAULT_GRACE: Final = 60.0
# A program needs one connection, or two for a moment. But many programs may use one identity, such
# as the commands of a shell.
DEFAULT_CONNECTIONS: Final = 64


@attrs.frozen
class ConnectionLimits:
    """The limits of one connection.

    Attributes:
        window: how many bytes it holds that the other side has not acknowledged, at most; one
            stream holds no more that are not read, either.
        memory: how many bytes all its streams together hold that are not read, at most; more if
            this side itself opens more streams than fit, and reads none of them.
        streams: how many streams the other side may have open.
        grace: for how many seconds it waits for another path when it has lost one.
    """

    window: int
    memory: int
    streams: int
    grace: float
