"""The receiver: accepts streams from whoever asks the broker for its UID."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Generic, Literal, TypeVar, overload

import attrs
import trio

from .._errors import LocalProtocolError
from .._identity.identity import Identity
from .._identity.peer_id import PeerId
from .._net.nursery import open_background_nursery
from .._options import (
    ALL_TECHNIQUES,
    BrokerAddress,
    check_callback,
    check_flag,
    parse_broker,
    parse_expected,
    parse_grace,
    parse_identity,
    parse_path,
    parse_techniques,
    parse_uid,
    parse_window,
)
from .._stream.carrier import DEFAULT_GRACE
from .._stream.p2p_stream import P2PStream
from .._stream.session import DEFAULT_WINDOW
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
        lost: how many handlers of :func:`serve_p2p` have ended because their sender had gone.
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

    :func:`open_p2p_listener` makes one: of :class:`P2PStream`, or of :class:`trio.SocketStream`
    if they are raw. It works with :func:`trio.serve_listeners`: what goes wrong between one
    sender and us is logged and counted, and never surfaces from :meth:`accept`. While the broker
    is away, or another identity holds the UID when it comes back, the listener keeps trying to
    register again; accepted streams are not concerned.
    """

    def __init__(
        self,
        registration: Registration,
        introductions: Introductions,
        peer_id: PeerId,
        accepted: trio.MemoryReceiveChannel[S],
        acceptor: Acceptor | RawAcceptor,
    ) -> None:
        self._registration = registration
        self._introductions = introductions
        self._peer_id = peer_id
        self._accepted = accepted
        self._acceptor: Any = acceptor
        self._lost = 0

    @property
    def uid(self) -> str:
        """The UID that senders ask for."""
        return self._registration.uid

    @property
    def peer_id(self) -> PeerId:
        """Who this listener is to senders."""
        return self._peer_id

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
            assert self._registration.failure is not None
            raise self._registration.failure from None

    async def aclose(self) -> None:
        """End the registration, and abort the streams that were not accepted yet.

        Streams that were accepted live on, but cannot get another path from the sender any more;
        the context that the listener was opened in ends them. So a server drains like this::

            async with open_p2p_listener(uid, broker) as listener, trio.open_nursery() as handlers:
                with trio.CancelScope() as serving:  # cancel it to shut down
                    await trio.serve_listeners(handler, [listener], handler_nursery=handlers)
                await listener.aclose()  # running handlers finish

        Works when cancelled, too.
        """
        self._registration.scope.cancel(reason="the listener was closed")
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self._acceptor.discard(self._accepted.receive_nowait())
        self._accepted.close()
        await trio.lowlevel.checkpoint()

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


@overload
def open_p2p_listener(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = ...,
    raw: Literal[True],
    techniques: Sequence[str] = ...,
    port_guessing: bool = ...,
) -> AbstractAsyncContextManager[P2PListener[trio.SocketStream]]: ...


@overload
def open_p2p_listener(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = ...,
    admit: Admit | None = ...,
    raw: Literal[False] = ...,
    techniques: Sequence[str] = ...,
    window: int = ...,
    grace: float = ...,
    port_guessing: bool = ...,
) -> AbstractAsyncContextManager[P2PListener[P2PStream]]: ...


@asynccontextmanager
async def open_p2p_listener(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = None,
    admit: Admit | None = None,
    raw: bool = False,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    port_guessing: bool = True,
) -> AsyncGenerator[P2PListener[Any]]:
    """Register a UID with a broker, and accept streams from whoever asks for it.

    Use as an async context manager. On leaving it, also when cancelled, the broker is told that
    the receiver quits, and every stream that is not raw is closed without waiting: the tasks that
    keep it alive belong to this context.

    Args:
        uid: what senders ask for: text of 1 to 128 bytes in UTF-8, or the peer id of the identity.
        broker: ``"HOST:PORT"`` or a tuple of both. By a name that stands for IPv4 and IPv6
            addresses of the broker peers meet over both.
        identity: who we are. Nobody else can take the UID as long as it is registered. If None,
            one is made that nobody knows.
        admit: called with the peer id of each sender that has proven to be it; those that it does
            not return True for are refused, and no byte of theirs reaches the application. Must
            not raise. If None, everybody is admitted.
        raw: accept bare TCP connections, to senders that ask for them, and no others. Nothing is
            encrypted, nobody proves an identity, and nothing is relayed.
        techniques: by which techniques to be introduced: ``"fast"``, ``"classic"``, ``"relay"``.
        window: how many bytes each stream may hold, sent and not acknowledged, or received and
            not read. A quarter is for either direction at least.
        grace: for how many seconds a stream that has lost its path waits for another one.
        port_guessing: whether to guess ports where one side's NAT gives them at random, if the
            sender does, too: it takes up to
            1,024 connection attempts, and some hundred descriptors.

    Yields:
        The :class:`P2PListener`, registered.

    Raises:
        BrokerUnreachableError: no broker answers there.
        BrokerLostError: it closed the connection at once.
        UIDTakenError: somebody else is registered under the UID.
        IdentityError: the broker does not believe our identity.
        LocalProtocolError: an argument is wrong.
        ProtocolError: this is not a broker, or not one of this version.
    """
    me = parse_identity(identity)
    checked_uid, address = parse_uid(uid), parse_broker(broker)
    if parse_expected(checked_uid, None) not in (None, me.peer_id):
        raise LocalProtocolError(
            f"{checked_uid} is the peer id of another identity: register {me.peer_id}, or a name"
        )
    check_flag("raw", raw)
    check_flag("port_guessing", port_guessing)
    check_callback("admit", admit, "a function of a PeerId, like friends.__contains__")
    if raw and admit is not None:
        raise LocalProtocolError("raw streams prove nobody's identity: leave admit= out")
    chosen = parse_path("direct" if raw else "any", parse_techniques(techniques))
    parse_window(window)
    parse_grace(grace)
    streams, accepted = trio.open_memory_channel[Any](ACCEPT_BACKLOG)
    async with streams, open_background_nursery() as nursery:
        acceptor = (
            RawAcceptor(streams)
            if raw
            else Acceptor(
                me,
                admit=admit,
                window=window,
                grace=grace,
                nursery=nursery,
                streams=streams,
            )
        )
        introductions = Introductions(
            checked_uid, chosen, acceptor.take, admit=admit, port_guessing=port_guessing
        )
        registration = Registration(
            checked_uid,
            address,
            chosen,
            introductions,
            stream=StreamKind.RAW if raw else StreamKind.SESSION,
            identity=me,
            is_awaited=acceptor.is_any_path_lost,
            port_guessing=port_guessing,
        )
        listener = P2PListener[Any](registration, introductions, me.peer_id, accepted, acceptor)
        try:
            await nursery.start(_keep_registered, registration, streams)
            yield listener
        finally:
            await trio.aclose_forcefully(listener)


async def _keep_registered(
    registration: Registration,
    streams: trio.MemorySendChannel[Any],
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    with streams:  # whoever accepts has nothing to wait for any more when this ends
        await registration.run(task_status=task_status)
