"""The sender: asks a broker for a UID, and opens streams to the receiver that registered it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, overload

import trio

from ._connect.connector import Connector
from ._connect.link_pool import LinkPool
from ._connect.rounds import OpenInRound
from ._errors import LocalProtocolError
from ._identity.identity import Identity
from ._identity.peer_id import PeerId
from ._net.network_changes import network_remembered
from ._net.nursery import open_background_nursery
from ._options import (
    ALL_TECHNIQUES,
    BrokerAddress,
    SenderOptions,
    check_callback,
    check_flag,
    parse_expected,
    parse_uid,
)
from ._peer_connection import OnAttempt
from ._stream.carrier import DEFAULT_GRACE
from ._stream.p2p_stream import P2PStream
from ._stream.session import DEFAULT_WINDOW


class P2PSender:
    """Opens streams over connections to the broker that it keeps; see :func:`open_p2p_sender`."""

    def __init__(
        self, options: SenderOptions, nursery: trio.Nursery, open_in_round: OpenInRound
    ) -> None:
        self._options = options
        self._connector = Connector(options, nursery, open_in_round)
        self._is_left = False

    @property
    def peer_id(self) -> PeerId:
        """Who this sender is to receivers."""
        return self._options.identity.peer_id

    def leave(self) -> None:
        """The context that this was opened in is being left."""
        self._is_left = True

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
        if self._is_left:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise trio.ClosedResourceError("the context of this sender was left: open another one")
        checked_uid = parse_uid(uid)
        expected = parse_expected(checked_uid, expect)
        check_flag("raw", raw)
        check_callback("on_attempt", on_attempt, "a function of an Attempt")
        if not raw:
            return await self._connector.open_session(checked_uid, expected, path, on_attempt)
        if expect is not None or path == "relay":
            raise LocalProtocolError(
                "raw streams prove nobody's identity and are never relayed: "
                "leave expect= and path= out, or raw="
            )
        return await self._connector.open_raw(checked_uid, on_attempt)


@asynccontextmanager
async def open_p2p_sender(
    broker: BrokerAddress,
    *,
    identity: Identity | None = None,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    port_guessing: bool = True,
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
        port_guessing: whether to guess ports of a NAT that gives them at random.

    Yields:
        The :class:`P2PSender`. The first connection is made when the first stream is opened.

    Raises:
        LocalProtocolError: an argument is wrong.
    """
    options = SenderOptions.parse(
        broker, techniques, identity, window, grace, port_guessing=port_guessing
    )
    async with open_sender_nursery() as nursery:
        links = LinkPool(options.broker, options.techniques, nursery)
        sender = P2PSender(options, nursery, links.open_in_round)
        try:
            yield sender
        finally:
            sender.leave()


@asynccontextmanager
async def open_sender_nursery() -> AsyncGenerator[trio.Nursery]:
    """A nursery for the tasks of a sender."""
    with network_remembered():  # which is asked for with every step of every stream
        async with open_background_nursery() as nursery:
            yield nursery
