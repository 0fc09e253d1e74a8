"""What a session carries in its own tests: bytes to send, and bytes that came."""

from __future__ import annotations

import attrs

from trio_p2p._stream.byte_queue import Piece


@attrs.define
class PlainContent:
    """Bytes that wait until the session asks for them, and all that it has received.

    Attributes:
        unsent: what waits.
        least: with room for fewer bytes than these nothing is given, although something waits.
        pulled: how many bytes the session has got.
        received: what came.
        frames: how many, if it had any.
    """

    unsent: bytearray = attrs.field(factory=bytearray)
    least: int = 1
    pulled: int = 0
    received: bytearray = attrs.field(factory=bytearray)
    frames: int = 0
    _buffer: bytearray = attrs.field(factory=bytearray)

    def write(self, data: bytes) -> None:
        """Let bytes wait to be sent."""
        self.unsent += data

    @property
    def is_ready(self) -> bool:
        return bool(self.unsent)

    def pull(self, room: int) -> list[Piece]:
        if room < min(self.least, len(self.unsent)):
            return []
        data = bytes(self.unsent[:room])
        del self.unsent[:room]
        self.pulled += len(data)
        half = len(data) // 2
        return [piece for piece in (data[:half], data[half:]) if piece]

    def get_buffer(self, size: int, /) -> memoryview:
        self._buffer = bytearray(size)
        return memoryview(self._buffer)

    def buffer_updated(self, count: int, /) -> None:
        self.received += self._buffer[:count]
