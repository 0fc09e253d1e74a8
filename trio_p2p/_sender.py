"""The sender: asks a broker for a UID, and opens streams to the receiver that registered it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property, partial
from typing import Any, Literal, overload

import attrs
import trio

from ._any_ip import open_by_any_ip
from ._errors import LocalProtocolError, Technique
from ._identity import Identity
from ._introduction import OnAttempt, PeerConnection
from ._kept_links import KeptLinks
from ._net.broker_search import IP_VERSIONS
from ._net.network_changes import network_remembered
from ._net.nursery import open_background_nursery
from ._parameters import (
    ALL_TECHNIQUES,
    BrokerAddress,
    parse_broker,
    parse_expected,
    parse_grace,
    parse_path,
    parse_techniques,
    parse_uid,
    parse_window,
)
from ._pathfinder import Dial, Pathfinder
from ._peer_id import PeerId
from ._relaying import ask_for_relay
from ._rounds import Errand, OpenInRound, open_over_new_link
from ._stream.carrier import DEFAULT_GRACE, Carrier
from ._stream.frames import SESSION_ID_BYTES
from ._stream.p2p_stream import P2PStream, close_at_once
from ._stream.session import DEFAULT_WINDOW, Role, Session
from ._stream.stream_path import PathKind
from ._stream.tls import Context, make_context
from ._surroundings import Surroundings
from ._watching import Watcher
from ._wire.messages import StreamKind


@attrs.frozen
class SenderOptions:
    """What all streams of a sender have in common.

    Attributes:
        broker: host and port.
        techniques: by which techniques to be introduced.
        identity: who we are.
        window: how many bytes each stream may hold.
        grace: for how many seconds a stream waits for another path.
        birthday: whether to guess ports of a NAT that gives them at random.
    """

    broker: tuple[str, int]
    techniques: tuple[Technique, ...]
    identity: Identity
    window: int
    grace: float
    birthday: bool

    @classmethod
    def parse(
        cls,
        broker: BrokerAddress,
        techniques: Sequence[str],
        identity: Identity | None,
        window: int,
        grace: float,
        *,
        birthday: bool,
    ) -> SenderOptions:
        """The options that a caller has given.

        Raises:
            LocalProtocolError: one of them is wrong.
        """
        return cls(
            parse_broker(broker),
            parse_techniques(techniques),
            identity or Identity.generate(),
            parse_window(window),
            parse_grace(grace),
            birthday,
        )


class P2PSender:
    """Opens streams over connections to the broker that it keeps; see :func:`open_p2p_sender`."""

    def __init__(
        self, options: SenderOptions, nursery: trio.Nursery, open_in_round: OpenInRound
    ) -> None:
        self._options = options
        self._nursery = nursery
        self._open_in_round = open_in_round
        self._watcher = Watcher(options.broker, nursery)
        self._surroundings = {ip_version: Surroundings() for ip_version in IP_VERSIONS}

    @property
    def peer_id(self) -> PeerId:
        """Who this sender is to receivers."""
        return self._options.identity.peer_id

    @cached_property
    def _context(self) -> Context:
        return make_context(self._options.identity)  # which raw streams do not want

    @overload
    async def open_stream(
        self,
        uid: str | PeerId,
        *,
        expect: str | PeerId | None = ...,
        raw: Literal[False] = ...,
        path: str = ...,
        on_attempt: OnAttempt | None = ...,
    ) -> P2PStream: ...

    @overload
    async def open_stream(
        self, uid: str | PeerId, *, raw: Literal[True], on_attempt: OnAttempt | None = ...
    ) -> trio.SocketStream: ...

    async def open_stream(
        self,
        uid: str | PeerId,
        *,
        expect: str | PeerId | None = None,
        raw: bool = False,
        path: str = "any",
        on_attempt: OnAttempt | None = None,
    ) -> P2PStream | trio.SocketStream:
        """Connect to the receiver that is registered under a UID.

        Like :func:`open_p2p_stream`, with the same arguments, errors and behaviour when
        cancelled, but without the round trip of connecting to the broker. Any number of tasks
        may call this at the same time. Raw streams outlive the sender; all others end with it,
        because the tasks that keep them alive are the sender's.
        """
        checked_uid = parse_uid(uid)
        expected = parse_expected(checked_uid, expect)
        if not raw:
            return await self._open_session(checked_uid, expected, path, on_attempt)
        if expect is not None or path == "relay":
            raise LocalProtocolError(
                "raw streams prove nobody's identity and are never relayed: "
                "leave expect= and path= out, or raw="
            )
        direct = parse_path("direct", self._options.techniques)
        connection = await self._dial(checked_uid, direct, StreamKind.RAW, on_attempt)
        return connection.stream

    async def _open_session(
        self, uid: str, expected: PeerId | None, path: str, on_attempt: OnAttempt | None
    ) -> P2PStream:
        options = self._options
        chosen = parse_path(path, options.techniques)
        direct = tuple(technique for technique in chosen if technique is not Technique.RELAY)
        dials: dict[PathKind, Dial] = {}
        if direct:
            dials[PathKind.DIRECT] = partial(self._dial, uid, direct, StreamKind.SESSION)
        if Technique.RELAY in chosen:
            dials[PathKind.RELAY] = partial(
                ask_for_relay, options.broker, uid, options.identity.certificate
            )
        session = Session(
            Role.OPENER,
            secrets.token_bytes(SESSION_ID_BYTES),
            options.window,
            trio.current_time(),
        )
        carrier = Carrier(session, options.grace, self._nursery)
        pathfinder = Pathfinder(
            carrier,
            self._context,
            expected,
            dials,
            on_attempt,
            watch=partial(self._watcher.watch, uid),
        )
        self._nursery.start_soon(pathfinder.run)
        try:
            peer_id = await pathfinder.wait_found()
        except BaseException:
            carrier.end()
            raise
        return P2PStream(carrier, peer_id)

    async def _dial(
        self,
        uid: str,
        techniques: tuple[Technique, ...],
        kind: StreamKind,
        on_attempt: OnAttempt | None,
    ) -> PeerConnection:
        certificate = self._options.identity.certificate
        birthday = self._options.birthday
        for ip_version, surroundings in self._surroundings.items():
            self._surroundings[ip_version] = surroundings.here()
        errand = Errand(kind, certificate, on_attempt, self._surroundings, birthday)
        host, _ = self._options.broker
        return await open_by_any_ip(host, uid, techniques, errand, self._open_in_round)


@asynccontextmanager
async def open_p2p_sender(
    broker: BrokerAddress,
    *,
    identity: Identity | None = None,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    birthday: bool = True,
) -> AsyncGenerator[P2PSender]:
    """Keep connections to a broker, for opening many streams without connecting to it each time.

    Use as an async context manager. Leaving it closes the connections to the broker and, at once,
    all streams that are not raw: leave it when they are closed.

    Args:
        broker: ``"HOST:PORT"`` or a tuple of both.
        identity: as for :func:`open_p2p_stream`, like all that follow.
        techniques: by which techniques to be introduced.
        window: how many bytes each stream may hold.
        grace: for how many seconds a stream waits for another path.
        birthday: whether to guess ports of a NAT that gives them at random.

    Yields:
        The :class:`P2PSender`. The first connection is made when the first stream is opened.

    Raises:
        LocalProtocolError: an argument is wrong.
    """
    options = SenderOptions.parse(broker, techniques, identity, window, grace, birthday=birthday)
    async with _open_nursery() as nursery:
        links = KeptLinks(options.broker, options.techniques, nursery)
        yield P2PSender(options, nursery, links.open_in_round)


@asynccontextmanager
async def _open_nursery() -> AsyncGenerator[trio.Nursery]:
    with network_remembered():  # which is asked for with every step of every stream
        async with open_background_nursery() as nursery:
            yield nursery


@overload
def open_p2p_stream(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = ...,
    expect: str | PeerId | None = ...,
    raw: Literal[False] = ...,
    path: str = ...,
    techniques: Sequence[str] = ...,
    window: int = ...,
    grace: float = ...,
    birthday: bool = ...,
    on_attempt: OnAttempt | None = ...,
) -> AbstractAsyncContextManager[P2PStream]: ...


@overload
def open_p2p_stream(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    raw: Literal[True],
    techniques: Sequence[str] = ...,
    birthday: bool = ...,
    on_attempt: OnAttempt | None = ...,
) -> AbstractAsyncContextManager[trio.SocketStream]: ...


@asynccontextmanager
async def open_p2p_stream(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = None,
    expect: str | PeerId | None = None,
    raw: bool = False,
    path: str = "any",
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    birthday: bool = True,
    on_attempt: OnAttempt | None = None,
) -> AsyncGenerator[Any]:
    """Connect to the receiver that is registered with a broker under a UID.

    Use as an async context manager: the tasks that keep the stream alive belong to it. On leaving
    it the stream is closed, as by :meth:`P2PStream.aclose`; at once if the block fails.

    Args:
        uid: the receiver's UID, text of 1 to 128 bytes in UTF-8, or its peer id. Whoever answers
            for a peer id has to prove that it is theirs, so that not even the broker can deceive.
        broker: ``"HOST:PORT"`` or a tuple of both. By a name that stands for IPv4 and IPv6
            addresses of the broker peers meet over both.
        identity: who we are. If None, one is made that nobody knows.
        expect: the peer id that the receiver has to have, if it is not the UID itself.
        raw: open a bare TCP connection, to a receiver that accepts such. Nothing is encrypted,
            nobody proves an identity, and nothing is relayed.
        path: ``"direct"`` and ``"relay"`` allow only such; with ``"any"`` the stream begins on
            whichever is there first, and moves from the relay to a direct path when there is one.
        techniques: by which techniques to be introduced, in this order, until one leads to a
            direct connection: ``"fast"``, ``"classic"``; ``"relay"`` is tried at the same time.
        window: how many bytes the stream may hold, sent and not acknowledged, or received and
            not read. A quarter is for either direction at least.
        grace: for how many seconds the stream waits for another path when it has lost one.
        birthday: whether to guess ports where one side's NAT gives them at random, if the receiver
            does, too: it takes up to 1,024 connection attempts, and some hundred descriptors.
        on_attempt: called with each :class:`Attempt` to connect when it has ended, the
            successful one included, also when the stream looks for another path. Must not raise.

    Yields:
        A :class:`P2PStream`, or a :class:`trio.SocketStream` if it is raw. That a raw stream leads
        to the receiver that the broker introduced is checked when the first bytes are received,
        because waiting for it would take a round trip: ``receive_some`` raises
        :exc:`trio.BrokenResourceError` rather than return anything from somebody else.

    Raises:
        UnknownUIDError: no receiver is registered under the UID.
        WrongPeerError: who answered is not the peer that was expected, or introduced. Its
            ``__cause__`` is a group like that of the next one.
        IntroductionError: the broker introduced us, but no connection came of it. The causes
            are in the exception group that is its ``__cause__``.
        RelayError: only the relay was allowed, and the broker does not relay.
        BrokerUnreachableError: no broker answers there.
        BrokerLostError: the broker closed the connection.
        LocalProtocolError: an argument is wrong.
        ProtocolError: this is not a broker, or not one of this version.

    If cancelled, everything that was under way is closed.
    """
    options = SenderOptions.parse(broker, techniques, identity, window, grace, birthday=birthday)
    open_in_round = partial(open_over_new_link, options.broker)
    async with _open_nursery() as nursery:
        sender = P2PSender(options, nursery, open_in_round)
        open_stream: Any = sender.open_stream  # whose overloads tell what we were asked for apart
        stream = await open_stream(uid, expect=expect, raw=raw, path=path, on_attempt=on_attempt)
        try:
            yield stream
        except BaseException:
            if isinstance(stream, P2PStream):
                close_at_once(stream)  # no clean end: the other side shall know
            else:
                await trio.aclose_forcefully(stream)
            raise
        await stream.aclose()
