"""What one side of a session receives: bytes, passed on as they come, and acknowledged. Sans-IO."""

from __future__ import annotations

from .._errors import RemoteProtocolError
from .byte_queue import Piece
from .frames import MIN_WINDOW, Kind, header
from .sink import Sink

# Shares of the sender's window: an acknowledgement is sent when so much has come since the last.
# Each costs both sides a packet. But on a long path the sender waits for one that comes late: so
# the smaller share suffices when the last one was sent TOLD_TIME ago.
TOLD_SHARE = 1 / 4
LATER_TOLD_SHARE = 1 / 32
TOLD_TIME = 0.005  # seconds


class Incoming:
    """The bytes that the other side sends.

    Args:
        sink: takes the bytes.

    Attributes:
        received: how many have come.
        to_acknowledge: how many bytes have come, where the end counts as one.
        is_closed: whether no more will come, and the other side takes none.
        is_pinged: whether the other side waits for an acknowledgement.
    """

    def __init__(self, sink: Sink) -> None:
        self.received: int = 0
        self.to_acknowledge: int = 0
        self.is_closed: bool = False
        self.is_pinged: bool = False
        self._sink = sink
        self._is_read = True
        self._window = MIN_WINDOW  # of the other side
        self._acknowledged = 0  # as the other side was told
        self._acknowledged_at = 0.0

    @property
    def is_acknowledged(self) -> bool:
        """Whether the other side was told of all that has been received."""
        return self._acknowledged == self.to_acknowledge

    def close(self) -> None:
        """Drop what comes from now on."""
        self._is_read = False

    # What is said over a path.

    def begin_path(self) -> None:
        """A path begins: its hello acknowledges what has come over the last ones."""
        self._acknowledged = self.received

    def has_news(self, now: float) -> bool:
        """Whether what came is worth an acknowledgement."""
        if self.is_pinged:
            return True
        behind = self.to_acknowledge - self._acknowledged
        if behind <= 0 or self.is_closed:
            return behind > 0
        is_later = now >= self._acknowledged_at + TOLD_TIME
        return behind >= (LATER_TOLD_SHARE if is_later else TOLD_SHARE) * self._window

    def add_news(self, pieces: list[Piece], now: float) -> None:
        """Acknowledge what came, if that is worth a packet."""
        if self.has_news(now):
            self.add_acknowledgement(pieces, now)

    def add_acknowledgement(self, pieces: list[Piece], now: float) -> None:
        """Acknowledge what came, even if that is nothing new."""
        self.is_pinged = False
        self._acknowledged = self.to_acknowledge
        self._acknowledged_at = now
        pieces.append(header(Kind.ACK, self.to_acknowledge))

    # What the other side says.

    def greeted(self, window: int) -> None:
        """The other side holds so many bytes that are not acknowledged, at most."""
        self._window = max(window, MIN_WINDOW)

    def announced(self, offset: int) -> None:
        """Bytes are going to come.

        Raises:
            RemoteProtocolError: they may not come now.
        """
        if offset > self.received:
            raise RemoteProtocolError(
                f"got bytes from offset {offset} on, where {self.received} was expected"
            )

    def get_buffer(self, offset: int, missing: int, size: int) -> memoryview:
        """Where to put bytes.

        Args:
            offset: the first one's.
            missing: how many were announced and have not come.
            size: how many are there, about, those of later frames included.
        """
        known = self.received - offset  # they have come over an earlier path
        if known > 0 or not self._is_read or self.is_closed:
            return memoryview(bytearray(min(missing, size, known if known > 0 else missing)))
        return self._sink.get_buffer(size)[:missing]

    def arrived(self, offset: int, count: int) -> None:
        """Take so many bytes that were put into the buffer, which is not held any more.

        Raises:
            RemoteProtocolError: they may not come now.
        """
        if offset < self.received:
            return
        if self.is_closed:
            raise RemoteProtocolError("got bytes behind their end")
        self.received = self.to_acknowledge = offset + count
        if self._is_read:
            self._sink.buffer_updated(count)

    def closed(self, offset: int) -> None:
        """The bytes end, and the other side takes no more.

        Raises:
            RemoteProtocolError: they have not come to there, or further.
        """
        if offset != self.received:
            raise RemoteProtocolError("got an end that is not where the bytes end")
        self.is_closed = True
        self.to_acknowledge = offset + 1
        self._acknowledged = min(self._acknowledged, self.received)  # even if it was said before
