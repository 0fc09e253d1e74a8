"""What one listener takes: streams of one protocol under one UID, or raw streams."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeAlias, TypeVar

import trio

from .._identity.peer_id import PeerId
from .._stream.p2p_stream import P2PStream
from .._stream.stream_frames import ResetCode

logger = logging.getLogger("trio_p2p.receiver")

RAW_BACKLOG = 128  # raw streams that wait for accept()

Admit: TypeAlias = Callable[[PeerId], bool]

S = TypeVar("S", bound=trio.abc.AsyncResource)


class Service(Generic[S]):
    """Streams that wait for accept().

    Args:
        backlog: how many of them may wait.

    Attributes:
        accepted: where accept() takes them from.
        connected: how many there were.
        is_draining: whether to take no more.
    """

    def __init__(self, backlog: float) -> None:
        put, accepted = trio.open_memory_channel[S](backlog)
        self._put: trio.MemorySendChannel[S] = put
        self.accepted: trio.MemoryReceiveChannel[S] = accepted
        self.connected: int = 0
        self.is_draining: bool = False

    def _count(self) -> None:
        self.connected += 1

    def end(self) -> None:
        """End accept(), as no stream is going to come any more."""
        self._put.close()

    def stop(self) -> None:
        """Take no more streams, and end those that were not accepted yet."""
        self.is_draining = True
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self._discard(self.accepted.receive_nowait())
        self.accepted.close()

    async def wait_all_over(self) -> None:
        """Wait until no accepted stream needs the listener any more."""
        await trio.lowlevel.checkpoint()

    def _discard(self, stream: S) -> None:
        raise NotImplementedError


class StreamService(Service[P2PStream]):
    """Streams of peers.

    Args:
        admit: says of which peers; of all if None.
    """

    def __init__(self, admit: Admit | None) -> None:
        super().__init__(math.inf)  # each connection has its limit
        self._admit = admit
        self._live = 0  # streams that are not over
        self._one_over = trio.lowlevel.ParkingLot()

    def admits(self, peer_id: PeerId) -> bool:
        """Whether streams of a peer are taken."""
        try:
            return self._admit is None or self._admit(peer_id)
        except Exception:  # the application's, which concerns this peer only
            logger.exception("admit= failed for %s, which is refused therefore", peer_id)
            return False

    def take(self, stream: P2PStream) -> None:
        """Take a stream."""
        self._live += 1
        try:
            self._put.send_nowait(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.info("a stream came as the listener was closed")
            stream.refuse(ResetCode.DRAINING, "the receiver is being closed")
            return
        self._count()

    def forget(self) -> None:
        """A stream that was taken is over."""
        self._live -= 1
        self._one_over.unpark_all()

    async def wait_all_over(self) -> None:
        """Wait until no accepted stream needs the listener any more."""
        while self._live:
            await self._one_over.park()

    def _discard(self, stream: P2PStream) -> None:
        stream.abort("the receiver was closed before it accepted the stream")


class RawService(Service[trio.SocketStream]):
    """Bare connections."""

    def __init__(self) -> None:
        super().__init__(RAW_BACKLOG)

    async def take(self, stream: trio.SocketStream) -> None:
        """Take a stream, as soon as there is room."""
        # No checkpoint between the stream's making and here: nothing may lose it.
        delivered = False
        try:
            self._count()
            await self._put.send(stream)
            delivered = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.info("a stream came as the listener was closed")
        finally:
            if not delivered:
                self._discard(stream)

    def _discard(self, stream: trio.SocketStream) -> None:
        stream.socket.close()
