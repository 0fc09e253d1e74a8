"""Where a peer begins and ends, and all its options are given."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from .._identity.identity import Identity
from .._net.network_changes import network_remembered
from .._net.nursery import open_background_nursery
from .._options import ALL_TECHNIQUES, BrokerAddress, PeerOptions
from .._stream.carrier import DEFAULT_GRACE
from .._stream.tracer import Tracer
from .._stream.window import DEFAULT_WINDOW
from .peer import Peer


@asynccontextmanager
async def open_peer(
    broker: BrokerAddress,
    *,
    identity: Identity | None = None,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    port_guessing: bool = True,
    tracer: Tracer | None = None,
) -> AsyncGenerator[Peer]:
    """Be a peer: listen under names, and open streams to other peers.

    Use as an async context manager. On leaving it streams that are open are aborted, and those that
    are closed get as long as ``grace`` to deliver what they have taken; if cancelled, they end at
    once.

    Args:
        broker: ``"HOST:PORT"`` or a tuple of both. By a name that stands for IPv4 and IPv6
            addresses of the broker peers meet over both.
        identity: who we are. If None, one is made that no peer knows.
        techniques: by which techniques to be introduced, in this order, until one leads to a
            direct connection: ``"fast"``, ``"classic"``; ``"relay"`` is tried at the same time. So
            ``["relay"]`` never connects directly, and ``["fast", "classic"]`` never over the relay.
        window: how many bytes each stream may hold, sent and not acknowledged, or received and
            not read. A quarter is for either direction at least.
        grace: for how many seconds a stream waits for another path when it has lost one.
        port_guessing: whether to guess ports where one side's NAT gives them at random, if the
            other side does, too: it takes up to 1,024 connection attempts, and some hundred
            descriptors.
        tracer: is told of what happens.

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
        port_guessing=port_guessing,
        tracer=tracer,
    )
    with network_remembered():  # which is asked for with every step of every stream
        async with open_background_nursery() as nursery:
            peer = Peer(options, nursery)
            try:
                yield peer
            finally:
                await peer.leave()  # noqa: ASYNC102 - it waits for closed streams, unless cancelled
