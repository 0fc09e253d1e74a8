"""Where a peer begins and ends, and all its options are given."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from .._identity.identity import Identity
from .._net.network_changes import network_remembered
from .._net.nursery import open_background_nursery
from .._options import ALL_TECHNIQUES, Brokers, PeerOptions
from .._stream.credit import DEFAULT_MEMORY, DEFAULT_STREAMS
from .._stream.limits import DEFAULT_CONNECTIONS, DEFAULT_GRACE, DEFAULT_WINDOW
from .._stream.tracer import Tracer
from .peer import Peer


@asynccontextmanager
async def open_peer(
    broker: Brokers,
    *,
    identity: Identity | None = None,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    max_streams: int = DEFAULT_STREAMS,
    max_memory: int = DEFAULT_MEMORY,
    max_connections: int = DEFAULT_CONNECTIONS,
    port_guessing: bool = True,
    tracer: Tracer | None = None,
    token: str | None = None,
) -> AsyncGenerator[Peer]:
    """Be a peer: listen under names, and open streams to other peers.

    Use as an async context manager. On leaving it streams that are open are aborted, and those that
    are closed get as long as ``grace`` to deliver what they have taken; if cancelled, they end at
    once.

    Args:
        broker: ``"HOST:PORT"`` or a tuple of both, or a list of brokers, of which the first one
            is used that answers; ``"tls://HOST:PORT"`` if it speaks TLS, with
            ``#sha256=`` and a pin behind it to trust that key only. By a name that stands for IPv4
            and IPv6 addresses of the broker peers meet over both.
        identity: who we are. If None, one is made that no peer knows.
        techniques: by which techniques to be introduced, in this order, until one leads to a
            direct connection: ``"fast"``, ``"classic"``; ``"relay"`` is tried at the same time. So
            ``["relay"]`` never connects directly, and ``["fast", "classic"]`` never over the relay.
        window: how many bytes each connection may hold that the peer's side has not acknowledged;
            a stream holds no more than that which are received and not read, either.
        grace: for how many seconds a connection waits for another path when it has lost one.
        max_streams: how many streams a peer may have open over one connection.
        max_memory: how many bytes all streams of one connection may hold together, received and not
            read. It is never promised twice, whatever the peer does.
        max_connections: how many connections to our listeners one peer id may have open, at least
            1. One more is refused, and those that are open stay. A program makes one to us; several
            programs of one identity have one each.
        port_guessing: whether to guess ports where one side's NAT gives them at random, if the
            other side does, too: it takes up to 1,024 connection attempts, and some hundred
            descriptors.
        tracer: is told of what happens.
        token: the access token that the operator of a closed broker has made for us.

    Yields:
        The :class:`Peer`. The broker is connected to when it is needed first.

    Raises:
        LocalProtocolError: an argument is wrong.
    """
    options = PeerOptions.parse(
        broker,
        identity=identity,
        techniques=techniques,
        window=window,
        grace=grace,
        max_streams=max_streams,
        max_memory=max_memory,
        max_connections=max_connections,
        port_guessing=port_guessing,
        tracer=tracer,
        token=token,
    )
    with network_remembered():  # which is asked for with every step of every stream
        async with open_background_nursery() as nursery:
            peer = Peer(options, nursery)
            try:
                yield peer
            finally:
                await peer.leave()  # noqa: ASYNC102 - it waits for closed streams, unless cancelled
