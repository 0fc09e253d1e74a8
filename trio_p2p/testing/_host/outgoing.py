"""What one end of a simulated TCP connection has to send, and when to send it again. No I/O here.

Positions count from the SYN, which is byte 0, and do not wrap as sequence numbers do.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

SEND_BYTES: Final = 262_144  # that are taken before they are acknowledged
MAX_SEGMENT: Final = 32_768  # bytes; segments of a simulation need not fit into an Ethernet frame
# Seconds and counts, as Linux has them.
FIRST_RETRANSMISSION: Final = 1.0  # of a SYN (RFC 6298)
MIN_RETRANSMISSION: Final = 0.2
MAX_RETRANSMISSION: Final = 120.0
SYN_RETRIES: Final = 6
DATA_RETRIES: Final = 15


class Piece(NamedTuple):
    """Something to send.

    Attributes:
        position: of its first byte.
        data: its bytes, perhaps none.
        is_last: whether the end of the direction is behind them.
    """

    position: int
    data: bytes
    is_last: bool


class Outgoing:
    """One direction of a connection, beginning with the SYN.

    Attributes:
        acknowledged: the position that the other side waits for.
        sent: the position behind what need not be sent again.
        most_sent: the position behind all that was ever sent.
        round_trip: smoothed, in seconds; 0 if none was measured.
        user_timeout: for how many seconds bytes may wait for their acknowledgement.
        unsent_limit: how many bytes may be taken that the window has no room for.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.sent = self.most_sent = 1
        self.round_trip = 0.0
        self.user_timeout = math.inf
        self.unsent_limit = SEND_BYTES
        self._bytes = bytearray()
        self._base = 1  # the position of the first of them
        self._end: int | None = None
        self._limit = 0  # how far the other side's window reaches
        self._retries = 0  # since something was acknowledged
        self._unanswered = 0  # of them
        self._waiting_since = math.inf
        self._timed: tuple[int, float] | None = None  # a position, and when it was sent first

    @property
    def is_ending(self) -> bool:
        """Whether no more bytes are taken."""
        return self._end is not None

    @property
    def is_over(self) -> bool:
        """Whether the other side has acknowledged the end."""
        return self._end is not None and self.acknowledged > self._end

    @property
    def _behind(self) -> int:
        """The position behind all bytes."""
        return self._base + len(self._bytes)

    @property
    def room(self) -> int:
        """How many bytes are taken now."""
        unsent = self._behind - max(self.sent, self._base)
        return min(SEND_BYTES - len(self._bytes), self.unsent_limit - unsent)

    def put(self, data: bytes | memoryview) -> int:
        """Take bytes, as many as there is room for; how many."""
        taken = data[: self.room]
        self._bytes += taken
        return len(taken)

    def end(self) -> None:
        """Take no more."""
        if self._end is None:
            self._end = self._behind

    def acknowledge(self, position: int, window: int, now: float) -> bool:
        """The other side waits for a position, and has a window; whether that is news."""
        self._limit = max(self._limit, position + window)
        self._unanswered = 0
        is_news = position > self.acknowledged
        if is_news:
            self._advance(position, now)
        if not window:  # the other side is there, and does not read
            self._limit = self.sent = position
            self._waiting_since = math.inf
        return is_news

    def _advance(self, position: int, now: float) -> None:
        self.acknowledged = position
        self.sent = max(self.sent, position)
        delivered = min(position - self._base, len(self._bytes))
        if delivered > 0:
            del self._bytes[:delivered]
            self._base += delivered
        self._retries = 0
        self._waiting_since = now
        if self._timed is not None and position >= self._timed[0]:
            measured, before = now - self._timed[1], self.round_trip
            self.round_trip = before + (measured - before) / 8 if before else max(measured, 1e-6)
            self._timed = None

    def next_piece(self, now: float) -> Piece | None:
        """What to send now; None if there is nothing, or the other side has no room."""
        count = min(MAX_SEGMENT, self._behind - self.sent, self._limit - self.sent)
        if count <= 0 and self.sent != self._end:
            return None
        position, start = self.sent, self.sent - self._base
        data = bytes(self._bytes[start : start + count]) if count > 0 else b""
        is_last = self._end == position + len(data)
        self.sent += len(data) + is_last
        self.most_sent = max(self.most_sent, self.sent)
        self._timed = self._timed or (self.sent, now)
        return Piece(position, data, is_last)

    def begin(self, now: float) -> None:
        """The SYN was sent for the first time."""
        self._timed = 1, now

    def restart(self) -> None:
        """Count the retries of a SYN anew: it is another one."""
        self._retries = self._unanswered = 0

    def deadline(self, now: float, *, is_open: bool) -> float:
        """When to call :meth:`go_back`, if nothing is acknowledged before; inf for never."""
        last = self._behind + self.is_ending if is_open else 1
        if self.acknowledged >= last:
            self._waiting_since = math.inf
            return math.inf
        if self.sent > self.acknowledged:
            self._waiting_since = min(self._waiting_since, now)
        first = max(MIN_RETRANSMISSION, 3 * self.round_trip) if is_open else FIRST_RETRANSMISSION
        return now + min(first * (1 << min(self._retries, 16)), MAX_RETRANSMISSION)

    def go_back(self, now: float, *, is_open: bool) -> bool:
        """Send again what was not acknowledged; False if it is too late for that."""
        self._retries += 1
        self._unanswered += 1
        self._timed = None
        if now - self._waiting_since >= self.user_timeout:
            return False
        if is_open:
            self.sent = self.acknowledged
            self._limit = max(self._limit, self.acknowledged + 1)  # to probe a window that is shut
        return self._unanswered <= (DATA_RETRIES if is_open else SYN_RETRIES)
