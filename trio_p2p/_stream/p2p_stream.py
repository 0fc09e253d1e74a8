"""The stream that applications get: a session, looked at from above."""

from __future__ import annotations

import operator
from types import TracebackType

import trio

from .._identity.peer_id import PeerId
from .byte_queue import Piece, piece_of
from .carrier import Carrier
from .frames import MAX_PAYLOAD_BYTES, MIN_PIECE_BYTES
from .states import SessionState
from .stream_path import StreamPath
from .turn import CancelledFirst, Turn

RECEIVE_BYTES = 2**20

_PEER_CLOSED = "the peer has closed the stream"


class P2PStream(trio.abc.HalfCloseableStream):
    """A stream to a peer: encrypted, authenticated, and not bound to one connection.

    It is carried by one path at a time, a TCP connection that leads directly to the peer or
    through the broker's relay. When a path breaks, or a better one is found, the stream goes on
    over another one: nothing is lost, repeated or reordered. The tasks that do this belong to
    the :class:`Peer` that has opened or accepted the stream, which ends when that is left.

    What :meth:`send_all` has taken is kept until the peer's side has it. When no path was found
    for the grace time, the methods raise :exc:`trio.BrokenResourceError`; its cause says why.

    :meth:`aclose` is a clean end: what was taken is delivered. As an async context manager the
    stream is closed by it if the block ends, and by :meth:`abort` if the block fails or is
    cancelled. So what was cut short never looks complete to the peer.

    Each direction may be used by one task at a time, else :exc:`trio.BusyResourceError`.
    """

    def __init__(self, carrier: Carrier, peer_id: PeerId) -> None:
        self._carrier = carrier
        self._session = carrier.session
        self._peer_id = peer_id
        self._is_closed = False
        self._eof_is_sent = False
        self._sending = Turn("another task is sending on this stream")
        self._receiving = Turn("another task is receiving on this stream")

    @property
    def peer_id(self) -> PeerId:
        """Who the other side has proven to be."""
        return self._peer_id

    @property
    def path(self) -> StreamPath | None:
        """What carries the stream now; None while it waits for another path, and at the end."""
        return self._carrier.path

    @property
    def is_over(self) -> bool:
        """Whether nothing more is going to happen: all is said, or the stream is broken."""
        return self._session.is_over

    @property
    def is_left(self) -> bool:
        """Whether the stream has ended because the :class:`Peer` was left that it belongs to."""
        return self._carrier.is_left

    @property
    def has_lost_peer(self) -> bool:
        """Whether the stream is broken, or the peer has closed it."""
        return self._session.state is SessionState.BROKEN or self._session.peer_is_closed

    async def wait_path_changed(self, path: StreamPath | None) -> StreamPath | None:
        """Wait until :attr:`path` is another one.

        Args:
            path: the one that you know of.

        Returns:
            The new one; None if there is none for the time being.

        Raises:
            trio.ClosedResourceError: the stream is closed, perhaps by another task meanwhile.
            trio.BrokenResourceError: the stream is broken, or the peer has closed it.
        """
        await trio.lowlevel.checkpoint()
        async with CancelledFirst():
            while self.path == path:
                self._check()
                if self._session.peer_is_closed:
                    raise trio.BrokenResourceError(_PEER_CLOSED)
                await self._carrier.path_changed.park()
        return self.path

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes.

        Returns as soon as all of them are taken: they reach the peer, if only any path does
        before the grace time is over. There is room for as many as the window allows.

        Raises:
            trio.BrokenResourceError: the stream is broken, or the peer has closed it.
            trio.ClosedResourceError: the stream is closed, perhaps by another task meanwhile, or
                :meth:`send_eof` was called, or the :class:`Peer` was left.
            trio.BusyResourceError: another task is sending.

        If cancelled, some of the bytes may have been taken; the stream is of use nevertheless.
        """
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            has_waited = False
            try:
                async with CancelledFirst():
                    self._check_sending()
                    with memoryview(data).cast("B") as view:
                        position = 0
                        while position < len(view):
                            rest, room = len(view) - position, self._session.room
                            if room < min(rest, MIN_PIECE_BYTES):
                                has_waited = True
                                await self._wait_for_room()
                            else:
                                count = min(rest, room, MAX_PAYLOAD_BYTES)
                                piece = piece_of(data, view, position, count)
                                self._session.write(piece, trio.current_time())
                                has_waited |= await self._carrier.send()
                                position += count
                            self._check_sending()
            finally:
                if not has_waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room to send; like :meth:`send_all`."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            async with CancelledFirst():
                self._check_sending()
                while not self._session.room:
                    await self._wait_for_room()
                    self._check_sending()

    async def send_eof(self) -> None:
        """End this direction; the other one goes on. Once is enough, more do no harm.

        Raises:
            trio.BrokenResourceError: the stream is broken, or the peer has closed it.
            trio.ClosedResourceError: the stream is closed.
            trio.BusyResourceError: another task is sending.
        """
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check()
            if not self._eof_is_sent:
                self._eof_is_sent = True
                self._session.write_eof(trio.current_time())
                self._carrier.push()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive some bytes.

        Args:
            max_bytes: how many at most; as many as came at once if None.

        Returns:
            At least one byte; none if the peer has ended its direction. A bytearray is the
            caller's own: it saves copying.

        Raises:
            trio.BrokenResourceError: the stream is broken, and all that came before is read.
            trio.ClosedResourceError: the stream is closed, perhaps by another task meanwhile.
            trio.BusyResourceError: another task is receiving.

        If cancelled, nothing is lost.
        """
        limit = RECEIVE_BYTES if max_bytes is None else operator.index(max_bytes)
        if limit < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            has_waited = False
            try:
                async with CancelledFirst():
                    while (data := self._read(limit)) is None:
                        has_waited |= await self._carrier.wait_readable()
            finally:
                if not has_waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    def _read(self, max_bytes: int) -> Piece | None:
        self._check_open()
        data = self._session.read(max_bytes)
        if data is None:
            self._check()
        else:
            self._carrier.push()
        return data

    async def aclose(self) -> None:
        """Close the stream, and wait until the peer's side has got all that was sent.

        That takes a round trip, or none if both directions have ended already. It waits as long
        as bytes make progress, and for another path if need be, as long as the grace time allows.
        If cancelled, the stream is closed all the same; what is left to do is done by the
        :class:`Peer` that owns the stream, much as an operating system does it for sockets.

        Raises:
            trio.BrokenResourceError: the stream broke while this waited; the peer may lack some.
        """
        was_over = self._session.is_over
        if not self._is_closed:
            self._is_closed = True
            self._carrier.close()
        await trio.lowlevel.checkpoint()
        while not self._session.is_over:
            await self._carrier.path_changed.park()
        self._carrier.end()
        if not was_over and self._session.state is SessionState.BROKEN:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._raise_broken()

    def abort(self, reason: str = "it aborted the stream") -> None:
        """End the stream at once, and let the peer know that it was cut short.

        What was sent and has not arrived is dropped. The peer's methods raise
        :exc:`trio.BrokenResourceError`, whose cause is a :exc:`StreamAbortedError` with the
        reason. Does nothing if the stream is closed already.

        Args:
            reason: text for the peer, of up to some 400 bytes.
        """
        if not self._is_closed:
            self._is_closed = True
            self._carrier.abort(reason)

    def leave(self) -> None:
        """Abort the stream because its owner is left, unless it is closed."""
        if not self._is_closed:
            self._carrier.leave()

    async def wait_news(self) -> None:
        """Wait until the path may be another one, or the stream may be over."""
        await self._carrier.path_changed.park()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream; abort it if the block has failed or was cancelled."""
        if exc_value is None:
            await self.aclose()
        else:
            self.abort(reason_of(exc_value))
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this stream is closed")
        if self._carrier.is_left:
            raise trio.ClosedResourceError("the peer that this stream belongs to was left")

    def _check(self) -> None:
        self._check_open()
        if self._session.state is SessionState.BROKEN:
            self._raise_broken()

    def _check_sending(self) -> None:
        self._check()
        if self._session.peer_is_closed:
            raise trio.BrokenResourceError(_PEER_CLOSED)
        if self._eof_is_sent:
            raise trio.ClosedResourceError("send_eof() was called on this stream")

    def _raise_broken(self) -> None:
        error = self._session.error
        raise trio.BrokenResourceError(f"the stream is broken: {error}") from error

    async def _wait_for_room(self) -> None:
        self._session.is_blocked = True
        self._carrier.push()
        try:
            await self._carrier.wait_roomy()
        finally:
            self._session.is_blocked = False


def reason_of(error: BaseException) -> str:
    """What to tell the peer of an error that has ended the use of a stream: no details."""
    is_cancelled = isinstance(error, trio.Cancelled)
    return f"what used the stream {'was cancelled' if is_cancelled else 'failed'}"
