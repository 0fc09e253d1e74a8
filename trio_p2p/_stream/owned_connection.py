"""A connection between two peers, as the peer sees it that owns it."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

import trio

from .._errors import LocalProtocolError
from .._identity.peer_id import PeerId
from .carrier import Carrier
from .limits import ConnectionLimits
from .p2p_stream import P2PStream
from .states import SessionRole
from .stream_frames import ResetCode
from .stream_path import StreamPath
from .streams import Streams
from .substream import Substream
from .tracer import Tracer

IDLE_TIME = 60.0  # seconds without a stream after which a connection is closed that is not kept

LEFT = "this peer was left: open another one"
CLOSED = "this connection is closed: connect again"


class StreamTaker(Protocol):
    """Where the streams go that the other side opens."""

    def take(self, stream: P2PStream) -> None:
        """Take a stream, or reset it."""
        ...

    def forget(self, stream: P2PStream) -> None:
        """A stream is over."""
        ...


class OwnedConnection(trio.abc.AsyncResource):
    """What the :class:`Peer` does with a connection, and what its streams tell it.

    Args:
        role: which side of the session this is.
        identifier: the session's.
        instance: what tells this program from others of the same identity.
        limits: how much the connection may hold, and for how long.
        nursery: for the tasks.
        tracer: is told of streams.
        taker: takes the streams that the other side opens, if it has made the connection.

    Attributes:
        left_open: the streams that the application had not closed when the connection was over.
    """

    def __init__(
        self,
        role: SessionRole,
        identifier: bytes,
        instance: bytes,
        limits: ConnectionLimits,
        *,
        nursery: trio.Nursery,
        tracer: Tracer,
        taker: StreamTaker | None = None,
    ) -> None:
        self._streams = Streams(
            role,
            identifier,
            instance,
            limits,
            nursery=nursery,
            owner=self,
            is_accepting=taker is not None,
        )
        self._put, self._accepted = trio.open_memory_channel[P2PStream](limits.streams)
        self._tracer = tracer
        self._taker = taker
        self._peer_id: PeerId | None = None
        self._open: dict[Substream, P2PStream] = {}
        self.left_open: WeakSet[Substream] = WeakSet()
        self._told_of_paths: Counter[P2PStream] = Counter()
        self._is_closed = False
        self._is_left = False
        self._is_kept = taker is not None  # it is the other side that closes it
        self._idle_since = trio.current_time()

    @property
    def carrier(self) -> Carrier:
        """What carries the connection."""
        return self._streams.carrier

    @property
    def peer_id(self) -> PeerId:
        """Who the other side has proven to be."""
        assert self._peer_id is not None  # nothing is made of a connection before that is known
        return self._peer_id

    @property
    def peer_instance(self) -> bytes:
        """Which program of the peer is at the other side; empty if that is not known yet."""
        return self.carrier.session.peer_instance

    @property
    def path(self) -> StreamPath | None:
        """What carries the connection now; None while it waits for another path, and at the end."""
        return None if self.is_over else self.carrier.path

    @property
    def is_over(self) -> bool:
        """Whether nothing more is going to happen, as it is closed or broken."""
        return self._streams.is_over

    @property
    def is_kept(self) -> bool:
        """Whether it stays although it has had no stream for a while."""
        return self._is_kept

    @property
    def is_usable(self) -> bool:
        """Whether streams can be opened over it."""
        return not (self._is_closed or self._streams.is_leaving)

    def identify(self, peer_id: PeerId) -> None:
        """The other side has proven to be a peer."""
        self._peer_id = peer_id

    def accept_streams(self) -> None:
        """Take the streams that the peer opens from now on."""
        if self._taker is not None:
            raise LocalProtocolError(
                "the peer has made this connection, and its streams go to listeners: accept from "
                "those"
            )
        self._streams.accept_streams()

    def leave(self) -> None:
        """Close the connection because its owner is left; :meth:`wait_over` has to follow."""
        self._is_left = not self._is_closed
        for stream in list(self._open.values()):
            stream.leave()
        self.begin_closing()

    def begin_closing(self) -> None:
        """Abort the streams that are open, and close the connection behind the others."""
        self._is_closed = True
        self._put.close()
        for stream in list(self._open.values()):
            stream.abort("the connection was closed")
        self._streams.finish_all()

    def end(self) -> None:
        """The connection is over: let the tasks know that wait for streams of the peer."""
        self._put.close()

    async def wait_usable(self) -> bool:
        """Wait until there is a path, or the connection is over; whether streams can be opened.

        A path that is not the first one counts when the other side has said over it that it still
        knows the connection. If its program was started again, it does not.
        """
        while (self.path is None or self.carrier.is_resuming) and not self.is_over:
            await self.carrier.path_changed.park()
        return self.is_usable

    def check_admitted(self) -> None:
        """Make sure that the peer has not refused the connection from the beginning.

        Raises:
            P2PError: it has.
            trio.ClosedResourceError: the connection is over because its owner was left.
        """
        session = self.carrier.session
        if self.carrier.is_left:
            raise trio.ClosedResourceError(LEFT)
        if session.error is not None and not (session.is_confirmed or self._is_closed):
            raise copy.copy(session.error) from session.error.__cause__  # one for each caller

    async def wait_over(self) -> None:
        """Wait until the connection is over."""
        while not self.is_over:
            await self.carrier.path_changed.park()

    def retire(self) -> None:
        """Open no more streams; the connection closes when those that are open are over."""
        self._streams.go_away()

    def keep(self) -> None:
        """Do not close the connection when it has had no stream for a while."""
        self._is_kept = True

    def look_after(self, now: float) -> None:
        """Cut short what makes no progress, and retire if idle. To be called now and then."""
        self._streams.give_up_stalled(now)
        is_idle = not (self._is_kept or len(self._streams))
        if is_idle and now >= self._idle_since + IDLE_TIME:
            self.retire()

    def tell_path(self) -> None:
        """The path may be another one."""
        for stream in list(self._told_of_paths):
            stream.wake()

    @contextmanager
    def telling_of_paths(self, stream: P2PStream) -> Generator[None]:
        """Wake a stream whenever the path changes, while a block lasts."""
        self._told_of_paths[stream] += 1
        try:
            yield
        finally:
            self._told_of_paths[stream] -= 1
            if not self._told_of_paths[stream]:
                del self._told_of_paths[stream]

    # What its streams tell.

    def opened(self, state: Substream) -> None:
        """The other side has opened a stream."""
        stream = self._begin(state)
        if self._taker is not None:
            self._taker.take(stream)
            return
        try:
            self._put.send_nowait(stream)
        except trio.ClosedResourceError:
            stream.refuse(ResetCode.DRAINING, "the connection is being closed")

    def closed(self, state: Substream) -> None:
        """A stream is over."""
        stream = self._open.pop(state)
        if not state.is_closed:  # the connection is over, and the stream may hold bytes to be read
            self.left_open.add(state)
        self._idle_since = trio.current_time()
        if self._taker is not None:
            self._taker.forget(stream)
        self._tracer.stream_closed(stream)

    @abstractmethod
    def _begin(self, state: Substream) -> P2PStream:
        """Make a stream of its state."""

    def _check(self) -> None:
        is_left = self._is_left or self.carrier.is_left
        if self._is_closed or is_left:
            raise trio.ClosedResourceError(LEFT if is_left else CLOSED)
        if self._streams.is_over:
            error = self._streams.error
            raise trio.BrokenResourceError(f"the connection is broken: {error}") from error
        if self.carrier.session.peer_is_closed:
            raise trio.BrokenResourceError("the peer has closed the connection")
