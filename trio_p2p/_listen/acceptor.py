"""What a receiver makes of a connection: a new stream, or another path of one that it has."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

import trio

from .._errors import (
    NotAdmittedError,
    P2PError,
    PathLostError,
    SessionLostError,
    StreamAbortedError,
)
from .._identity.peer_id import PeerId
from .._options import PeerOptions
from .._peer_connection import PeerConnection
from .._stream.carrier import Carrier
from .._stream.frames import AbortCode, HelloReader, PathHello, abort
from .._stream.handshake import secure
from .._stream.open_streams import OpenStreams
from .._stream.p2p_stream import P2PStream
from .._stream.path import Path
from .._stream.session import Session
from .._stream.states import SessionRole, SessionState
from .._stream.stream_path import PathKind, StreamPath
from .._stream.tls import make_context
from .probation import Probation

logger = logging.getLogger("trio_p2p.receiver")

_NOT_KNOWN = "this stream is not known here any more: the program was started again, or ended it"

# Seconds; the side that opens keeps a reserve for less.
MAX_RESERVE_TIME = 60.0
MAX_ENDED = 1024  # sessions that are remembered: a late path must not begin one of them anew

Admit: TypeAlias = Callable[[PeerId], bool]

S = TypeVar("S", bound=trio.abc.AsyncResource)


class Accepting(ABC, Generic[S]):
    """What a listener makes of connections.

    Args:
        accepted: where new streams go.

    Attributes:
        connected: how many there were.
        is_draining: whether to take no more.
    """

    def __init__(self, accepted: trio.MemorySendChannel[S]) -> None:
        self.connected: int = 0
        self.is_draining: bool = False
        self._accepted = accepted

    @abstractmethod
    async def take(self, connection: PeerConnection, probation: Probation) -> None:
        """Make a stream of a connection, or give it to the stream that it belongs to.

        Args:
            connection: what came of an introduction; it is ours from now on.
            probation: it ends when the sender is admitted; the new stream then waits until the
                application takes it.

        Raises:
            P2PError: nothing comes of it.

        If cancelled, the connection is closed.
        """

    @abstractmethod
    def discard(self, stream: S) -> None:
        """End a stream that the application has not accepted."""

    def end(self) -> None:
        """No stream is going to come any more: accepting has nothing to wait for."""
        self._accepted.close()

    @abstractmethod
    async def wait_all_over(self) -> None:
        """Wait until no accepted stream needs the listener any more."""

    async def _deliver(self, stream: S) -> None:
        # No checkpoint between the stream's making and here: nothing may lose it.
        self.connected += 1
        delivered = False
        try:
            await self._accepted.send(stream)
            delivered = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.info("a stream came as the listener was closed")
        finally:
            if not delivered:
                self.discard(stream)


class Acceptor(Accepting[P2PStream]):
    """Turns connections into streams, and carries them.

    Args:
        options: the peer's.
        admit: says whom to admit; everybody if None.
        streams: where the streams belong.
        accepted: where the new ones go.
    """

    def __init__(
        self,
        options: PeerOptions,
        *,
        admit: Admit | None,
        streams: OpenStreams,
        accepted: trio.MemorySendChannel[P2PStream],
    ) -> None:
        super().__init__(accepted)
        self._context = make_context(options.identity)
        self._admit = admit
        self._window = options.window
        self._grace = options.grace
        self._streams = streams
        self._carriers: dict[bytes, tuple[PeerId, Carrier]] = {}
        self._one_over = trio.lowlevel.ParkingLot()
        self._ended: dict[bytes, tuple[PeerId, Session | bytes]] = {}  # or its last words
        self._reserves: Counter[PeerId] = Counter()  # paths that have not said yet what they carry

    async def take(self, connection: PeerConnection, probation: Probation) -> None:
        """Make a stream of a connection, or give it to the stream that it belongs to.

        Raises:
            NotAdmittedError: we do not admit the peer.
            StreamAbortedError: we take no new streams.
            SessionLostError: the connection is for a stream that is over or not known.
            P2PError: it is not who it claims to be, or does not speak as it should.

        If cancelled, the connection is closed.
        """
        path, described, peer_id = await secure(connection, self._context, server_side=True)
        is_taken = False
        try:
            with self._reserving(described, peer_id, probation):
                hello = await _receive_hello(path)
            if hello.session in self._ended:
                self._answer_late(path, hello, peer_id)
                return
            known = self._carrier_of(hello, peer_id)
            carrier = known or self._begin(hello.session, peer_id)
            is_taken = carrier.attach(path, described, circuit=connection.circuit, hello=hello)
        except NotAdmittedError as error:
            path.send_at_once(abort(AbortCode.NOT_ADMITTED, str(error)))
            raise
        except SessionLostError as error:
            path.send_at_once(abort(AbortCode.UNKNOWN_SESSION, str(error)))
            raise
        except StreamAbortedError as error:
            path.send_at_once(abort(AbortCode.GIVEN_UP, str(error)))
            raise
        finally:
            if not is_taken:
                path.close()
        if known is None:
            probation.end()
            stream = self._streams.add(carrier, peer_id)
            await self._deliver(stream)

    async def wait_all_over(self) -> None:
        while self._carriers:
            await self._one_over.park()

    @contextmanager
    def _reserving(
        self, described: StreamPath, peer_id: PeerId, probation: Probation
    ) -> Generator[None]:
        """Let a relayed path wait as a reserve, one for each live session of its peer."""
        sessions = sum(owner == peer_id for owner, _ in self._carriers.values())
        if described.kind is not PathKind.RELAY or self._reserves[peer_id] >= sessions:
            yield
            return
        self._reserves[peer_id] += 1
        probation.extend(MAX_RESERVE_TIME)
        try:
            yield
        finally:
            self._reserves[peer_id] -= 1
            if not self._reserves[peer_id]:
                del self._reserves[peer_id]

    def _carrier_of(self, hello: PathHello, peer_id: PeerId) -> Carrier | None:
        """What carries the session that a path belongs to; None if that is to begin."""
        if hello.session in self._carriers:
            owner, carrier = self._carriers[hello.session]
            if owner != peer_id:
                raise NotAdmittedError("this session belongs to another peer")
            return carrier
        if not hello.is_new:
            raise SessionLostError(_NOT_KNOWN)
        if self.is_draining:
            raise StreamAbortedError("the receiver is going to end, and takes no new streams")
        if not self._admits(peer_id):
            raise NotAdmittedError(f"the receiver does not admit {peer_id}")
        return None

    def _admits(self, peer_id: PeerId) -> bool:
        try:
            return self._admit is None or self._admit(peer_id)
        except Exception:  # the application's, which concerns this peer only
            logger.exception("admit= failed for %s, which is refused therefore", peer_id)
            return False

    def _answer_late(self, path: Path, hello: PathHello, peer_id: PeerId) -> None:
        owner, ended = self._ended[hello.session]
        if owner != peer_id:
            raise SessionLostError(_NOT_KNOWN)
        path.send_at_once(ended.answer_late(hello) if isinstance(ended, Session) else ended)

    def _begin(self, identifier: bytes, peer_id: PeerId) -> Carrier:
        session = Session(SessionRole.ACCEPTOR, identifier, self._window, trio.current_time())
        carrier = Carrier(session, self._grace, self._streams.nursery)
        self._carriers[identifier] = peer_id, carrier
        self._streams.nursery.start_soon(self._carry, carrier)
        return carrier

    async def _carry(self, carrier: Carrier) -> None:
        identifier = carrier.session.identifier
        try:
            await carrier.run()
        finally:
            peer_id, _ = self._carriers.pop(identifier)
            self._one_over.unpark_all()
            session = carrier.session
            # One that is broken may hold bytes that the application has yet to read: only its
            # last words are kept.
            is_finished = session.state is SessionState.FINISHED
            self._ended[identifier] = (
                peer_id,
                session if is_finished else session.former_farewell(),
            )
            if len(self._ended) > MAX_ENDED:
                del self._ended[next(iter(self._ended))]

    def discard(self, stream: P2PStream) -> None:
        stream.abort("the receiver was closed before it accepted the stream")


class RawAcceptor(Accepting[trio.SocketStream]):
    """Passes connections on as they are."""

    async def take(self, connection: PeerConnection, probation: Probation) -> None:
        probation.end()  # it has shown the proof of the introduction
        if self.is_draining:
            connection.close()
            return
        await self._deliver(connection.stream)

    def discard(self, stream: trio.SocketStream) -> None:
        stream.socket.close()

    async def wait_all_over(self) -> None:
        await trio.lowlevel.checkpoint()


async def _receive_hello(path: Path) -> PathHello:
    """The hello that a path begins with.

    Raises:
        RemoteProtocolError: it does not begin with one.
        PathLostError: it ended before.
    """
    reader = HelloReader()
    while reader.hello is None:
        try:
            count = await path.receive(reader)
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, P2PError):
                raise error.__cause__ from error
            raise PathLostError(f"the connection broke: {error}") from error
        if not count:
            raise PathLostError("the other side has closed the connection")
    return reader.hello
