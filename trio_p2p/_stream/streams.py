"""The streams of one connection, and what carries them: between the multiplexer and the tasks."""

from __future__ import annotations

from typing import Protocol

import trio

from .._errors import P2PError, PathLostError, StreamAbortedError
from .byte_queue import Piece
from .carrier import Carrier
from .giving_up import CLOSING_TIME
from .limits import ConnectionLimits
from .multiplexer import Multiplexer
from .receivers import Receivers
from .session import Session
from .states import SessionRole
from .stream_frames import ResetCode, StreamNames
from .stream_states import Direction
from .substream import Substream

# Bytes: less than that is sent when the other tasks have had their turn, together with what they
# have to say, as each system call costs more than many such pieces.
INLINE_BYTES = 16_384


class StreamOwner(Protocol):
    """What is told of streams."""

    def opened(self, state: Substream) -> None:
        """The other side has opened a stream."""
        ...

    def closed(self, state: Substream) -> None:
        """A stream is over."""
        ...


class Streams:
    """What the streams of one connection share.

    Args:
        role: which side of the session this is.
        identifier: the session's.
        instance: what tells this program from others of the same identity.
        limits: how much the connection may hold, and for how long.
        nursery: for the tasks.
        owner: is told of streams.
        is_accepting: whether streams of the other side are accepted from the beginning.

    Attributes:
        carrier: what carries the session.
    """

    def __init__(
        self,
        role: SessionRole,
        identifier: bytes,
        instance: bytes,
        limits: ConnectionLimits,
        *,
        nursery: trio.Nursery,
        owner: StreamOwner,
        is_accepting: bool,
    ) -> None:
        window, now = limits.window, trio.current_time()
        self._multiplexer = content = Multiplexer(
            role,
            streams=limits.streams,
            memory=limits.memory,
            largest=window,
            is_accepting=is_accepting,
        )
        session = Session(role, identifier, instance, window=window, content=content, now=now)
        self._session = session
        self.carrier: Carrier = Carrier(session, self, limits.grace, nursery)
        self._owner = owner
        self._is_finishing = False
        self._ends_at = 0  # all streams that are over, and whose end the other side may lack
        self._is_closed = False
        self._is_attending = False
        self._is_to_attend = False
        self._may_open = trio.lowlevel.ParkingLot()
        self._asked: dict[Substream, tuple[float, int]] = {}  # since when, and acknowledged
        self._closing: dict[Substream, tuple[float, int]] = {}  # since when, and what was sent

    def __len__(self) -> int:
        """How many streams are open, of both sides."""
        return len(self._multiplexer)

    @property
    def is_over(self) -> bool:
        """Whether the connection is over."""
        return self._session.is_over

    @property
    def is_leaving(self) -> bool:
        """Whether no stream can be opened any more."""
        return self.is_over or self._session.peer_is_closed or self._multiplexer.has_opened_all

    @property
    def error(self) -> P2PError:
        """Why the connection is over."""
        return self._session.error or StreamAbortedError("the peer has closed the connection")

    # What the application does.

    async def open(self, names: StreamNames) -> Substream | None:
        """Open a stream, as soon as the other side takes another one.

        Returns:
            The stream; None if no stream can be opened any more.
        """
        while not (self.is_leaving or self._multiplexer.may_open):
            await self._may_open.park()
        if self.is_leaving:
            return None
        state = self._multiplexer.open(names)
        self.carrier.push_soon()
        return state

    def accept_streams(self) -> None:
        """Take the streams that the other side opens from now on."""
        self._multiplexer.accept_streams()

    def flush(self) -> None:
        """Send at once what would be sent soon, as far as that needs no waiting."""
        self.carrier.flush()

    async def send(self, state: Substream, piece: Piece) -> bool:
        """Send bytes on a stream, for which there has to be room; whether that has waited."""
        self._multiplexer.write(state, piece)
        if len(piece) < INLINE_BYTES:
            self.carrier.push_soon()
            return False
        return await self.carrier.send(lambda: state.has_data)

    def finish(self, state: Substream) -> None:
        """End the sending direction of a stream."""
        self._multiplexer.finish(state)
        self.carrier.push_soon()

    def read(self, state: Substream, max_bytes: int) -> Piece | None:
        """Some of the bytes that came; empty at their end, None if there are none yet."""
        data = self._multiplexer.read(state, max_bytes)
        if data and self._multiplexer.is_ready:
            self.carrier.push_soon()
        return data

    @property
    def receivers(self) -> Receivers:
        """The tasks that wait for something to come, of whatever stream."""
        return self.carrier.receivers

    def close(self, state: Substream) -> None:
        """Send no more on a stream, and read no more of it."""
        self._multiplexer.close(state)
        if self._multiplexer.closed:
            self.attend()
        elif not (self.is_over or self._session.peer_is_closed):  # else it is over already
            self._closing[state] = trio.current_time(), state.sent
            self.carrier.push_soon()

    def has_delivered(self, state: Substream) -> bool:
        """Whether the other side has got all of a closed stream; it is asked if it has not.

        The stream is waked whenever that may have changed, until :meth:`stop_asking`. It has an
        error as soon as it is known that this will not be.
        """
        acked = self._session.outgoing.acked
        self._asked.setdefault(state, (trio.current_time(), acked))
        is_lacking = self._may_be_lacking(state)
        if is_lacking and self.is_over:
            state.error = state.error or self.error
        elif is_lacking and self._is_sent(state):
            self._ask()
        return not is_lacking

    def stop_asking(self, state: Substream) -> bool:
        """The task that waits until all is delivered has ended; whether there was one."""
        return self._asked.pop(state, None) is not None

    def reset(self, state: Substream, code: ResetCode, reason: str) -> None:
        """End a stream at once."""
        self._multiplexer.reset(state, code, reason)
        self.carrier.push_soon()
        self.attend()

    def go_away(self) -> None:
        """Open no more streams, and take none."""
        self._multiplexer.go_away()
        self.carrier.push_soon()
        self._may_open.unpark_all()
        self._end_if_done()

    def finish_all(self) -> None:
        """Close the session as soon as nothing is left to say of any stream."""
        self._is_finishing = True
        self.go_away()

    def give_up_stalled(self, now: float) -> None:
        """Cut short the streams whose close makes no progress."""
        has_path = self.carrier.path is not None
        for state, (since, sent) in list(self._closing.items()):
            if state.sent > sent or not has_path:
                self._closing[state] = now, state.sent
            elif now >= since + CLOSING_TIME:
                error = PathLostError("the other side did not take what was left to send")
                self._multiplexer.reset(state, ResetCode.ABORTED, str(error), error)
                self.carrier.push_soon()
        acked_now = self._session.outgoing.acked
        for state, (since, acked) in list(self._asked.items()):
            if acked_now > acked or state.sending is not Direction.ENDED or not has_path:
                self._asked[state] = now, acked_now
            elif now >= since + CLOSING_TIME:
                state.error = PathLostError("the other side did not say that it has got everything")
        self.attend()

    # What the carrier tells.

    def attend(self) -> bool:
        """Something has come, or has left: whether a task that reads was waked up."""
        self._is_to_attend = True
        if self._is_attending:  # what the owner was told of has made it reset a stream, say
            return False
        self._is_attending, has_waked_reader = True, False
        try:
            while self._is_to_attend:
                self._is_to_attend = False
                has_waked_reader |= self._tell_owner()
        finally:
            self._is_attending = False
        return has_waked_reader

    def _tell_owner(self) -> bool:
        """Tell of what has come or left; whether a task that reads was waked up."""
        multiplexer = self._multiplexer
        if self.is_over or self._session.peer_is_closed:
            multiplexer.fail(self.error, is_clean=self._session.error is None)
        while multiplexer.opened:
            self._owner.opened(multiplexer.opened.popleft())
        has_waked_reader = False
        touched, multiplexer.touched = multiplexer.touched, {}
        for state in touched:
            if state.waiter is not None:
                has_waked_reader |= state.waiter.wake()
        closed, multiplexer.closed = multiplexer.closed, []
        for state in closed:
            self._closing.pop(state, None)
            if self._is_owed(state):
                self._ends_at = max(self._ends_at, state.end_offset or 0)
            self._owner.closed(state)
        for state in list(self._asked):
            if state.waiter is not None:
                state.waiter.wake()
        if self._may_open and (multiplexer.may_open or self.is_leaving):
            self._may_open.unpark_all()
        self._end_if_done()
        return has_waked_reader

    def _end_if_done(self) -> None:
        """Close the session if nothing more is wanted of it, and nothing has to be said."""
        multiplexer = self._multiplexer
        is_last = multiplexer.is_leaving or self._is_finishing or self._session.peer_is_closed
        is_in_vain = self._is_finishing and self.carrier.path is None and not self._owes_bytes
        if is_in_vain and not self.is_over:
            self._is_closed = True
            self.carrier.end("the connection was closed while it had no path")
        elif is_last and multiplexer.is_silent and not self._is_closed:
            self._is_closed = True
            self.carrier.close()

    @property
    def _owes_bytes(self) -> bool:
        """Whether the other side may lack some of a stream that was closed."""
        is_former_owed = self._session.outgoing.acked < self._ends_at
        return is_former_owed or any(map(self._is_owed, self._closing))

    def _is_owed(self, state: Substream) -> bool:
        return state.error is None and self._may_be_lacking(state)

    def _may_be_lacking(self, state: Substream) -> bool:
        """Whether the other side wants all of a stream, and has not said that it has got it."""
        if state.is_refused:
            return False
        return not self._is_sent(state) or self._session.outgoing.acked < (state.end_offset or 0)

    def _ask(self) -> None:
        """Have the other side acknowledge what it has got."""
        if self._session.outgoing.want_acknowledgement():
            self.carrier.push_soon()

    @staticmethod
    def _is_sent(state: Substream) -> bool:
        """Whether all of a stream has left."""
        return state.sending is Direction.ENDED and state.end_offset is not None
