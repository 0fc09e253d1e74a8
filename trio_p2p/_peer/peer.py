"""The object that owns all that a program does on the network: it listens, and opens streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import trio

from .._broker_client.resolve import resolve_broker
from .._connect.connector import Connector
from .._control.controls import Controls
from .._control.watches import Registrations
from .._errors import LocalProtocolError, UnknownUIDError
from .._identity.peer_id import PeerId
from .._listen.acceptor import Admit
from .._listen.listener import P2PListener, open_listener, open_raw_listener
from .._listen.serving import serve_streams
from .._nat.findings import Survey
from .._nat.network_survey import survey_network
from .._net.backoff import Backoff
from .._options import (
    PeerOptions,
    check_flag,
    check_serving,
    parse_expected,
    parse_uid,
)
from .._stream.open_streams import OpenStreams
from .._stream.p2p_stream import P2PStream
from .statistics import PeerStatistics

S = TypeVar("S", P2PStream, trio.SocketStream)

# Seconds until a receiver that is waited for is asked for again, told of it or not: at first, and
# at most.
MIN_RECHECK_TIME, RECHECK_TIME = 1.0, 60.0

LEFT = "this peer was left: open another one"


class Peer:
    """A program on the network: it listens under names, and opens streams to other peers.

    :func:`open_peer` makes one. It owns what all its streams share: the identity, the connections
    to the broker, the local ports, what is known of the NATs, and the tasks that keep streams
    alive. Any number of tasks may use it at the same time.
    """

    def __init__(self, options: PeerOptions, nursery: trio.Nursery) -> None:
        self._options = options
        self._streams = OpenStreams(nursery, options.tracer)
        self._controls = Controls(options, self._streams)
        self._connector = Connector(self._controls)
        self._names: set[str] = set()
        self._watched: set[Registrations] = set()
        self._opening: set[trio.CancelScope] = set()
        self._is_left = False

    @property
    def peer_id(self) -> PeerId:
        """Who this is to other peers."""
        return self._options.identity.peer_id

    async def open_stream(
        self, uid: str | PeerId, *, expect: str | PeerId | None = None, wait: bool = False
    ) -> P2PStream:
        """Open a stream to the receiver that is registered under a UID.

        Args:
            uid: the receiver's UID, text of 1 to 128 bytes in UTF-8, or its peer id. Whoever
                answers for a peer id has to prove that it is theirs, so that not even the broker
                can deceive.
            expect: the peer id that the receiver has to have, if it is not the UID itself.
            wait: whether to wait, if need be, until a receiver registers under the UID.

        Raises:
            UnknownUIDError: no receiver is registered under the UID.
            WrongPeerError: who answered is not the peer that was expected, or introduced.
            IntroductionError: the broker introduced us, but no connection came of it. What was
                attempted is in :attr:`IntroductionError.attempts`.
            RelayError: only the relay was allowed, and the broker does not relay.
            BrokerUnreachableError: no broker answers there.
            BrokerLostError: the broker closed the connection.
            LocalProtocolError: an argument is wrong.
            ProtocolError: this is not a broker, or not one of this version.
            trio.ClosedResourceError: the peer was left.

        If cancelled, everything that was under way is closed.
        """
        checked_uid = parse_uid(uid)
        expected = parse_expected(checked_uid, expect)
        return await self._open(
            checked_uid, lambda: self._connector.open_session(checked_uid, expected), wait=wait
        )

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
        return await self._open(
            checked_uid, lambda: self._connector.open_raw(checked_uid), wait=wait
        )

    @asynccontextmanager
    async def listen(
        self, uid: str | PeerId, *, admit: Admit | None = None
    ) -> AsyncGenerator[P2PListener[P2PStream]]:
        """Register a UID, and accept streams from whoever asks for it.

        Use as an async context manager. On leaving it, also when cancelled, the UID is given back
        and the listener is closed; streams that were accepted live on as long as the peer does.

        Args:
            uid: what senders ask for: text of 1 to 128 bytes in UTF-8, or our own peer id.
            admit: called with the peer id of each sender that has proven to be it; those that it
                does not return True for are refused, and no byte of theirs reaches the
                application. One that raises refuses, and is logged. If None, all are admitted.

        Yields:
            The :class:`P2PListener`, registered.

        Raises:
            BrokerUnreachableError: no broker answers there.
            BrokerLostError: it closed the connection at once.
            UIDTakenError: a receiver of another identity is registered under the UID.
            IdentityError: the broker does not believe our identity.
            LocalProtocolError: an argument is wrong, or this peer listens under the UID already.
            ProtocolError: this is not a broker, or not one of this version.
            trio.ClosedResourceError: the peer was left.
        """
        self._check_open()
        with self._naming(uid):
            async with open_listener(uid, admit, self._controls) as listener:
                yield listener

    @asynccontextmanager
    async def listen_raw(self, uid: str | PeerId) -> AsyncGenerator[P2PListener[trio.SocketStream]]:
        """Like :meth:`listen`, but accept bare TCP connections: see :meth:`open_raw_stream`.

        Nothing is encrypted, and no sender proves an identity: anyone who knows the UID gets in.
        """
        self._check_open()
        with self._naming(uid):
            async with open_raw_listener(uid, self._controls) as listener:
                yield listener

    async def serve(
        self,
        uid: str | PeerId,
        handler: Callable[[P2PStream], Awaitable[object]],
        *,
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
            uid: as for :meth:`listen`.
            handler: called with each stream.
            admit: as for :meth:`listen`.
            handler_nursery: where to run the handlers; in a nursery of its own if None.
            task_status: started when the UID is registered, with the listener.

        Raises:
            P2PError: as :meth:`listen`, and as :meth:`P2PListener.accept`.
        """
        check_serving(handler, handler_nursery)
        async with self.listen(uid, admit=admit) as listener:
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
        checked_uid = parse_uid(uid)
        self._check_open()
        with self._controls.watching(checked_uid) as registrations:
            self._watched.add(registrations)
            try:
                yield registrations
            finally:
                self._watched.remove(registrations)

    async def survey(self) -> Survey:
        """Find out what the network that this host is in does to connections between peers.

        Takes up to half a minute. It is what ``trio-p2p doctor`` prints.

        Raises:
            BrokerUnreachableError: no broker answers.
            ProtocolError: what answers is no broker of this version.

        If cancelled, nothing is left of it.
        """
        return await survey_network(await resolve_broker(self._options.broker))

    def statistics(self) -> PeerStatistics:
        """What the peer holds now."""
        names = frozenset(self._names)
        return PeerStatistics(len(self._streams), names, self._controls.strangers)

    async def leave(self) -> None:
        """End everything; see :func:`open_peer`."""
        self._is_left = True
        for scope in self._opening:
            scope.cancel(reason="the peer was left")
        for registrations in self._watched:
            registrations.close()
        await self._streams.leave(self._options.grace)

    def _check_open(self) -> None:
        if self._is_left:
            raise trio.ClosedResourceError(LEFT)

    async def _open(self, uid: str, open_once: Callable[[], Awaitable[S]], *, wait: bool) -> S:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        check_flag("wait", wait)
        with trio.CancelScope() as scope:
            self._opening.add(scope)
            try:
                return await (self._open_later(uid, open_once) if wait else open_once())
            finally:
                self._opening.remove(scope)
        raise trio.ClosedResourceError(LEFT)

    async def _open_later(self, uid: str, open_once: Callable[[], Awaitable[S]]) -> S:
        # The broker may hear of the first requests in another order than they were made. So the
        # next one comes soon, whether there is news or not.
        backoff = Backoff(MIN_RECHECK_TIME, RECHECK_TIME)
        async with self.watch(uid) as registrations:
            while True:
                try:
                    return await open_once()
                except UnknownUIDError:
                    with trio.move_on_after(backoff.next_pause()):
                        await registrations.wait()

    @contextmanager
    def _naming(self, uid: str | PeerId) -> Generator[None]:
        """Note that the peer listens under a UID, which it cannot do twice."""
        checked_uid = parse_uid(uid)
        if checked_uid in self._names:
            raise LocalProtocolError(
                f"this peer listens under {checked_uid!r} already: leave that listener's context "
                "first, or choose another UID"
            )
        self._names.add(checked_uid)
        try:
            yield
        finally:
            self._names.remove(checked_uid)
