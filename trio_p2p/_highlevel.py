"""A peer for one purpose: to open one stream, to listen under one name, to serve one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from ._identity.identity import Identity
from ._identity.peer_id import PeerId
from ._listen.listener import P2PListener
from ._listen.service import Admit
from ._options import Brokers
from ._peer.opening import open_peer
from ._stream.p2p_stream import P2PStream


@asynccontextmanager
async def open_p2p_stream(
    uid: str | PeerId,
    broker: Brokers,
    *,
    identity: Identity | None = None,
    expect: str | PeerId | None = None,
    token: str | None = None,
) -> AsyncGenerator[P2PStream]:
    """Connect to the receiver that is registered with a broker under a UID.

    Short for :func:`open_peer` and :meth:`Peer.open_stream`, which have more options. Use as an
    async context manager: the tasks that keep the stream alive belong to it. On leaving it the
    stream is closed, as by :meth:`P2PStream.aclose`; it is aborted if the block fails.

    Args:
        uid: the receiver's UID, or its peer id.
        broker: ``"HOST:PORT"`` or a tuple of both; ``"tls://HOST:PORT"`` if it speaks TLS.
        identity: who we are. If None, one is made that no peer knows.
        expect: the peer id that the receiver has to have, if it is not the UID itself.
        token: the access token that the operator of a closed broker has made for us.

    Raises:
        P2PError: as :meth:`Peer.open_stream`.

    If cancelled, everything that was under way is closed.
    """
    async with (
        open_peer(broker, identity=identity, token=token) as peer,
        await peer.open_stream(uid, expect=expect) as stream,
    ):
        yield stream


@asynccontextmanager
async def open_p2p_listener(
    uid: str | PeerId,
    broker: Brokers,
    *,
    identity: Identity | None = None,
    admit: Admit | None = None,
    token: str | None = None,
) -> AsyncGenerator[P2PListener[P2PStream]]:
    """Register a UID with a broker, and accept streams from the senders that ask for it.

    Short for :func:`open_peer` and :meth:`Peer.listen`, which have more options. Use as an async
    context manager: the tasks that keep the accepted streams alive belong to it, too.

    Args:
        uid: what senders ask for: text of 1 to 128 bytes in UTF-8, or the peer id of the identity.
        broker: ``"HOST:PORT"`` or a tuple of both; ``"tls://HOST:PORT"`` if it speaks TLS.
        identity: who we are. No other one can take the UID as long as it is registered. If None,
            one is made that no peer knows.
        admit: says of a peer id that has been proven whether to admit it; all if None.
        token: the access token that the operator of a closed broker has made for us.

    Yields:
        The :class:`P2PListener`, registered.

    Raises:
        P2PError: as :meth:`Peer.listen`.
    """
    async with (
        open_peer(broker, identity=identity, token=token) as peer,
        peer.listen(uid, admit=admit) as listener,
    ):
        yield listener


async def serve_p2p(
    handler: Callable[[P2PStream], Awaitable[object]],
    uid: str | PeerId,
    broker: Brokers,
    *,
    identity: Identity | None = None,
    admit: Admit | None = None,
    token: str | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[P2PListener[P2PStream]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Register a UID with a broker, and run a handler for each stream, until cancelled.

    Short for :func:`open_peer` and :meth:`Peer.serve`, which tells what becomes of the streams.

    Args:
        handler: called with each stream.
        uid: as for :func:`open_p2p_listener`, like all that follow but the last two.
        broker: where to register.
        identity: who we are.
        admit: whom to admit.
        token: the access token for the broker.
        handler_nursery: where to run the handlers; in a nursery of its own if None. Streams end
            when this call does, wherever their handlers run.
        task_status: started when the UID is registered, with the listener.

    Raises:
        P2PError: as :meth:`Peer.serve`.
    """
    async with open_peer(broker, identity=identity, token=token) as peer:
        await peer.serve(
            uid, handler, admit=admit, handler_nursery=handler_nursery, task_status=task_status
        )
