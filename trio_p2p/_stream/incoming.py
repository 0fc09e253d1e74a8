"""What one side of a session receives: bytes, until they are read, and how many may come. Sans-IO.

The other side is told a limit, and never may send more than is going to be held.
"""

from __future__ import annotations

from .._errors import RemoteProtocolError
from .byte_queue import ByteQueue, Piece
from .frames import MIN_PIECE_BYTES, Kind, header

# Of its window, what has been received or read until the other side is told. To tell more often
# would cost both more, for each time is a packet. But on a long path each one that comes late
# leaves the sender waiting: so a smaller share suffices when the last time is a while ago.
TOLD_SHARE = 1 / 2
LATER_TOLD_SHARE = 1 / 16
TOLD_TIME = 0.005  # seconds


class Incoming:
    """The bytes that the other side sends.

    Args:
        window: how many of them to hold at most, at first. It grows if the path takes more.

    Attributes:
        window: how many to hold at most, now.
        received: how many have come.
        to_acknowledge: the same, but an end counts as a byte, and a close as two.
        has_ended: whether no more will.
        is_closed: whether the other side does not read any more, either.
    """

    def __init__(self, window: int) -> None:
        self.window: int = window
        self.received: int = 0
        self.to_acknowledge: int = 0
        self.has_ended: bool = False
        self.is_closed: bool = False
        self._inbox = ByteQueue()
        self._chunk = bytearray()  # where bytes are put as they come; then it joins the inbox
        self._filled = 0
        self._is_read = True
        self._acknowledged = 0  # as the other side was told
        self._given = window  # the highest limit that it was told
        self._given_at = 0.0
        self._given_at_growth = 0
        self._gives_again = False
        self._is_asked_for_limit = False  # by a sender that waits for one
        self._is_asked_for_ack = False

    @property
    def has_input(self) -> bool:
        """Whether :meth:`read` would return something."""
        return bool(self._inbox) or self._filled > 0 or self.has_ended

    @property
    def _held(self) -> int:
        """How many bytes wait to be read."""
        return len(self._inbox) + self._filled

    @property
    def is_acknowledged(self) -> bool:
        """Whether the other side was told of all that has been received."""
        return self._acknowledged == self.to_acknowledge

    def read(self, max_bytes: int) -> Piece | None:
        """Some of the bytes that came; empty at their end, None if there are none yet."""
        self._finish_chunk()
        if not self._inbox:
            return b"" if self.has_ended else None
        return self._inbox.take(max_bytes)

    def close(self) -> None:
        """Nobody is going to read it."""
        self._is_read = False
        self._finish_chunk()
        self._inbox.clear()

    # What is said over a path.

    def begin_path(self) -> None:
        """A path begins, and nobody knows what was said on the last one and did not arrive."""
        self._acknowledged = self.received
        self._gives_again = True

    def add_news(self, pieces: list[Piece], now: float) -> None:
        """Give a limit and acknowledge what came, each if it is worth a packet."""
        enough = self.window * TOLD_SHARE
        limit = self.received - self._held + self.window
        more = limit - self._given
        is_later = now >= self._given_at + TOLD_TIME
        is_piece = limit >= self.received + MIN_PIECE_BYTES or not self._held
        if gives := (
            self._gives_again
            or more >= enough
            or (self._is_asked_for_limit and more > 0 and is_piece)
            or (is_later and more >= self.window * LATER_TOLD_SHARE)
        ):
            self._gives_again = self._is_asked_for_limit = False
            self._given = max(self._given, limit)
            self._given_at = now
            pieces.append(header(Kind.LIMIT, self._given))
        behind = self.to_acknowledge - self._acknowledged
        has_news = behind > 0 and (gives or self.has_ended or self._is_asked_for_ack)
        self._is_asked_for_ack = False
        # Mostly together with a limit, but not only if nobody reads.
        if has_news or behind >= 2 * enough:
            self.add_acknowledgement(pieces)

    def add_acknowledgement(self, pieces: list[Piece]) -> None:
        """Acknowledge what came, even if that is nothing new."""
        self._acknowledged = self.to_acknowledge
        pieces.append(header(Kind.ACK, self.to_acknowledge))

    # What the other side says.

    def announced(self, offset: int, length: int) -> None:
        """Bytes of the stream are going to come.

        Raises:
            RemoteProtocolError: they may not come now.
        """
        if offset > self.received:
            raise RemoteProtocolError(
                f"got bytes from offset {offset} on, where {self.received} was expected"
            )
        if offset + length > self._given:
            raise RemoteProtocolError("got more bytes than the limit allows")

    def get_buffer(self, offset: int, missing: int, size: int) -> memoryview:
        """Where to put bytes of the stream.

        Args:
            offset: the first one's.
            missing: how many were announced and have not come.
            size: how many are there, about: no more memory is taken.
        """
        known = self.received - offset  # they have come over an earlier path
        if known > 0 or not self._is_read:
            return memoryview(bytearray(min(missing, size, known if known > 0 else missing)))
        if not self._filled and len(self._chunk) < size:
            self._chunk = bytearray(min(size, self._given - offset))
        return memoryview(self._chunk)[self._filled : self._filled + missing]

    def arrived(self, offset: int, count: int) -> None:
        """So many bytes have been put there, and nobody holds the buffer any more.

        Raises:
            RemoteProtocolError: they may not come now.
        """
        if offset < self.received:
            return
        if self.has_ended:
            raise RemoteProtocolError("got bytes behind the end of the stream")
        self.received = self.to_acknowledge = offset + count
        if self._is_read:
            self._filled += count
            if self._filled == len(self._chunk):
                self._finish_chunk()

    def _finish_chunk(self) -> None:
        if self._filled:
            del self._chunk[self._filled :]
            self._inbox.append(self._chunk)
            self._chunk = bytearray()
            self._filled = 0

    def ended(self, offset: int) -> None:
        """The bytes end.

        Raises:
            RemoteProtocolError: they have not come to there, or further.
        """
        if offset != self.received:
            raise RemoteProtocolError("got an end of the stream that is not where its bytes end")
        self.has_ended = True
        self.to_acknowledge = max(self.to_acknowledge, offset + 1)
        self._acknowledged = min(self._acknowledged, self.received)  # even if it was said before

    def closed(self, offset: int) -> None:
        """The bytes end, and the other side reads no more.

        Raises:
            RemoteProtocolError: they have not come to there, or further.
        """
        self.ended(offset)
        self.is_closed = True
        self.to_acknowledge = offset + 2

    def blocked(self, limit: int, capacity: int) -> None:
        """The other side waits, and is answered as soon as there is something to say.

        Args:
            limit: the limit that it has used up; 0 if it does not wait for another one.
            capacity: how large the window may become.
        """
        self._is_asked_for_limit = self._is_asked_for_ack = True
        # The window is too small for the path, if not the application is too slow. Grow once for
        # each time that the other side has used up what it was given since the last growth.
        if limit and limit >= self._given_at_growth and self._held < self.window // 4:
            self._given_at_growth = self._given + 1
            self.window = max(self.window, min(2 * self.window, capacity))
