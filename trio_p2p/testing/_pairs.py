"""Both ends of a connection, or of a stream, for tests that want nothing but these."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio

from .._listen.listener import P2PListener
from .._stream.p2p_connection import P2PConnection
from .._stream.p2p_stream import P2PStream
from .._stream.tracer import Tracer
from ._network import open_memory_network
from ._places import AnyNat


@attrs.frozen
class MemoryConnectionPair:
    """Both ends of a connection.

    Attributes:
        opened: the end that has made it. What the other end opens, its ``accept`` gives.
        accepted: the other end.
        listener: gives the streams that the first end opens.
    """

    opened: P2PConnection
    accepted: P2PConnection
    listener: P2PListener[P2PStream]


class _Opened(Tracer):
    """Passes on the connections that begin."""

    def __init__(self) -> None:
        self._send, self.connections = trio.open_memory_channel[P2PConnection](1)

    def connection_opened(self, connection: P2PConnection) -> None:
        self._send.send_nowait(connection)


@asynccontextmanager
async def memory_connection_pair(
    one: AnyNat = None, other: AnyNat = None, *, protocol: str = "", seed: int = 0
) -> AsyncGenerator[MemoryConnectionPair]:
    """Have both ends of a connection, through the real protocol and a network in memory.

    Use as an async context manager. Both ends have peer ids and paths, and outlive neither.

    Args:
        one: the NAT of the side that connects, by behaviour or by a name of :data:`NATS`; None is
            no NAT.
        other: the same for the other side.
        protocol: the name of what is spoken on streams that the first side opens.
        seed: as for :func:`open_memory_network`.

    Yields:
        The :class:`MemoryConnectionPair`.
    """
    traced = _Opened()
    async with open_memory_network(seed=seed) as network:
        broker = await network.start_broker()
        hosts = network.add_host(one), network.add_host(other)
        async with (
            hosts[1].open_peer(broker.address, tracer=traced) as receiver,
            hosts[0].open_peer(broker.address) as sender,
            receiver.listen(receiver.peer_id, protocol=protocol) as listener,
        ):
            opened = await sender.connect(receiver.peer_id, accept=True)
            accepted = await traced.connections.receive()
            yield MemoryConnectionPair(opened, accepted, listener)


@asynccontextmanager
async def memory_stream_pair(
    one: AnyNat = None, other: AnyNat = None, *, protocol: str = "", seed: int = 0
) -> AsyncGenerator[tuple[P2PStream, P2PStream]]:
    """Have both ends of a stream; as :func:`memory_connection_pair`.

    Yields:
        The end of the side that has opened it, and the other one. They are aborted on leaving,
        unless they are closed by then.
    """
    async with memory_connection_pair(one, other, protocol=protocol, seed=seed) as pair:
        opened = await pair.opened.open_stream(protocol=protocol)
        yield opened, await pair.listener.accept()
