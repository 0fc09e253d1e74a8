"""Pairs of streams over loopback, and what can happen to their paths."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pathlib
import random
import socket
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import attrs
import trio

from trio_p2p import (
    Identity,
    P2PListener,
    P2PStream,
    Peer,
    RelayLimits,
    StreamPath,
    open_peer,
)
from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._broker.server import Broker
from trio_p2p._connect.direct import DirectDialer
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._stream.handshake import secure
from trio_p2p._stream.path import Path
from trio_p2p._stream.tls import make_context
from trio_p2p._wire.messages import StreamKind

from .attempts import NotedAttempts
from .loopback import PATIENCE, TECHNIQUES, LoopbackBroker, open_broker, open_listener

PIECE_BYTES = 65536
_libc = ctypes.CDLL(None, use_errno=True)


@attrs.frozen
class Peers:
    """A listener, and senders that know its broker.

    Attributes:
        broker: the broker.
        listener: registered as "receiver", with all techniques.
        senders: peers of one identity, by the kind of path that their techniques lead to.
    """

    broker: LoopbackBroker
    listener: P2PListener[P2PStream]
    senders: Mapping[str, Peer]

    @property
    def sender(self) -> Peer:
        """The sender with all techniques."""
        return self.senders["any"]

    async def open_pair(self, path: str = "any") -> tuple[P2PStream, P2PStream]:
        """The two ends of a new stream, the sender's first."""
        opened = await self.senders[path].open_stream("receiver")
        return opened, await self.listener.accept()


@asynccontextmanager
async def open_peers(
    *,
    grace: float = 60.0,
    identity: Identity | None = None,
    relay: RelayLimits | None = None,
) -> AsyncGenerator[Peers]:
    """A broker and peers; the identity is the senders', the limits are the relay's."""
    identity = identity or Identity.generate()
    async with open_broker() as broker, AsyncExitStack() as stack:
        if relay is not None:
            await broker.kill()
            broker.broker = Broker(relay)
            await broker.start()
        listener = await stack.enter_async_context(
            open_listener("receiver", broker.address, grace=grace)
        )
        senders = {
            path: await stack.enter_async_context(
                open_peer(broker.address, identity=identity, techniques=techniques, grace=grace)
            )
            for path, techniques in TECHNIQUES.items()
        }
        yield Peers(broker, listener, senders)


@asynccontextmanager
async def dialled(
    peers: Peers | LoopbackBroker, identity: Identity
) -> AsyncGenerator[PeerConnection]:
    """A connection to the receiver, over which nothing was said yet."""
    broker = peers.broker if isinstance(peers, Peers) else peers
    async with open_peer(broker.address, identity=identity) as sender:
        dialer = DirectDialer(sender._controls, "receiver", StreamKind.SESSION)
        connection = await dialer.dial(NotedAttempts())
        try:
            yield connection
        finally:
            connection.close()


@asynccontextmanager
async def open_path(peers: Peers | LoopbackBroker, identity: Identity) -> AsyncGenerator[Path]:
    """A path to the receiver, over which no frame was said yet; also the time limit for it."""
    with trio.fail_after(PATIENCE):
        async with dialled(peers, identity) as connection:
            path, _, _ = await secure(connection, make_context(identity), server_side=False)
            yield path


def reset(path: StreamPath) -> None:
    """Reset a connection of this process, as a NAT in between might."""
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if not entry.readlink().name.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as sock:
                if sock.family == path.local.family and _ends_of(sock) == (path.local, path.remote):
                    # Disconnecting, by connecting to nothing, sends a RST (connect(2)).
                    nothing = struct.pack("=H14x", socket.AF_UNSPEC)
                    assert _libc.connect(sock.fileno(), nothing, len(nothing)) == 0


def _ends_of(sock: socket.socket) -> tuple[Endpoint, Endpoint]:
    return endpoint_of(sock.getsockname()), endpoint_of(sock.getpeername())


class Content:
    """Bytes that are different for every seed, and cheap to make."""

    _BLOCK = random.Random("content").randbytes(2**20)

    def __init__(self, seed: int, length: int) -> None:
        self._start = seed * 4099 % len(self._BLOCK)
        self.length = length
        self.share_given = 0.0  # of what it was last asked for

    def pieces(self) -> Iterator[bytes]:
        view, position, left = memoryview(self._BLOCK), self._start, self.length
        while left:
            piece = bytes(view[position : position + min(PIECE_BYTES, left)])
            yield piece
            left -= len(piece)
            self.share_given = 1 - left / self.length
            position = (position + len(piece)) % len(self._BLOCK)

    def digest(self) -> bytes:
        running = hashlib.sha256()
        for piece in self.pieces():
            running.update(piece)
        return running.digest()


async def exchange_content(
    stream: trio.abc.HalfCloseableStream, own: Content, other: Content
) -> None:
    """Send something, and receive what the other end has to send at the same time."""

    async def send() -> None:
        for piece in own.pieces():
            await stream.send_all(piece)
        await stream.send_eof()

    received, length = hashlib.sha256(), 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for data in stream:
            received.update(data)
            length += len(data)
    assert length == other.length
    assert received.digest() == other.digest()
