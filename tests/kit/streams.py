"""Pairs of streams over loopback, and what can happen to their paths."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pathlib
import random
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from trio_p2p import (
    Identity,
    P2PListener,
    P2PSender,
    P2PStream,
    RelayLimits,
    StreamPath,
    open_p2p_listener,
    open_p2p_sender,
)
from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._broker.server import Broker
from trio_p2p._options import ALL_TECHNIQUES
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._stream.handshake import secure
from trio_p2p._stream.path import Path
from trio_p2p._stream.tls import make_context
from trio_p2p._wire.messages import StreamKind

from .loopback import PATIENCE, LoopbackBroker, open_broker

PIECE_BYTES = 65536
_libc = ctypes.CDLL(None, use_errno=True)


@attrs.frozen
class Peers:
    """A listener and a sender that know each other's broker."""

    broker: LoopbackBroker
    listener: P2PListener[P2PStream]
    sender: P2PSender

    async def open_pair(self, path: str = "any") -> tuple[P2PStream, P2PStream]:
        """The two ends of a new stream, the sender's first."""
        opened = await self.sender.open_stream("receiver", path=path)
        return opened, await self.listener.accept()


@asynccontextmanager
async def open_peers(
    *,
    grace: float = 60.0,
    identity: Identity | None = None,
    relay: RelayLimits | None = None,
) -> AsyncGenerator[Peers]:
    """A broker and two peers; the identity is the sender's, the limits are the relay's."""
    async with open_broker() as broker:
        if relay is not None:
            await broker.kill()
            broker.broker = Broker(relay)
            await broker.start()
        async with (
            open_p2p_listener("receiver", broker.address, grace=grace) as listener,
            open_p2p_sender(broker.address, identity=identity, grace=grace) as sender,
        ):
            yield Peers(broker, listener, sender)


@asynccontextmanager
async def dialled(peers: Peers, identity: Identity) -> AsyncGenerator[PeerConnection]:
    """A connection to the receiver, over which nothing was said yet."""
    async with open_p2p_sender(peers.broker.address, identity=identity) as sender:
        connection = await sender._connector._dial(
            "receiver", ALL_TECHNIQUES, StreamKind.SESSION, None
        )
        try:
            yield connection
        finally:
            connection.close()


@asynccontextmanager
async def open_path(peers: Peers, identity: Identity) -> AsyncGenerator[Path]:
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
