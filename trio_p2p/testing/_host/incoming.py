"""What comes to one end of a simulated TCP connection. No I/O here."""

from __future__ import annotations

from typing import Final

from .._internet.packets import FIN
from .outgoing import MAX_SEGMENT
from .segments import MODULUS, Segment, distance

RECEIVE_BYTES: Final = 262_144  # that are held before they are read


class Incoming:
    """One direction of a connection, beginning with the SYN of the other side.

    Attributes:
        isn: the other side's initial sequence number.
        position: the position that is waited for, counted from their SYN; 0 until that has come.
        has_ended: whether the other side has ended.
    """

    def __init__(self) -> None:
        self.isn = 0
        self.position = 0
        self.has_ended = False
        self._bytes = bytearray()

    def begin(self, isn: int) -> None:
        """Their SYN has come."""
        self.isn, self.position = isn, 1

    def __bool__(self) -> bool:
        """Whether there is something to read."""
        return bool(self._bytes)

    @property
    def window(self) -> int:
        """How many bytes are taken now."""
        return max(0, RECEIVE_BYTES - len(self._bytes))

    @property
    def acknowledgement(self) -> int:
        """The sequence number that is waited for."""
        return (self.isn + self.position) % MODULUS

    def is_next(self, segment: Segment) -> bool:
        """Whether a segment begins where is waited for."""
        return segment.sequence == self.acknowledgement

    def is_new(self, segment: Segment) -> bool:
        """Whether a segment brings what has not come yet, with nothing missing before."""
        ahead = distance(segment.sequence, self.acknowledgement)
        is_end = bool(segment.flags & FIN) and not self.has_ended
        return ahead <= 0 and (len(segment.data) > -ahead or is_end)

    def take(self, segment: Segment) -> None:
        """Take what is new in a segment, as far as there is room."""
        new = segment.data[-distance(segment.sequence, self.acknowledgement) :]
        taken = new[: self.window]
        self._bytes += taken
        self.position += len(taken)
        if segment.flags & FIN and len(taken) == len(new) and not self.has_ended:
            self.position += 1
            self.has_ended = True

    def read(self, most: int, *, keeps: bool) -> tuple[bytes, bool]:
        """Give bytes that have come, and say whether there is room again for the other side."""
        data = bytes(self._bytes[:most])
        was_full = self.window < 2 * MAX_SEGMENT
        if not keeps:
            del self._bytes[:most]
        return data, was_full and not keeps
