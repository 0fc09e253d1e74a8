"""The connection between two peers, as applications see it."""

from __future__ import annotations

import trio

from .._identity.peer_id import PeerId
from .._wire.uids import parse_protocol, parse_uid
from .connection_statistics import P2PConnectionStatistics
from .handling import Handler, check_serving, handle_stream
from .owned_connection import CLOSED, OwnedConnection
from .p2p_stream import P2PStream
from .stream_frames import StreamNames
from .stream_path import StreamPath
from .substream import Substream
from .turn import CancelledFirst


class P2PConnection(OwnedConnection):
    """A connection to a peer, which carries any number of streams over one path after the other.

    :meth:`Peer.connect` makes one, or returns the one that is there, which :meth:`Peer.open_stream`
    uses, too. At the other side it is :attr:`P2PStream.connection` of the streams that a listener
    accepts. Both sides may open streams over it, and any number of tasks may use it at the same
    time.

    It is carried by one path at a time, a TCP connection that leads directly to the peer or through
    the broker's relay. When a path breaks, or a better one is found, all its streams go on over
    another one.

    As an async context manager it is closed by :meth:`aclose`. One that was made by
    :meth:`Peer.open_stream` only is closed when it has had no stream for a minute. The
    :class:`Peer` owns it, and closes it at the end.
    """

    async def wait_path_changed(self, path: StreamPath | None) -> StreamPath | None:
        """Wait until :attr:`path` is another one.

        Args:
            path: the one that you know of.

        Returns:
            The new one; None if there is none for the time being.

        Raises:
            trio.ClosedResourceError: the connection is closed, perhaps by another task meanwhile.
            trio.BrokenResourceError: the connection is broken, or the peer has closed it.
        """
        await trio.lowlevel.checkpoint()
        async with CancelledFirst():
            while self.path == path:
                self._check()
                await self.carrier.path_changed.park()
        return self.path

    async def open_stream(
        self, *, protocol: str = "", uid: str | PeerId | None = None
    ) -> P2PStream:
        """Open a stream. That costs no round trip.

        If this side has as many streams open as the peer allows (its ``max_streams``), this waits
        until one is over. If the peer refuses the stream, as it does not serve the protocol, say,
        the stream's methods raise :exc:`trio.BrokenResourceError`, caused by an
        :exc:`UnknownProtocolError`, :exc:`UnknownUIDError`, :exc:`NotAdmittedError` or another
        :exc:`StreamAbortedError`.

        Args:
            protocol: the name of what is spoken on the stream, of up to 128 bytes in UTF-8.
            uid: which of the peer's receivers it is for; the one that was connected to if None.

        Raises:
            LocalProtocolError: an argument is wrong.
            trio.ClosedResourceError: the connection is closed, perhaps by another task meanwhile.
            trio.BrokenResourceError: the connection is broken, or the peer has closed it.

        If cancelled, no stream was opened.
        """
        names = StreamNames("" if uid is None else parse_uid(uid), parse_protocol(protocol))
        await trio.lowlevel.checkpoint()
        return await self.open_named(names)

    async def open_named(self, names: StreamNames) -> P2PStream:
        """Like :meth:`open_stream`, with names that are checked; no checkpoint if there is room."""
        async with CancelledFirst():
            self._check()
            state = await self._streams.open(names)
            if state is None:
                self._check()
                raise trio.BrokenResourceError("the peer takes no more streams over the connection")
        return self._begin(state)

    async def accept(self) -> P2PStream:
        """Wait for the next stream that the peer opens.

        Only on a connection that this side has made; on others the peer's streams go to listeners.
        Streams that come before the first call of this or of :meth:`serve` are reset, unless
        :meth:`Peer.connect` was called with ``accept=True``.

        Raises:
            LocalProtocolError: the peer has made the connection; its streams go to listeners.
            trio.ClosedResourceError: the connection is closed, perhaps by another task meanwhile.
            trio.BrokenResourceError: the connection is broken, or the peer has closed it.

        If cancelled, no stream was taken.
        """
        self.accept_streams()
        async with CancelledFirst():
            try:
                return await self._accepted.receive()
            except trio.EndOfChannel:
                self._check()
                raise trio.ClosedResourceError(CLOSED) from None

    async def serve(self, handler: Handler, *, handler_nursery: trio.Nursery | None = None) -> None:
        """Run a handler for each stream that the peer opens, until the connection is over.

        What becomes of the streams and of a handler's errors is as for :meth:`Peer.serve`. Returns
        when the connection is closed or broken, and all handlers have returned.

        Args:
            handler: called with each stream.
            handler_nursery: where to run the handlers; in a nursery of its own if None.

        Raises:
            LocalProtocolError: as :meth:`accept`, or an argument is wrong.
        """
        check_serving(handler, handler_nursery)
        self.accept_streams()
        async with trio.open_nursery() as nursery:
            handlers = handler_nursery or nursery
            while True:
                try:
                    stream = await self.accept()
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    break
                for each in (stream, *self._take_waiting()):
                    handlers.start_soon(handle_stream, handler, each)

    def _take_waiting(self) -> list[P2PStream]:
        """Accept all streams that wait for it, and no more."""
        waiting = self._accepted.statistics().current_buffer_used
        return [self._accepted.receive_nowait() for _ in range(waiting)]

    def statistics(self) -> P2PConnectionStatistics:
        """What the connection has done so far."""
        session = self.carrier.session
        return P2PConnectionStatistics(
            streams=len(self._streams),
            round_trip=self.carrier.round_trip,
            sent=session.outgoing.acked,
            received=session.incoming.received,
            moves=self.carrier.moves,
        )

    async def aclose(self) -> None:
        """Close the connection: abort streams that are open, and let closed ones deliver.

        All tasks that use the connection are concerned. This waits until the peer has got
        everything, as long as there is progress, and for another path if need be, as long as the
        grace time allows. If cancelled, the connection is closed all the same, and the
        :class:`Peer` does what is left to do.
        """
        self.begin_closing()
        await trio.lowlevel.checkpoint()
        await self.wait_over()

    def _begin(self, state: Substream) -> P2PStream:
        stream = P2PStream(self, self._streams, state)
        self._open[state] = stream
        self._tracer.stream_opened(stream)
        return stream
