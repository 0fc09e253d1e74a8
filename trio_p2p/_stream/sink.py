"""Where the bytes go that come over a path: decrypted straight to where they are kept. Pure."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """What takes the bytes that are received, each straight to where it belongs."""

    def get_buffer(self, size: int, /) -> memoryview:
        """Where to put the next bytes, of which there are about so many; empty to stop."""
        ...

    def buffer_updated(self, count: int, /) -> None:
        """Take so many bytes that were put into the buffer, which is not held any more."""
        ...
