"""What a session carries: one stream of bytes in each direction. Pure."""

from __future__ import annotations

from typing import Protocol

from .byte_queue import Piece
from .sink import Sink


class Content(Sink, Protocol):
    """The bytes that a session sends, which it asks for, and what takes those that it receives.

    Asking, instead of being told, leaves the choice of what goes next to the last moment.
    """

    @property
    def frames(self) -> int:
        """How many frames have come so far, each of which is work."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`pull` would return something, if there were room enough."""
        ...

    def pull(self, room: int) -> list[Piece]:
        """Take what is to be sent next, of at most so many bytes; nothing if that is too few."""
        ...
