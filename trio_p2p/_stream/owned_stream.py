"""A stream of a connection, as the connection sees it that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .._errors import P2PError
from .sleeper import Sleeper
from .stream_frames import ResetCode
from .stream_states import Direction
from .streams import Streams
from .substream import Substream
from .turn import Turn

if TYPE_CHECKING:
    from .p2p_connection import P2PConnection  # which makes streams

PEER_CLOSED = "the peer has closed the stream"


class OwnedStream(trio.abc.HalfCloseableStream):
    """What its connection does with a stream, and how the stream's tasks wait.

    Args:
        connection: what the stream belongs to.
        streams: what it shares with the other streams there.
        state: what is left of its two directions.
    """

    __slots__ = (
        "_changed",
        "_connection",
        "_is_left",
        "_news",
        "_reader",
        "_sending",
        "_state",
        "_streams",
    )

    def __init__(self, connection: P2PConnection, streams: Streams, state: Substream) -> None:
        self._connection = connection
        self._streams = streams
        self._state = state
        self._is_left = False
        self._news = 0
        self._reader: Sleeper | None = None  # of the task that receives
        self._changed: trio.lowlevel.ParkingLot | None = None
        self._sending = Turn("another task is sending on this stream")
        state.waiter = self

    @property
    def is_left(self) -> bool:
        """Whether the stream has ended because the :class:`Peer` was left that it belongs to."""
        error, carrier = self._state.error, self._connection.carrier
        is_cut = error is not None and error is carrier.session.error
        return self._is_left or (is_cut and carrier.is_left)

    def abort(self, reason: str = "it aborted the stream") -> None:
        """End the stream at once, and let the peer know that it was cut short.

        What was sent and has not arrived is dropped. The peer's methods raise
        :exc:`trio.BrokenResourceError`, whose cause is a :exc:`StreamAbortedError` with the
        reason. Does nothing if the stream is closed already.

        Args:
            reason: text for the peer, of up to some 400 bytes.
        """
        if not self._state.is_closed:
            self._streams.reset(self._state, ResetCode.ABORTED, reason)
            self._let_go()

    def begin_closing(self) -> None:
        """Close the stream, and do not wait; the owner does the rest."""
        if not self._state.is_closed:
            self._streams.close(self._state)
            self._let_go()

    def _let_go(self) -> None:
        """Let the tasks know that use the stream."""
        self.wake()
        if self._reader is not None:
            self._streams.receivers.stop()

    def refuse(self, code: ResetCode, reason: str) -> None:
        """Reset a stream that the other side has opened, and that is not taken."""
        self._streams.reset(self._state, code, reason)

    def leave(self) -> None:
        """Abort the stream because its owner is left, unless it is closed."""
        if not self._state.is_closed:
            self._is_left = True
            self.abort("its peer was left")

    @property
    def wants_room(self) -> bool:
        """Whether a task waits until some bytes have left."""
        return self._changed is not None

    def wake(self) -> bool:
        """Wake the tasks that wait for news of the stream; whether one of them reads."""
        self._news += 1
        if self._changed:
            self._changed.unpark_all()
        if not self._reader or not (self._state.has_input or self._state.is_closed):
            return False
        self._reader.wake()
        return True

    async def _wait(self) -> None:
        """Wait until something may have changed."""
        if self._changed is None:
            self._changed = trio.lowlevel.ParkingLot()
        try:
            if not self._flush_has_news():
                await self._changed.park()
        finally:
            if not self._changed:
                self._changed = None

    def _flush_has_news(self) -> bool:
        """Send what there is to say; whether that has changed anything for the stream."""
        before = self._news
        self._streams.flush()
        return self._news != before

    def _check_open(self) -> None:
        state = self._state
        if (state.is_closed or state.error is not None) and self.is_left:
            raise trio.ClosedResourceError("the peer that this stream belongs to was left")
        if state.is_closed:
            raise trio.ClosedResourceError("this stream is closed")

    def _check(self) -> None:
        self._check_open()
        if self._state.error is not None:
            self._raise_broken(self._state.error)

    def _check_sending(self) -> None:
        self._check()
        if self._state.is_refused:
            raise trio.BrokenResourceError(PEER_CLOSED)
        if self._state.sending is not Direction.OPEN:
            raise trio.ClosedResourceError("send_eof() was called on this stream")

    def _raise_broken(self, error: P2PError) -> None:
        raise trio.BrokenResourceError(f"the stream is broken: {error}") from error
