"""What one side of a session sends: bytes, kept until acknowledged, and their end. Sans-IO."""

from __future__ import annotations

import math

from .._errors import RemoteProtocolError
from .byte_queue import ByteQueue, Piece
from .frames import MAX_PAYLOAD_BYTES, Kind, header

_END_BYTES = 1  # an acknowledgement counts the end as one byte


class Outgoing:
    """The bytes that this side sends.

    Args:
        capacity: how many bytes to hold at most.

    Attributes:
        is_ended: whether there are no more to come.
        unacked_since: since when something has not been acknowledged; infinite if all has.
        acked: the offset up to which the other side has said that it has received everything.
        furthest: the offset up to which everything has been sent at least once, over any path.
        round_trip: seconds from the last question to its answer, or from a hello to the other
            side's; None if there was none yet.
    """

    def __init__(self, capacity: int) -> None:
        self.is_ended: bool = False
        self.unacked_since: float = math.inf
        self.acked: int = 0  # the first byte in _unacked
        self.furthest: int = 0
        self.round_trip: float | None = None
        self._capacity = capacity
        self._lost = ByteQueue()
        self._unacked = ByteQueue()
        self._end_is_sent = False
        self._is_wanted = True
        self._ack_wanted = 0  # up to where this side waits for it
        self._ack_asked = 0  # over this path
        self._ack_asked_at = math.inf

    @property
    def sent(self) -> int:
        """The offset up to which everything is received or on the way."""
        return self.acked + self._unacked.length

    @property
    def taken(self) -> int:
        """The offset up to which there are bytes."""
        return self.sent + self._lost.length

    @property
    def has_lost(self) -> bool:
        """Whether something is to be sent again."""
        return self._lost.length > 0

    @property
    def room(self) -> int:
        """How many bytes more it would hold now."""
        return max(0, self._capacity - self._lost.length - self._unacked.length)

    @property
    def _is_waiting(self) -> bool:
        """Whether the other side has not acknowledged everything."""
        return (
            self._unacked.length > 0 or self._lost.length > 0 or (self.is_ended and self._is_wanted)
        )

    def end(self, now: float) -> None:
        """End the bytes: there are no more to send."""
        if not self.is_ended and self._is_wanted:
            self.unacked_since = min(self.unacked_since, now)
        self.is_ended = True

    def is_all_sent(self, *, is_flowing: bool) -> bool:
        """Whether there is nothing left to send, except for the end.

        Args:
            is_flowing: whether what was sent and not acknowledged may still arrive.
        """
        has_rest = self._lost.length or (self._unacked.length and not is_flowing)
        return self.is_ended and not has_rest

    def forget(self) -> None:
        """Nothing is going to be sent any more."""
        self._lost.clear()
        self._unacked.clear()

    def want_acknowledgement(self) -> bool:
        """Ask the other side to acknowledge what was taken so far; whether that is news."""
        before, self._ack_wanted = self._ack_wanted, self.taken
        return self._ack_wanted > before

    @property
    def has_question(self) -> bool:
        """Whether an acknowledgement is wanted that was not asked for over this path."""
        return self._may_ask(self._ack_wanted)

    # What is said over a path.

    def begin_path(self, now: float) -> None:
        """A path begins, and nothing is known of what was said last and has not arrived."""
        if self.unacked_since != math.inf:
            self.unacked_since = now
        self._ack_asked = 0

    def send_again_from(self, received: int) -> None:
        """All up to an offset is received; what was sent beyond it has to be sent again."""
        if not self._is_wanted:
            return  # nothing has
        self._acknowledge(received)
        self._lost.put_back(self._unacked)
        self._end_is_sent = False
        if not self._is_waiting:  # so that the other side owes no acknowledgement
            self.unacked_since = math.inf

    def add_new(self, pieces: list[Piece], new: list[Piece], now: float) -> None:
        """Send what has not been sent yet, which must not be more than :attr:`room`."""
        if new:
            assert not self.is_ended
            self.unacked_since = min(self.unacked_since, now)
            self._add(pieces, new)

    def add_again(self, pieces: list[Piece]) -> None:
        """Send again some of what got lost with a path."""
        again, room = list[Piece](), MAX_PAYLOAD_BYTES
        while room and self._lost.length:
            again.append(self._lost.take(room))
            room -= len(again[-1])
        self._add(pieces, again)

    def _add(self, pieces: list[Piece], data: list[Piece]) -> None:
        offset = self.sent
        pieces.append(header(Kind.DATA, offset, sum(map(len, data))))
        for piece in data:
            fixed = bytes(piece)  # which no other reference extends
            self._unacked.append(fixed)
            pieces.append(fixed)
        self.furthest = max(self.furthest, self.sent)

    def add_end(self, pieces: list[Piece]) -> None:
        """Send the end, if it is next."""
        if self.is_ended and not (self._end_is_sent or self._lost.length):
            self._end_is_sent = True
            pieces.append(header(Kind.CLOSE, self.sent))

    def add_ping(self, pieces: list[Piece], now: float, *, is_blocked: bool) -> None:
        """Ask for an acknowledgement if this side waits for one, once until it has come.

        Args:
            pieces: what is going to be sent.
            now: the time in seconds.
            is_blocked: whether more is to be sent than there is room for.
        """
        wanted = self.sent if is_blocked else self._ack_wanted
        if not self._lost.length and self._may_ask(wanted):
            self._ack_asked = self.sent
            self._ack_asked_at = now
            pieces.append(header(Kind.PING, self.sent))

    # What the other side says of it.

    def acknowledged(self, received: int, now: float) -> bool:
        """So much is received, the end included; whether the end is with it.

        Raises:
            RemoteProtocolError: that was not sent.
        """
        end = _END_BYTES if self.is_ended else 0
        if received > self.furthest + end:
            raise RemoteProtocolError("got an acknowledgement of what was not sent")
        if received >= self._ack_asked > self.acked:
            self.round_trip = now - self._ack_asked_at
        taken = self.taken
        self._acknowledge(min(received, taken))
        is_end = self.is_ended and received == taken + _END_BYTES
        self.unacked_since = now if self._is_waiting and not is_end else math.inf
        return is_end

    def unwanted(self) -> None:
        """The other side has closed: it reads no more."""
        self._is_wanted = False
        self.acked = self.sent
        self.forget()
        self._end_is_sent = True
        self.unacked_since = math.inf

    def _may_ask(self, wanted: int) -> bool:
        return wanted > self.acked and wanted > self._ack_asked

    def _acknowledge(self, received: int) -> None:
        if received > self.acked:  # else it is older than one on the last path
            new = received - self.acked
            sent_again = min(new, self._unacked.length)
            self._unacked.drop(sent_again)
            self._lost.drop(new - sent_again)  # it came over the last path after all
            self.acked = received
