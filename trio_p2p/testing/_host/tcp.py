"""One end of a simulated TCP connection (RFC 9293): segments in, segments out. No I/O here.

It does what peers behind NATs depend on: simultaneous opens, retransmissions, half-closed
connections, resets, windows. It leaves out what a network without congestion has no use for.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from typing import Final

from ..._net.os_errors import error_from
from .._internet.packets import ACK, FIN, RST, SYN, Endpoint
from .incoming import RECEIVE_BYTES, Incoming
from .outgoing import Outgoing
from .segments import MODULUS, Segment, distance
from .states import Kernel, State, nothing

# Seconds, as Linux has them.
ORPHAN_TIME: Final = 60.0  # that a closed end waits for the end of the other one
TIME_WAIT_TIME: Final = 60.0  # that it can tell the other one once more that both have ended


class Connection:
    """One end of a connection.

    Args:
        kernel: the host's.
        local: this end.
        remote: the other end.
        isn: the initial sequence number.

    Attributes:
        local, remote, isn: the same.
        state: how far it is.
        outgoing: what this end sends.
        incoming: what comes to it.
        timer: when to call :meth:`time_out`.
        on_change: called when it may have become readable or writable, or has failed.
    """

    def __init__(self, kernel: Kernel, local: Endpoint, remote: Endpoint, isn: int) -> None:
        self.local, self.remote, self.isn = local, remote, isn
        self.state = State.CLOSED
        self.outgoing = Outgoing()
        self.incoming = Incoming()
        self.timer = math.inf
        self.on_change: Callable[[], object] = nothing
        self._kernel = kernel
        self._error = 0
        self._has_ended_first = False  # this side
        self._is_orphan = False

    # What the application does

    def open(self, hops: int | None = None) -> None:
        """Send the first SYN."""
        self.state = State.SYN_SENT
        self.outgoing.begin(self._kernel.now())
        self._transmit_syn(hops)

    def answer(self, syn: Segment) -> None:
        """Answer the SYN of another host, as a listener does."""
        self.state = State.SYN_RECEIVED
        self.outgoing.begin(self._kernel.now())
        self.incoming.begin(syn.sequence)
        self._transmit_syn()

    def join(self, their_isn: int) -> None:
        """Be open already, to an end with an initial sequence number that is joined, too."""
        self.state = State.ESTABLISHED
        self.incoming.begin(their_isn)
        self.outgoing.acknowledge(1, RECEIVE_BYTES, self._kernel.now())

    @property
    def is_readable(self) -> bool:
        """Whether reading would not wait."""
        return bool(self.incoming) or self.incoming.has_ended or self.state.is_over

    @property
    def is_writable(self) -> bool:
        """Whether writing would not wait."""
        if self.state is State.ESTABLISHED:
            return self.outgoing.is_ending or self.outgoing.room > 0
        return self.state.is_over

    def write(self, data: bytes | memoryview) -> int:
        """Take bytes to send; how many.

        Raises:
            OSError: none are taken now, or none ever will be.
        """
        self._check()
        if self.state.is_over or self.outgoing.is_ending:
            raise error_from(errno.EPIPE)
        if self.state is not State.ESTABLISHED or self.outgoing.room <= 0:
            raise error_from(errno.EAGAIN)
        count = self.outgoing.put(data)
        self._push()
        return count

    def read(self, most: int, *, keeps: bool = False) -> bytes:
        """Give bytes that have come; none if the other side has ended.

        Raises:
            OSError: none have come yet, or the connection broke.
        """
        if not self.incoming:
            self._check()
            if self.is_readable:
                return b""
            raise error_from(errno.EAGAIN)
        data, has_room_again = self.incoming.read(most, keeps=keeps)
        if has_room_again and self.state is State.ESTABLISHED:
            self._transmit_ack()
        return data

    def take_error(self) -> int:
        """The errno of what went wrong, once; 0 if nothing did."""
        error, self._error = self._error, 0
        return error

    def shut_down(self) -> None:
        """End the direction to the other side, behind what was taken."""
        if self.state is State.ESTABLISHED:
            self.outgoing.end()
            self._push()

    def close(self) -> None:
        """Close this end; what was taken is delivered, unless something was left unread."""
        if self.state is State.ESTABLISHED and not self.incoming:
            self._is_orphan = True
            self.shut_down()
            self._end_if_over()
        elif self.state is not State.TIME_WAIT:
            self.abort()

    def abort(self) -> None:
        """Close this end at once, and reset the connection if there is one."""
        if self.state in (State.ESTABLISHED, State.SYN_RECEIVED):
            self._transmit(RST | ACK, self.outgoing.sent)
        self.fail(0)

    def fail(self, error: int) -> None:
        """The connection is over, by an errno, or because both sides have ended."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._error = error
            self.timer = math.inf
            self._kernel.forget(self)
            self.on_change()

    # What comes from the other side

    def take(self, segment: Segment) -> None:
        """Take a segment that has arrived."""
        if self.state is State.SYN_SENT:
            self._take_while_opening(segment)
        elif segment.flags & RST:
            if self.incoming.is_next(segment):
                self.fail(0 if self.state is State.TIME_WAIT else errno.ECONNRESET)
        elif self.state is State.TIME_WAIT:
            if segment.data or segment.flags & FIN:
                self._transmit_ack()
        elif segment.flags & SYN:
            self._take_other_syn(segment)
        elif segment.flags & ACK:
            self._acknowledge(segment)
            if self.state is State.ESTABLISHED:
                self._take_data(segment)

    def _take_while_opening(self, segment: Segment) -> None:
        is_answer = bool(segment.flags & ACK) and segment.acknowledgement == self._number(1)
        if segment.flags & RST:
            if is_answer:
                self.fail(errno.ECONNREFUSED)
        elif segment.flags & ACK and not is_answer:
            refusal = Segment(segment.acknowledgement, 0, RST, 0, b"")
            self._kernel.transmit(self, refusal, None)
        elif segment.flags & SYN:
            self.incoming.begin(segment.sequence)
            if is_answer:
                self._acknowledge(segment)
                self._transmit_ack()
            else:  # a simultaneous open
                self.state = State.SYN_RECEIVED
                self.outgoing.restart()
                self.timer = math.inf
                self._transmit_syn()

    def _take_other_syn(self, segment: Segment) -> None:
        """A SYN of the other side that is not its first: one that was sent again, or answers."""
        is_same = segment.sequence == self.incoming.isn
        if self.state is State.SYN_RECEIVED and is_same and not segment.flags & ACK:
            self._transmit_syn()
            return
        if is_same and segment.flags & ACK:
            self._acknowledge(segment)
        self._transmit_ack()

    def _acknowledge(self, segment: Segment) -> None:
        before, now = self.outgoing.acknowledged, self._kernel.now()
        position = before + distance(segment.acknowledgement, self._number(before))
        if not before <= position <= self.outgoing.most_sent:
            return
        is_news = self.outgoing.acknowledge(position, segment.window, now)
        if is_news:
            self.state = State.ESTABLISHED
            self.timer = math.inf
        self._push()
        if is_news:
            self.on_change()
            self._end_if_over()

    def _take_data(self, segment: Segment) -> None:
        if not segment.data and not segment.flags & FIN:
            return
        if not self.incoming.is_new(segment):
            self._transmit_ack()  # something is missing, or this came before
            return
        if segment.data and self._is_orphan:
            self.abort()
            return
        had_ended = self.incoming.has_ended
        self.incoming.take(segment)
        if self.incoming.has_ended > had_ended:
            self._has_ended_first = self.outgoing.is_ending
        self._transmit_ack()
        self.on_change()
        self._end_if_over()

    def _end_if_over(self) -> None:
        """Close the connection if nothing is to come and nothing is to be delivered."""
        if self.state is not State.ESTABLISHED or not self.outgoing.is_over:
            return
        if self.incoming.has_ended and not self._has_ended_first:
            self.fail(0)  # as the other side knows
        elif self.incoming.has_ended:
            self.state = State.TIME_WAIT
            self._wake_at(self._kernel.now() + TIME_WAIT_TIME)
            self.on_change()
        elif self._is_orphan:
            self._wake_at(self._kernel.now() + ORPHAN_TIME)

    def time_out(self) -> None:
        """The time of :attr:`timer` has come: send again, or give up."""
        self.timer = math.inf
        is_open = self.state is State.ESTABLISHED
        if self.outgoing.is_over:
            self.fail(0)  # the time to wait for the other side is over
        elif not self.outgoing.go_back(self._kernel.now(), is_open=is_open):
            self.fail(errno.ETIMEDOUT)
        elif is_open:
            self._push()
        else:
            self._transmit_syn()

    # What goes to the other side

    def _push(self) -> None:
        """Send what the other side has room for."""
        if self.state is State.ESTABLISHED:
            while (piece := self.outgoing.next_piece(self._kernel.now())) is not None:
                flags = ACK | FIN if piece.is_last else ACK
                self._transmit(flags, piece.position, piece.data)
            self._arm()

    def _arm(self) -> None:
        """Have the timer run while something waits for its acknowledgement; do not put it off."""
        is_open = self.state is State.ESTABLISHED
        deadline = self.outgoing.deadline(self._kernel.now(), is_open=is_open)
        if math.inf in (deadline, self.timer):
            self._wake_at(deadline)

    def _wake_at(self, time: float) -> None:
        self.timer = time
        self._kernel.set_timer(self)

    def _transmit_syn(self, hops: int | None = None) -> None:
        self._transmit(SYN | (ACK if self.incoming.position else 0), 0, hops=hops)
        self._arm()

    def _transmit_ack(self) -> None:
        self._transmit(ACK, self.outgoing.sent)

    def _transmit(
        self, flags: int, position: int, data: bytes = b"", hops: int | None = None
    ) -> None:
        number, window = self._number(position), self.incoming.window
        acknowledgement = self.incoming.acknowledgement if flags & ACK else 0
        self._kernel.transmit(self, Segment(number, acknowledgement, flags, window, data), hops)

    def _number(self, position: int) -> int:
        return (self.isn + position) % MODULUS

    def _check(self) -> None:
        if error := self.take_error():
            raise error_from(error)
