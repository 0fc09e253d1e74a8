"""The streams of a peer that are not over, and what becomes of them when it is left."""

from __future__ import annotations

import trio

from .._identity.peer_id import PeerId
from .carrier import Carrier
from .p2p_stream import P2PStream
from .tracer import Tracer


class OpenStreams:
    """Owns the tasks of streams, and tells of what happens to them.

    Args:
        nursery: for the tasks.
        tracer: is told.
    """

    def __init__(self, nursery: trio.Nursery, tracer: Tracer) -> None:
        self.nursery = nursery
        self._tracer = tracer
        self._streams: dict[P2PStream, None] = {}
        self._one_ended = trio.lowlevel.ParkingLot()
        self._is_left = False

    def __len__(self) -> int:
        """How many there are."""
        return len(self._streams)

    @property
    def is_any_without_path(self) -> bool:
        """Whether a stream waits for another path."""
        return any(stream.path is None and not stream.is_over for stream in self._streams)

    def add(self, carrier: Carrier, peer_id: PeerId) -> P2PStream:
        """A stream that begins; it is aborted if all are being left.

        Args:
            carrier: what carries it.
            peer_id: who the other side has proven to be.
        """
        stream = P2PStream(carrier, peer_id)
        self._streams[stream] = None
        self._tracer.stream_opened(stream)
        self.nursery.start_soon(self._follow, stream)
        if self._is_left:
            stream.leave()
        return stream

    async def leave(self, grace: float) -> None:
        """Abort those that are open, and wait until those that are closed have said everything.

        Args:
            grace: for how many seconds at most.
        """
        self._is_left = True
        for stream in list(self._streams):
            stream.leave()
        with trio.move_on_after(grace):
            while self._streams:
                await self._one_ended.park()

    async def _follow(self, stream: P2PStream) -> None:
        path = None
        try:
            while not stream.is_over:
                if stream.path != path:
                    path = stream.path
                    self._tracer.path_changed(stream, path)
                await stream.wait_news()
        finally:
            del self._streams[stream]
            self._one_ended.unpark_all()
            self._tracer.stream_closed(stream)
