"""What one side of a session sends: bytes, kept until acknowledged, and their end. Sans-IO.

Nothing is taken from the application beyond the other side's limit, or beyond what may be held.
"""

from __future__ import annotations

import math

from .._errors import RemoteProtocolError
from .byte_queue import ByteQueue, Piece
from .frames import MAX_PAYLOAD_BYTES, Kind, header

_ACKED_AS = {None: 0, Kind.EOF: 1, Kind.CLOSE: 2}  # bytes that an ending counts as


class Outgoing:
    """The bytes that this side sends.

    Args:
        capacity: see the attribute.
        limit: the offset that the other side takes them up to, until it says more.

    Attributes:
        capacity: how many bytes to hold at most.
        ending: what they end with, EOF or CLOSE; None if there may be more.
        ending_is_acked: whether the other side has got that.
        unacked_since: since when something has not been acknowledged; infinite if all has.
        acked: the offset up to which the other side has said that it has received everything.
        furthest: the offset up to which everything has been sent at least once, over any path.
    """

    def __init__(self, capacity: int, limit: int) -> None:
        self.ending: Kind | None = None
        self.ending_is_acked: bool = False
        self.unacked_since: float = math.inf
        self.furthest: int = 0
        self.capacity: int = capacity
        self._unsent = ByteQueue()
        self._unacked = ByteQueue()
        self.acked: int = 0  # the first byte in _unacked
        self._limit = self._window = limit
        self._blocked_at: tuple[int, int] | None = None  # limit and acknowledged, when it was said
        self._ending_is_sent = False
        self._is_wanted = True

    @property
    def sent(self) -> int:
        """The offset up to which everything is received or on the way."""
        return self.acked + len(self._unacked)

    @property
    def held(self) -> int:
        """How many bytes are held now."""
        return len(self._unsent) + len(self._unacked)

    @property
    def has_unsent(self) -> bool:
        """Whether :meth:`add_data` has to be called again."""
        return bool(self._unsent)

    @property
    def room(self) -> int:
        """How many bytes :meth:`write` would take now."""
        return max(0, min(self.capacity, self._limit - self.acked) - self.held)

    @property
    def _is_waiting(self) -> bool:
        """Whether the other side has not acknowledged everything."""
        has_bytes = bool(self._unacked or self._unsent)
        return has_bytes or (self.ending is not None and not self.ending_is_acked)

    def write(self, piece: Piece, now: float) -> None:
        """Take bytes; they must not be more than :attr:`room`."""
        assert self.ending is None
        assert piece
        self._unsent.append(piece)
        self.unacked_since = min(self.unacked_since, now)

    def end(self, ending: Kind, now: float) -> None:
        """There is nothing more to send."""
        if self.ending is not ending and self._is_wanted:
            self._ending_is_sent = self.ending_is_acked = False
            self.unacked_since = min(self.unacked_since, now)
        self.ending = ending

    def is_all_sent(self, *, is_flowing: bool) -> bool:
        """Whether it was closed and nothing is left to send, except for the close.

        Args:
            is_flowing: whether what was sent and not acknowledged may still arrive.
        """
        has_rest = self._unsent or (self._unacked and not is_flowing)
        return self.ending is Kind.CLOSE and not has_rest

    def forget(self) -> None:
        """Nothing is going to be sent any more."""
        self._unsent.clear()
        self._unacked.clear()

    # What is said over a path.

    def begin_path(self, now: float) -> None:
        """A path begins, and nobody knows what was said on the last one and did not arrive."""
        if self.unacked_since != math.inf:
            self.unacked_since = now
        self._blocked_at = None

    def send_again_from(self, received: int) -> None:
        """All up to an offset is received; whatever was sent beyond it has to be sent again."""
        if not self._is_wanted:
            return  # nothing has
        self._acknowledge(received)
        self._unsent.put_back(self._unacked)
        self._ending_is_sent = False
        if not self._is_waiting:  # so that the other side owes no acknowledgement
            self.unacked_since = math.inf

    def add_blocked(self, pieces: list[Piece]) -> None:
        """Say that the application waits for room, once until something has changed.

        The other side then answers at once, and not when it finds that worth a packet.
        """
        standing = self._limit, self.acked
        if not self._unsent and self._blocked_at != standing:
            self._blocked_at = standing
            # More than may be held here is of no use.
            pieces.append(header(Kind.BLOCKED, self._limit if self._window < self.capacity else 0))

    def add_data(self, pieces: list[Piece]) -> None:
        """Send what comes next."""
        if self._unsent:
            offset = self.sent
            piece = bytes(self._unsent.take(MAX_PAYLOAD_BYTES))  # which nobody extends
            self._unacked.append(piece)
            self.furthest = max(self.furthest, self.sent)
            pieces += (header(Kind.DATA, offset, len(piece)), piece)
        if self.ending is not None and not self._ending_is_sent and not self._unsent:
            self._ending_is_sent = True
            pieces.append(header(self.ending, self.sent))

    # What the other side says of it.

    def acknowledged(self, received: int, now: float) -> bool:
        """So much is received, endings included; whether the end is with it.

        Raises:
            RemoteProtocolError: that was not sent.
        """
        if received > self.furthest + _ACKED_AS[self.ending]:
            raise RemoteProtocolError("got an acknowledgement of what was not sent")
        taken = self.sent + len(self._unsent)
        is_end = self.ending is not None and received == taken + _ACKED_AS[self.ending]
        self.ending_is_acked |= is_end
        self._acknowledge(min(received, taken))
        self._window = max(self._window, self._limit - self.acked)
        self.unacked_since = now if self._is_waiting else math.inf
        return is_end

    def limited(self, limit: int) -> None:
        """Bytes up to an offset may be sent."""
        self._limit = max(self._limit, limit)

    def unwanted(self) -> None:
        """The other side has closed: nobody is going to read it."""
        self._is_wanted = False
        self.acked = self.sent
        self.forget()
        self._ending_is_sent = self.ending_is_acked = True
        self.unacked_since = math.inf

    def _acknowledge(self, received: int) -> None:
        if received > self.acked:  # else it is older than one on the last path
            new = received - self.acked
            sent_again = min(new, len(self._unacked))
            self._unacked.drop(sent_again)
            self._unsent.drop(new - sent_again)  # it came over the last path after all
            self.acked = received
