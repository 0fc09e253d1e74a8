"""The stream that applications get."""

from __future__ import annotations

import operator
from types import TracebackType
from typing import TYPE_CHECKING

import trio

from .._identity.peer_id import PeerId
from .byte_queue import Piece, piece_of
from .frames import MAX_PIECE_BYTES
from .owned_stream import PEER_CLOSED, OwnedStream
from .sleeper import Sleeper
from .stream_path import StreamPath
from .turn import CancelledFirst

if TYPE_CHECKING:
    from .p2p_connection import P2PConnection  # which makes streams

RECEIVE_BYTES = 2**20
MIN_ROOM_BYTES = 2**16  # send_all of more bytes waits until there is room for so many


class P2PStream(OwnedStream):
    """A stream to a peer: encrypted, authenticated, and not bound to one path.

    It is one of the streams of a :class:`P2PConnection`, which goes on over another path when one
    breaks, or a better one is found: nothing is lost, repeated or reordered. A stream that is not
    read holds up no other one.

    What :meth:`send_all` has taken is kept until the peer's side has it. When no path was found
    for the grace time, the methods raise :exc:`trio.BrokenResourceError`; its cause says why.

    :meth:`aclose` is a clean end: what was taken is delivered. As an async context manager the
    stream is closed by it if the block ends, and by :meth:`abort` if the block fails or is
    cancelled. So what was cut short never looks complete to the peer.

    Each direction may be used by one task at a time, else :exc:`trio.BusyResourceError`.
    """

    __slots__ = ()

    @property
    def connection(self) -> P2PConnection:
        """The connection that carries the stream, perhaps among others; it opens more."""
        return self._connection

    @property
    def protocol(self) -> str:
        """The name of what is spoken on the stream; empty for the default one."""
        return self._state.names.protocol

    @property
    def uid(self) -> str:
        """The UID of the receiver that the stream is for; empty for the one connected to."""
        return self._state.names.uid

    @property
    def peer_id(self) -> PeerId:
        """Who the other side has proven to be."""
        return self._connection.peer_id

    @property
    def path(self) -> StreamPath | None:
        """What carries the stream now; None while it waits for another path, and at the end."""
        return None if self.is_over else self._connection.path

    @property
    def is_over(self) -> bool:
        """Whether both directions have ended, or the stream is broken."""
        return self._state.is_over

    @property
    def has_lost_peer(self) -> bool:
        """Whether the stream is broken, or the peer has closed it."""
        return self._state.error is not None or self._state.is_refused

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
            with self._connection.telling_of_paths(self):
                self._check()
                while self.path == path:
                    if self._state.is_refused:
                        raise trio.BrokenResourceError(PEER_CLOSED)
                    await self._wait()
                    self._check()
        return self.path

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes.

        Returns as soon as all of them are taken: they reach the peer, if only any path does
        before the grace time is over. There is room for 256 KiB that have not left; they leave if
        there is a path, and the peer reads what has come on this stream.

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
                self._check_sending()
                with memoryview(data).cast("B") as view:
                    position, length = 0, len(view)
                    while position < length:
                        rest, room = length - position, self._state.room
                        if room < min(rest, MIN_ROOM_BYTES):
                            has_waited = True
                            await self._wait()
                        else:
                            count = min(rest, room, MAX_PIECE_BYTES)
                            piece = piece_of(data, view, position, count)
                            has_waited |= await self._streams.send(self._state, piece)
                            position += count
                        self._check_sending()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC102, ASYNC120 - see Turn
                raise
            finally:
                if not has_waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room to send; like :meth:`send_all`."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            async with CancelledFirst():
                self._check_sending()
                while not self._state.room:
                    await self._wait()
                    self._check_sending()

    async def send_eof(self) -> None:
        """End this direction; the other one goes on. Once is enough, more do no harm.

        Raises:
            trio.BrokenResourceError: the stream is broken.
            trio.ClosedResourceError: the stream is closed.
            trio.BusyResourceError: another task is sending.

        If cancelled, the direction has not ended.
        """
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                self._check()
                self._streams.finish(self._state)
            finally:  # afterwards, so that it leaves together with what was sent just before
                await trio.lowlevel.cancel_shielded_checkpoint()

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
        if self._reader is not None:
            raise trio.BusyResourceError("another task is receiving on this stream")
        # Many streams wait in here: a context manager, or one more coroutine, is memory of each.
        self._reader = Sleeper()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            has_waited = False
            try:
                while (data := self._read(limit)) is None:
                    if self._flush_has_news():
                        continue
                    try:
                        has_waited = True
                        if self._streams.receivers.begin():
                            await self._streams.receivers.receive()
                        else:
                            await self._reader.sleep()
                    finally:
                        self._streams.receivers.end()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC102, ASYNC120 - see Turn
                raise
            finally:
                if not has_waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            return data
        finally:
            self._reader = None

    def _read(self, max_bytes: int) -> Piece | None:
        self._check_open()
        data = self._streams.read(self._state, max_bytes)
        if data is None:
            self._check()
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
        state = self._state
        was_broken = state.error is not None
        self.begin_closing()
        await trio.lowlevel.checkpoint()
        try:
            while not self._streams.has_delivered(state):
                if state.error is not None:
                    if was_broken:
                        break
                    await trio.lowlevel.checkpoint_if_cancelled()
                    self._raise_broken(state.error)
                await self._wait()
        finally:
            if self._streams.stop_asking(state):
                self.wake()  # other tasks that close it go on to ask

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


def reason_of(error: BaseException) -> str:
    """What to tell the peer of an error that has ended the use of a stream: no details."""
    is_cancelled = isinstance(error, trio.Cancelled)
    return f"what used the stream {'was cancelled' if is_cancelled else 'failed'}"
