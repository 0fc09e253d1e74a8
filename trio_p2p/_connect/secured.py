"""A new connection whose other end has proven who it is, from one dial or several."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs
import trio

from .._errors import BusyError, PathLostError, RemoteProtocolError, WrongPeerError
from .._identity.peer_id import PeerId
from .._net.attempt_log import AttemptLog
from .._net.nursery import open_background_nursery
from .._net.winner import Winner
from .._peer_connection import PeerConnection
from .._stream.handshake import confirm, secure
from .._stream.path import Path
from .._stream.stream_path import StreamPath
from .._stream.tracer import Tracer
from .failures import failures_of
from .patience import retry_while_busy

if TYPE_CHECKING:
    from .._stream.tls import Context

MAX_BROKEN = 2  # connections in a row; some NATs close a hole just when the first packet came by

T = TypeVar("T")

logger = logging.getLogger("trio_p2p.sender")


class Dialer(Protocol):
    """Connects to a peer, in one way or another.

    Attributes:
        uid: the peer's UID.
    """

    uid: str

    async def dial(self, attempts: AttemptLog) -> PeerConnection:
        """A connection; each attempt is noted."""
        ...


@attrs.frozen
class SecuredPath:
    """A path that carries nothing yet.

    Attributes:
        path: the encrypted connection.
        described: what there is to say of the connection.
        circuit: the id of the relay's circuit, if the broker relays it.
        peer_id: who the peer has proven to be.
    """

    path: Path
    described: StreamPath
    circuit: bytes
    peer_id: PeerId


async def open_secured(
    dialer: Dialer, context: Context, expected: PeerId | None, tracer: Tracer
) -> SecuredPath:
    """Open a path, once more if a connection breaks before the peer has proven itself.

    Args:
        dialer: gives a connection.
        context: proves our identity.
        expected: who the peer has to be; any if None.
        tracer: told of each attempt when it has ended.

    Raises:
        P2PError: no connection leads to the peer.
        OSError: this host lacks something.

    If cancelled, everything that was under way is closed.
    """

    async def make_secure(connection: PeerConnection) -> SecuredPath:
        path, described, peer_id = await secure(
            connection, context, server_side=False, expected=expected
        )
        return SecuredPath(path, described, connection.circuit, peer_id)

    return await _open(dialer, make_secure, tracer)


async def open_bare(dialer: Dialer, tracer: Tracer) -> trio.SocketStream:
    """Open a connection, and leave it as it is; like :func:`open_secured`."""
    return await _open(dialer, confirm, tracer)


async def _open(
    dialer: Dialer, make: Callable[[PeerConnection], Awaitable[T]], tracer: Tracer
) -> T:
    open_once = partial(_open_once, dialer, make, tracer)
    for _ in range(MAX_BROKEN):
        try:
            return await retry_while_busy(open_once)
        except PathLostError as error:
            logger.info("dialling again: %s", error)
    return await retry_while_busy(open_once)


async def _open_once(
    dialer: Dialer, make: Callable[[PeerConnection], Awaitable[T]], tracer: Tracer
) -> T:
    with Winner(PeerConnection.close) as winner:
        async with _followed_by(tracer, dialer.uid) as attempts:
            connection = await dialer.dial(attempts)
            winner.offer(connection)
            try:
                made = await make(connection)
            except BusyError:
                attempts.drop()
                raise
            except (WrongPeerError, RemoteProtocolError) as error:
                attempts.settle_wrong_peer()
                raise error from failures_of(attempts.ended)
    return made


@asynccontextmanager
async def _followed_by(tracer: Tracer, uid: str) -> AsyncGenerator[AttemptLog]:
    """A log of attempts that a tracer is told of."""
    attempts, told = AttemptLog(logger), 0

    def tell() -> None:
        nonlocal told
        news = attempts.ended[told:]
        told += len(news)
        for attempt in news:
            tracer.attempt_ended(uid, attempt)

    async def follow() -> None:
        while True:
            tell()
            await attempts.changed.park()

    async with open_background_nursery() as nursery:
        nursery.start_soon(follow)
        try:
            yield attempts
        finally:
            attempts.settle()
            tell()
