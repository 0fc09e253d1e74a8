"""The receiver: accepts streams from the senders that ask the broker for its UID."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import attrs
import trio

from .._errors import LocalProtocolError
from .._identity.identity import Identity
from .._identity.peer_id import PeerId
from .._options import (
    RELAY_ONLY,
    PeerOptions,
    check_callback,
    direct_techniques,
    parse_registered_uid,
)
from .._stream.p2p_stream import P2PStream
from .._wire.uids import parse_protocol
from .names import Name, Names
from .service import Admit, RawService, Service, StreamService

S = TypeVar("S", bound=trio.abc.AsyncResource)


@attrs.frozen
class P2PListenerStatistics:
    """What a listener has seen so far.

    Attributes:
        registrations: how often the UID was registered with the broker.
        introductions: how often the broker has introduced a sender; those by the other version of
            IP and those for the relay count, too, which are asked for at the same time.
        connected: how many streams came of them.
        failed: how many introductions led to no connection; those for the relay do not count, nor
            those of a sender that another one has connected.
        lost: how many handlers of :meth:`Peer.serve` have ended because their sender had gone.
        waiting: how many streams wait for ``accept`` now.
        forbidden: how many endpoints senders have named that cannot be theirs, such as services,
            loopback, or another host's. Nothing was sent there.
        wrong_peers: how many connections were closed because the other side could not prove to be
            the sender that was introduced. Strangers who come to the port are among them, and now
            and then a connection that an honest sender has given up for a better one.
    """

    registrations: int
    introductions: int
    connected: int
    failed: int
    lost: int
    waiting: int
    forbidden: int
    wrong_peers: int


class P2PListener(trio.abc.Listener[S], Generic[S]):
    """Accepts streams from the senders that ask a broker for a UID.

    :meth:`Peer.listen` and :func:`open_p2p_listener` make one of :class:`P2PStream`,
    :meth:`Peer.listen_raw` makes one of :class:`trio.SocketStream`. What goes wrong between one
    sender and us is logged and counted, and never surfaces from :meth:`accept`. While the broker is
    away, or another identity holds the UID when it comes back, the listener keeps trying to
    register again; accepted streams are not concerned.

    :meth:`Peer.serve` runs a handler for each stream; :func:`trio.serve_listeners` does, too, but
    raises when the listener is closed.
    """

    def __init__(self, name: Name, service: Service[S], protocol: str, identity: Identity) -> None:
        self._name = name
        self._service = service
        self._protocol = protocol
        self._peer_id = identity.peer_id
        self._lost = 0
        self._is_draining = False

    @property
    def uid(self) -> str:
        """The UID that senders ask for."""
        return self._name.registration.uid

    @property
    def protocol(self) -> str:
        """The name of what is spoken on the streams; empty for the default one."""
        return self._protocol

    @property
    def peer_id(self) -> PeerId:
        """The peer id that senders know this listener by."""
        return self._peer_id

    @property
    def is_draining(self) -> bool:
        """Whether :meth:`drain` was called, so that there are no new streams any more."""
        return self._is_draining

    async def accept(self) -> S:
        """Wait for the next stream.

        Returns:
            A stream whose other end has proven who it is; if it is raw, that it is the sender
            that the broker introduced.

        Raises:
            trio.ClosedResourceError: the listener is closed, perhaps by another task meanwhile.
            UIDTakenError: the same identity has registered the UID elsewhere.
            P2PError: the broker rejects the registration for good for another reason.

        If cancelled, no stream was taken.
        """
        try:
            return await self._service.accepted.receive()
        except trio.EndOfChannel:
            failure = self._name.registration.failure
            raise failure or trio.ClosedResourceError("the listener is closed") from None

    def take_waiting(self) -> list[S]:
        """Accept all streams that wait for it, and no more."""
        accepted = self._service.accepted
        waiting = accepted.statistics().current_buffer_used
        return [accepted.receive_nowait() for _ in range(waiting)]

    async def aclose(self) -> None:
        """Give the UID back, and abort the streams that were not accepted yet.

        Streams that were accepted live on as long as the :class:`Peer` does. One that is moving to
        another path at this moment gets there, but after that the sender cannot bring any more
        paths; see :meth:`drain`. Works when cancelled, too.
        """
        self._service.stop()
        self._name.give_up(self._protocol, self._service)
        await trio.lowlevel.checkpoint()

    async def drain(self) -> None:
        """Take no new streams, and wait until all that were accepted are over; then close.

        Until then the UID stays registered, so that they can get another path. Raw streams are not
        waited for. So a server lets running handlers finish::

            async with trio.open_nursery() as nursery:
                listener = await nursery.start(peer.serve, "alice", handler)
                await shutdown.wait()
                await listener.drain()

        If cancelled, the listener takes no new streams, and is not closed.
        """
        self._is_draining = True
        self._service.stop()
        self._name.retire_if_drained()
        await self._service.wait_all_over()
        await self.aclose()

    def note_lost_peer(self) -> None:
        """Count a handler that has ended because its sender had gone."""
        self._lost += 1

    def statistics(self) -> P2PListenerStatistics:
        """What the listener has seen so far."""
        counts = self._name.introductions
        return P2PListenerStatistics(
            registrations=self._name.registration.registered,
            introductions=counts.introduced,
            connected=self._service.connected,
            failed=counts.failed,
            lost=self._lost,
            waiting=self._service.accepted.statistics().current_buffer_used,
            forbidden=counts.forbidden,
            wrong_peers=counts.wrong_peers,
        )


@asynccontextmanager
async def open_listener(
    uid: str | PeerId,
    protocol: str,
    admit: Admit | None,
    names: Names,
    options: PeerOptions,
) -> AsyncGenerator[P2PListener[P2PStream]]:
    """A listener of encrypted streams: see :meth:`Peer.listen`.

    Args:
        uid: what to register.
        protocol: the name of what is spoken on the streams.
        admit: says whom to admit; all if None.
        names: the UIDs that the peer is registered under.
        options: the options of the peer.
    """
    checked_uid = parse_registered_uid(uid, options.identity.peer_id)
    checked_protocol = parse_protocol(protocol)
    check_callback("admit", admit, "a function of a PeerId, like friends.__contains__")
    service = StreamService(admit)
    async with names.offering(checked_uid, checked_protocol, service) as name:
        yield P2PListener(name, service, checked_protocol, options.identity)


@asynccontextmanager
async def open_raw_listener(
    uid: str | PeerId, names: Names, options: PeerOptions
) -> AsyncGenerator[P2PListener[trio.SocketStream]]:
    """A listener of bare connections: see :meth:`Peer.listen_raw`.

    Args:
        uid: what to register.
        names: the UIDs that the peer is registered under.
        options: the options of the peer.
    """
    checked_uid = parse_registered_uid(uid, options.identity.peer_id)
    if not direct_techniques(options.techniques):
        raise LocalProtocolError(RELAY_ONLY)
    service = RawService()
    async with names.offering_raw(checked_uid, service) as name:
        yield P2PListener(name, service, "", options.identity)
