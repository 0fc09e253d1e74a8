"""The object that owns all that a program does on the network: it listens, and opens streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from .._broker_client.resolve import resolve_broker
from .._connect.connector import Connector
from .._connect.pool import Target
from .._control.controls import Controls
from .._control.watches import Registrations
from .._identity.peer_id import PeerId
from .._listen.listener import P2PListener, open_listener, open_raw_listener
from .._listen.names import Names
from .._listen.service import Admit
from .._listen.serving import serve_streams
from .._nat.findings import Survey
from .._nat.network_survey import survey_network
from .._options import PeerOptions, check_flag, parse_expected, parse_path_kind
from .._stream.handling import Handler, check_serving
from .._stream.open_connections import OpenConnections
from .._stream.p2p_connection import P2PConnection
from .._stream.p2p_stream import P2PStream
from .._wire.uids import parse_protocol, parse_uid
from .calls import Calls
from .statistics import PeerStatistics


class Peer:
    """A program on the network: it listens under names, and opens streams to other peers.

    :func:`open_peer` makes one. It owns what all its streams share: identity, connections, ports,
    and tasks. Any number of tasks may use it at the same time.
    """

    def __init__(self, options: PeerOptions, nursery: trio.Nursery) -> None:
        self._options = options
        self._connections = OpenConnections(nursery, options.tracer)
        self._controls = Controls(options, self._connections)
        self._connector = Connector(self._controls)
        self._names = Names(self._controls)
        self._calls = Calls(self._controls)

    @property
    def peer_id(self) -> PeerId:
        """The peer id that other peers know this one by."""
        return self._options.identity.peer_id

    async def open_stream(
        self,
        uid: str | PeerId,
        *,
        protocol: str = "",
        expect: str | PeerId | None = None,
        wait: bool = False,
    ) -> P2PStream:
        """Open a stream to the receiver that is registered under a UID.

        It is carried by the connection to the receiver that is there, perhaps beside other streams:
        then opening it costs no round trip. Else one is made, which is closed when it has had no
        stream for a minute.

        Args:
            uid: the receiver's UID, text of 1 to 128 bytes in UTF-8, or its peer id. A receiver
                that answers for a peer id has to prove that it is its own, so that not even the
                broker can deceive.
            protocol: the name of what is spoken on the stream, of up to 128 bytes in UTF-8. If the
                receiver does not serve it, the stream's methods raise
                :exc:`trio.BrokenResourceError`, caused by an :exc:`UnknownProtocolError`.
            expect: the peer id that the receiver has to have, if it is not the UID itself.
            wait: whether to wait, if need be, until a receiver registers under the UID.

        Raises:
            P2PError: as :meth:`connect`.
            trio.ClosedResourceError: the peer was left.

        If cancelled, everything that was under way is closed, unless another task waits for it.
        """
        target = _target(uid, expect)
        open_once = partial(self._connector.open_stream, target, parse_protocol(protocol))
        return await self._calls.open(target.uid, open_once, wait=wait)

    async def connect(
        self,
        uid: str | PeerId,
        *,
        expect: str | PeerId | None = None,
        path: str | None = None,
        accept: bool = False,
        wait: bool = False,
    ) -> P2PConnection:
        """Connect to the receiver that is registered under a UID, or use the connection to it.

        The connection stays until it is closed, by this peer or by the other one, and
        :meth:`open_stream` uses it.

        Args:
            uid: the receiver's UID, or its peer id, as for :meth:`open_stream`.
            expect: the peer id that the receiver has to have, if it is not the UID itself.
            path: ``"direct"`` or ``"relay"`` for a connection that takes such paths only, and which
                calls without this argument do not use.
            accept: whether streams that the other side opens are accepted from the beginning: see
                :meth:`P2PConnection.accept`.
            wait: whether to wait, if need be, until a receiver registers under the UID.

        Raises:
            UnknownUIDError: no receiver is registered under the UID.
            WrongPeerError: the receiver is not the peer that was expected, or introduced.
            NotAdmittedError: the receiver does not admit this peer. That may also be the cause of
                the first error on the connection, or on a stream.
            IntroductionError: the broker introduced us, but no connection came of it. What was
                attempted is in :attr:`IntroductionError.attempts`.
            RelayError: only the relay was allowed, and the broker does not relay.
            AccessDeniedError: the broker does not admit us, or not to that.
            BrokerUnreachableError: no broker answers there.
            BrokerLostError: the broker closed the connection.
            LocalProtocolError: an argument is wrong.
            ProtocolError: this is not a broker, or not one of this version.
            trio.ClosedResourceError: the peer was left.

        If cancelled, everything that was under way is closed, unless another task waits for it.
        """
        target = attrs.evolve(_target(uid, expect), kind=parse_path_kind(path))
        check_flag("accept", accept)

        async def connect_once() -> P2PConnection:
            connection = (await self._connector.connect(target)).connection
            connection.keep()
            if accept:
                connection.accept_streams()
            return connection

        return await self._calls.open(target.uid, connect_once, wait=wait)

    async def open_raw_stream(self, uid: str | PeerId, *, wait: bool = False) -> trio.SocketStream:
        """Open a bare TCP connection to a receiver that accepts such: see :meth:`listen_raw`.

        Nothing is encrypted, no identity is proven, nothing is relayed, and the stream does not
        outlive its connection. That it leads to the receiver that the broker has introduced is
        made sure of. The stream is the caller's, and outlives the peer.

        Args:
            uid: the receiver's UID.
            wait: whether to wait, if need be, until a receiver registers under the UID.

        Raises:
            P2PError: as :meth:`open_stream`.
            LocalProtocolError: an argument is wrong, or the peer's techniques allow the relay only.
            trio.ClosedResourceError: the peer was left.

        If cancelled, everything that was under way is closed.
        """
        checked_uid = parse_uid(uid)
        open_once = partial(self._connector.open_raw, checked_uid)
        return await self._calls.open(checked_uid, open_once, wait=wait)

    @asynccontextmanager
    async def listen(
        self, uid: str | PeerId, *, protocol: str = "", admit: Admit | None = None
    ) -> AsyncGenerator[P2PListener[P2PStream]]:
        """Register a UID, and accept streams from the senders that ask for it.

        Use as an async context manager. On leaving it, also when cancelled, the UID is given back
        and the listener is closed; streams that were accepted live on as long as the peer does.
        Several listeners may share a UID, each for another protocol.

        Args:
            uid: what senders ask for: text of 1 to 128 bytes in UTF-8, or our own peer id.
            protocol: the name of what is spoken on the streams, of up to 128 bytes in UTF-8; the
                default one if empty.
            admit: called with the peer id of each sender that has proven to be it, once for each
                connection, and once more before ports are guessed for one; those that it does not
                return True for are refused, and no byte of theirs reaches the application. One that
                raises refuses, and is logged. If None, all are admitted.

        Yields:
            The :class:`P2PListener`, registered.

        Raises:
            AccessDeniedError: the broker does not admit us, or not to that.
            BrokerUnreachableError: no broker answers there.
            BrokerLostError: it closed the connection at once.
            UIDTakenError: a receiver of another identity is registered under the UID.
            IdentityError: the broker does not believe our identity.
            LocalProtocolError: an argument is wrong, or this peer listens for that already.
            ProtocolError: this is not a broker, or not one of this version.
            trio.ClosedResourceError: the peer was left.
        """
        self._calls.check_open()
        async with open_listener(uid, protocol, admit, self._names, self._options) as listener:
            yield listener

    @asynccontextmanager
    async def listen_raw(self, uid: str | PeerId) -> AsyncGenerator[P2PListener[trio.SocketStream]]:
        """Like :meth:`listen`, but accept bare TCP connections: see :meth:`open_raw_stream`.

        Nothing is encrypted, and no sender proves an identity: all that know the UID get in.
        """
        self._calls.check_open()
        async with open_raw_listener(uid, self._names, self._options) as listener:
            yield listener

    async def serve(
        self,
        uid: str | PeerId,
        handler: Handler,
        *,
        protocol: str = "",
        admit: Admit | None = None,
        handler_nursery: trio.Nursery | None = None,
        task_status: trio.TaskStatus[P2PListener[P2PStream]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen under a UID, and run a handler for each stream, until cancelled.

        Like :func:`trio.serve_tcp`: each stream gets a task that runs ``handler``, and is closed
        when that returns. If the handler fails or is cancelled, the stream is aborted, and the
        sender's end raises :exc:`trio.BrokenResourceError`. A handler that fails because its sender
        has gone is logged and counted, and ends nothing else; other errors of a handler end the
        call.

        When cancelled, all streams end at once, unless ``handler_nursery`` lives on. To let running
        handlers finish, drain or close the listener instead: this returns when they have.

        Args:
            uid: as for :meth:`listen`, like protocol and admit.
            handler: called with each stream.
            protocol: the name of what is spoken on the streams.
            admit: says of a peer id whether to admit it.
            handler_nursery: where to run the handlers; in a nursery of its own if None.
            task_status: started when the UID is registered, with the listener.

        Raises:
            P2PError: as :meth:`listen`, and as :meth:`P2PListener.accept`.
        """
        check_serving(handler, handler_nursery)
        async with self.listen(uid, protocol=protocol, admit=admit) as listener:
            task_status.started(listener)
            await serve_streams(listener, handler, handler_nursery)

    @asynccontextmanager
    async def watch(self, uid: str | PeerId) -> AsyncGenerator[Registrations]:
        """Be told whenever a receiver registers under a UID.

        Use as an async context manager::

            async with peer.watch("bob") as registrations:
                async for _ in registrations:
                    print("bob is there")

        The iteration raises :exc:`trio.ClosedResourceError` when the peer is left. If a receiver is
        registered already, the next registration is told only if it is of the same identity.

        Args:
            uid: the UID. Whether it is registered already is not told.

        Raises:
            LocalProtocolError: it is none.
            trio.ClosedResourceError: the peer was left.
        """
        with self._calls.watching(parse_uid(uid)) as registrations:
            yield registrations

    async def survey(self) -> Survey:
        """Find out what the network that this host is in does to connections between peers.

        Takes up to half a minute. It is what ``trio-p2p doctor`` prints.

        Raises:
            BrokerUnreachableError: no broker answers.
            ProtocolError: what answers is no broker of this version.

        If cancelled, nothing is left of it.
        """
        return await survey_network(await resolve_broker(self._options.brokers[0].address))

    def statistics(self) -> PeerStatistics:
        """What the peer holds now."""
        return PeerStatistics(
            connections=len(self._connections),
            streams=self._connections.streams,
            names=self._names.uids,
            strangers=self._controls.strangers,
        )

    async def leave(self) -> None:
        """End everything; see :func:`open_peer`."""
        self._calls.leave()
        await self._connections.leave(self._options.limits.grace)


def _target(uid: str | PeerId, expect: str | PeerId | None) -> Target:
    """Check the arguments that say what to connect to."""
    checked_uid = parse_uid(uid)
    return Target(checked_uid, parse_expected(checked_uid, expect))
