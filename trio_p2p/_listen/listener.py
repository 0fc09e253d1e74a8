"""The receiver: accepts streams from whoever asks the broker for its UID."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

import attrs
import trio

from .._control.controls import Controls
from .._errors import LocalProtocolError
from .._identity.identity import Identity
from .._identity.peer_id import PeerId
from .._options import RELAY_ONLY, check_callback, direct_techniques, parse_registered_uid
from .._stream.p2p_stream import P2PStream
from .._wire.messages import StreamKind
from .acceptor import Acceptor, Admit, RawAcceptor
from .introductions import Introductions
from .registration import Registration

ACCEPT_BACKLOG = 128  # streams that wait for accept()

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
            loopback, or somebody else's. Nothing was sent there.
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

    def __init__(
        self,
        registration: Registration,
        introductions: Introductions[S],
        identity: Identity,
        accepted: trio.MemoryReceiveChannel[S],
    ) -> None:
        self._registration = registration
        self._introductions = introductions
        self._peer_id = identity.peer_id
        self._accepted = accepted
        self._acceptor = introductions.acceptor
        self._lost = 0

    @property
    def uid(self) -> str:
        """The UID that senders ask for."""
        return self._registration.uid

    @property
    def peer_id(self) -> PeerId:
        """Who this listener is to senders."""
        return self._peer_id

    @property
    def is_draining(self) -> bool:
        """Whether :meth:`drain` was called: there are no new streams any more."""
        return self._acceptor.is_draining

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
            return await self._accepted.receive()
        except trio.EndOfChannel:
            failure = self._registration.failure
            raise failure or trio.ClosedResourceError("the listener is closed") from None

    async def aclose(self) -> None:
        """Give the UID back, and abort the streams that were not accepted yet.

        Streams that were accepted live on as long as the :class:`Peer` does, but cannot get another
        path from the sender any more; see :meth:`drain`. Works when cancelled, too.
        """
        self._registration.scope.cancel(reason="the listener was closed")
        self._stop_accepting()
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
        self._acceptor.is_draining = True
        self._stop_accepting()
        await self._acceptor.wait_all_over()
        await self.aclose()

    def _stop_accepting(self) -> None:
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self._acceptor.discard(self._accepted.receive_nowait())
        self._accepted.close()

    def note_lost_peer(self) -> None:
        """Count a handler that has ended because its sender had gone."""
        self._lost += 1

    def statistics(self) -> P2PListenerStatistics:
        """What the listener has seen so far."""
        counts = self._introductions
        return P2PListenerStatistics(
            registrations=self._registration.registered,
            introductions=counts.introduced,
            connected=self._acceptor.connected,
            failed=counts.failed,
            lost=self._lost,
            waiting=self._accepted.statistics().current_buffer_used,
            forbidden=counts.forbidden,
            wrong_peers=counts.wrong_peers,
        )


@asynccontextmanager
async def open_listener(
    uid: str | PeerId, admit: Admit | None, controls: Controls
) -> AsyncGenerator[P2PListener[P2PStream]]:
    """A listener of encrypted streams: see :meth:`Peer.listen`.

    Args:
        uid: what to register.
        admit: says whom to admit; all if None.
        controls: the peer's connections to the broker.
    """
    options = controls.options
    checked_uid = parse_registered_uid(uid, options.identity.peer_id)
    check_callback("admit", admit, "a function of a PeerId, like friends.__contains__")
    put, accepted = trio.open_memory_channel[P2PStream](ACCEPT_BACKLOG)
    acceptor = Acceptor(options, admit=admit, streams=controls.streams, accepted=put)
    introductions = Introductions(
        checked_uid, options.techniques, acceptor, admit=admit, port_guessing=options.port_guessing
    )
    async with _listening(
        checked_uid, StreamKind.SESSION, controls, introductions, accepted
    ) as listener:
        yield listener


@asynccontextmanager
async def open_raw_listener(
    uid: str | PeerId, controls: Controls
) -> AsyncGenerator[P2PListener[trio.SocketStream]]:
    """A listener of bare connections: see :meth:`Peer.listen_raw`.

    Args:
        uid: what to register.
        controls: the peer's connections to the broker.
    """
    options = controls.options
    checked_uid = parse_registered_uid(uid, options.identity.peer_id)
    direct = direct_techniques(options.techniques)
    if not direct:
        raise LocalProtocolError(RELAY_ONLY)
    put, accepted = trio.open_memory_channel[trio.SocketStream](ACCEPT_BACKLOG)
    introductions = Introductions(
        checked_uid, direct, RawAcceptor(put), admit=None, port_guessing=options.port_guessing
    )
    async with _listening(
        checked_uid, StreamKind.RAW, controls, introductions, accepted
    ) as listener:
        yield listener


@asynccontextmanager
async def _listening(
    uid: str,
    kind: StreamKind,
    controls: Controls,
    introductions: Introductions[S],
    accepted: trio.MemoryReceiveChannel[S],
) -> AsyncGenerator[P2PListener[S]]:
    """Register while the block lasts; afterwards the listener is closed."""
    registration = Registration(uid, kind, controls, introductions)
    listener = P2PListener(registration, introductions, controls.options.identity, accepted)
    try:
        await controls.streams.nursery.start(_keep_registered, registration, introductions)
        yield listener
    finally:
        await trio.aclose_forcefully(listener)


async def _keep_registered(
    registration: Registration,
    introductions: Introductions[S],
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    try:
        await registration.run(task_status=task_status)
    finally:
        introductions.acceptor.end()
