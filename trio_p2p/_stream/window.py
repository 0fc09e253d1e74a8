"""How many bytes a session holds, and how its two directions share them. Pure."""

from __future__ import annotations

from typing import Final

import attrs

MIN_WINDOW: Final = 512 * 1024  # bytes: what each side may send before it has heard of the other
DEFAULT_WINDOW: Final = 8 * 1024 * 1024  # bytes that a stream holds
FIRST_WINDOW: Final = MIN_WINDOW // 2  # may be sent before the other side has said its limit
# Of the window, for either direction at least; the direction that needs it gets the rest.
RESERVED_SHARE: Final = 1 / 4


@attrs.frozen
class Window:
    """The bytes that a session may hold, of both directions.

    Attributes:
        size: how many.
    """

    size: int

    def beside(self, other: int) -> int:
        """How many bytes one direction may hold.

        Args:
            other: how many the other direction has.
        """
        return self.size - max(other, int(self.size * RESERVED_SHARE))
