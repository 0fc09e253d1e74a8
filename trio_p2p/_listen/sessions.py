"""The sessions that other peers have begun: what a connection becomes, or belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

import attrs
import trio

from .._control.controls import Controls
from .._errors import (
    NotAdmittedError,
    P2PError,
    PathLostError,
    SessionLostError,
    StreamAbortedError,
)
from .._identity.peer_id import PeerId
from .._net.nursery import open_background_nursery
from .._peer_connection import PeerConnection
from .._stream.carrier import Carrier
from .._stream.frames import AbortCode, HelloReader, PathHello, abort
from .._stream.handshake import secure
from .._stream.owned_connection import StreamTaker
from .._stream.p2p_connection import P2PConnection
from .._stream.path import Path
from .._stream.session import Session
from .._stream.states import SessionRole, SessionState
from .._stream.stream_path import PathKind, StreamPath
from .._stream.substream import Substream
from .probation import Probation

if TYPE_CHECKING:
    from .._stream.tls import Context

_NOT_KNOWN = (
    "this connection is not known here any more: the program was started again, or ended it"
)

# Seconds; the side that opens keeps a reserve for less.
MAX_RESERVE_TIME = 60.0
MAX_ENDED = 1024  # sessions that are remembered: a late path must not begin one of them anew


class Taker(StreamTaker, Protocol):
    """What takes the streams of one session."""

    @property
    def used(self) -> Collection[Entrance]:
        """The entrances that streams were for."""
        ...


class Entrance(Protocol):
    """What a session is begun by."""

    def dispatcher(self, peer_id: PeerId) -> Taker:
        """What takes the streams of a session; P2PError says why a peer may begin none."""
        ...


@attrs.frozen
class Begun:
    """A session that lives.

    Attributes:
        peer_id: the peer that has begun the session.
        instance: which program of that identity.
        entrance: by what it was begun.
        taker: what takes its streams.
        connection: the connection that the session became.
    """

    peer_id: PeerId
    instance: bytes
    entrance: Entrance
    taker: Taker
    connection: P2PConnection


class Sessions:
    """The sessions that other peers have begun, whichever UID they have asked for.

    Args:
        controls: the connections to the broker.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._options = controls.options
        self._begun: dict[bytes, Begun] = {}
        self._left_open: list[tuple[PeerId, WeakSet[Substream]]] = []  # of those that are over
        self._ended: dict[bytes, tuple[PeerId, Session | bytes]] = {}  # or its last words
        self._reserves: Counter[PeerId] = Counter()  # paths that have not said yet what they carry

    @cached_property
    def _context(self) -> Context:
        from .._stream.tls import make_context  # noqa: PLC0415 - it says why

        return make_context(self._options.identity)  # which raw streams do not want

    async def take(
        self, connection: PeerConnection, probation: Probation, entrance: Entrance
    ) -> None:
        """Begin a session over a connection, or give it to the one that it is a path of.

        Args:
            connection: what came of an introduction; it is ours from now on.
            probation: the sender's time limit, which is lifted when it is admitted.
            entrance: says whether to admit it.

        Raises:
            P2PError: as :meth:`Acceptor.take`.

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
            carrier = self._connection_of(hello, peer_id, entrance).carrier
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

    def retire(self, entrance: Entrance) -> None:
        """Let the peers that have used an entrance know that it takes no new streams."""
        for begun in self._begun.values():
            if begun.entrance is entrance or entrance in begun.taker.used:
                begun.connection.retire()

    @contextmanager
    def _reserving(
        self, described: StreamPath, peer_id: PeerId, probation: Probation
    ) -> Generator[None]:
        """Let a relayed path wait as a reserve, one for each live session of its peer."""
        sessions = sum(begun.peer_id == peer_id for begun in self._begun.values())
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

    def _connection_of(
        self, hello: PathHello, peer_id: PeerId, entrance: Entrance
    ) -> P2PConnection:
        """The connection that a path belongs to, perhaps a new one."""
        begun = self._begun.get(hello.session)
        if begun is not None:
            if begun.peer_id != peer_id:
                raise NotAdmittedError("this connection belongs to another peer")
            return begun.connection
        if not hello.is_new:
            raise SessionLostError(_NOT_KNOWN)
        taker = entrance.dispatcher(peer_id)
        if hello.is_only:
            self._end_others(peer_id, hello.instance)
        self._check_room(peer_id)
        return self._begin(hello, peer_id, entrance, taker)

    def _check_room(self, peer_id: PeerId) -> None:
        """Make sure that a peer has room for another connection.

        One that is over counts as long as the application has streams of it, which hold memory.

        Raises:
            StreamAbortedError: it has not.
        """
        self._forget_closed()
        owners = [begun.peer_id for begun in self._begun.values()]
        owners += [owner for owner, _ in self._left_open]
        most = self._options.max_connections
        if owners.count(peer_id) >= most:
            raise StreamAbortedError(
                f"the receiver has {most} connections of {peer_id}, and takes no more of one peer: "
                "close one, or try again when it has given up one that was lost"
            )

    def _forget_closed(self) -> None:
        """Forget the connections that are over whose streams the application has closed."""
        self._left_open = [
            (owner, states)
            for owner, states in self._left_open
            if not all(state.is_closed for state in states)
        ]

    def _end_others(self, peer_id: PeerId, instance: bytes) -> None:
        """End the sessions without a path of a program that says that it has had none before.

        One with a path was begun at the same time, or its path is going to be lost.
        """
        for begun in [*self._begun.values()]:
            is_its = (begun.peer_id, begun.instance) == (peer_id, instance)
            if is_its and begun.connection.path is None:
                begun.connection.carrier.fail(SessionLostError("the peer has given it up"))

    def _answer_late(self, path: Path, hello: PathHello, peer_id: PeerId) -> None:
        owner, ended = self._ended[hello.session]
        if owner != peer_id:
            raise SessionLostError(_NOT_KNOWN)
        path.send_at_once(ended.answer_late(hello) if isinstance(ended, Session) else ended)

    def _begin(
        self, hello: PathHello, peer_id: PeerId, entrance: Entrance, taker: Taker
    ) -> P2PConnection:
        connections = self._controls.connections
        connection = P2PConnection(
            SessionRole.ACCEPTOR,
            hello.session,
            self._controls.instance,
            self._options.limits,
            nursery=connections.nursery,
            tracer=self._options.tracer,
            taker=taker,
        )
        connection.identify(peer_id)
        begun = Begun(peer_id, hello.instance, entrance, taker, connection)
        self._begun[hello.session] = begun
        connections.nursery.start_soon(self._carry, begun)
        connections.add(connection)
        return connection

    async def _carry(self, begun: Begun) -> None:
        carrier = begun.connection.carrier
        session = carrier.session
        try:
            async with open_background_nursery() as nursery:
                nursery.start_soon(self._keep_alive, carrier)
                await carrier.run()
        finally:
            del self._begun[session.identifier]
            self._left_open.append((begun.peer_id, begun.connection.left_open))
            self._forget_closed()
            # One that is broken may hold bytes that the application has yet to read: only its
            # last words are kept.
            is_finished = session.state is SessionState.FINISHED
            last = session if is_finished else session.former_farewell()
            self._ended[session.identifier] = begun.peer_id, last
            if len(self._ended) > MAX_ENDED:
                del self._ended[next(iter(self._ended))]

    async def _keep_alive(self, carrier: Carrier) -> None:
        """Have the broker be able to reach us, so that the peer can come back over another path.

        A NAT that has forgotten a path may have forgotten our connections to the broker, too.
        """
        while True:
            had_path = carrier.path is not None
            await carrier.path_changed.park()
            if had_path and carrier.path is None and not carrier.session.is_over:
                # Not here: a message that is cut short ends the connection that it is sent over.
                self._controls.connections.nursery.start_soon(self._controls.keep_alive)


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
