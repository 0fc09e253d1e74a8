"""The ways of sending bytes that are measured, each in two processes of its own."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeAlias

import attrs
import trio

from trio_p2p import Peer, open_peer, serve_broker
from trio_p2p._identity.identity import Identity
from trio_p2p._stream.path import Path
from trio_p2p._stream.tls import make_context

from .ssl_identities import CLIENT, SERVER, make_server_context, open_ssl_stream

KIB = 2**10
DIRECT = ["fast", "classic"]
"""The techniques that lead to direct paths, and never to the relay."""

Send: TypeAlias = Callable[[bytes], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[bytes | bytearray | memoryview]]
Announce: TypeAlias = Callable[[int], None]
Address: TypeAlias = tuple[str, int]


@attrs.frozen
class Way:
    """A way to send bytes.

    Attributes:
        open_sender: connects to an address, and gives what sends on each stream.
        open_receiver: announces a port of a host, waits for the sender, and gives what receives
            on each stream.
        piece_bytes: how much is sent at once.
    """

    open_sender: Callable[[Address], AbstractAsyncContextManager[Sequence[Send]]]
    open_receiver: Callable[[str, Announce], AbstractAsyncContextManager[Sequence[Receive]]]
    piece_bytes: int = 256 * KIB


class Chunk:
    """What one call receives."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._filled = 0

    def get_buffer(self, size: int) -> memoryview:
        if not self._filled:
            self._memory = bytearray(size)
        return memoryview(self._memory)[self._filled :]

    def buffer_updated(self, count: int) -> None:
        self._filled += count

    def take(self) -> bytearray:
        del self._memory[self._filled :]
        return self._memory


@asynccontextmanager
async def _open_tcp_sender(address: Address) -> AsyncGenerator[Sequence[Send]]:
    async with await trio.open_tcp_stream(*address) as stream:
        yield [stream.send_all]


@asynccontextmanager
async def _open_tcp_receiver(
    max_bytes: int, host: str, announce: Announce
) -> AsyncGenerator[Sequence[Receive]]:
    async with await _accept(host, announce) as stream:
        yield [partial(stream.receive_some, max_bytes)]


@asynccontextmanager
async def _open_ssl_senders(count: int, address: Address) -> AsyncGenerator[Sequence[Send]]:
    async with AsyncExitStack() as stack:
        streams = [await open_ssl_stream(address) for _ in range(count)]
        yield [(await stack.enter_async_context(stream)).send_all for stream in streams]


@asynccontextmanager
async def _open_ssl_receivers(
    count: int, host: str, announce: Announce
) -> AsyncGenerator[Sequence[Receive]]:
    context = make_server_context()
    async with _open_listener(host, announce) as listener, AsyncExitStack() as stack:
        accepted = [await listener.accept() for _ in range(count)]
        streams = [trio.SSLStream(each, context, server_side=True) for each in accepted]
        for stream in streams:
            await stack.enter_async_context(stream)
            await stream.do_handshake()
        yield [partial(stream.receive_some, None) for stream in streams]


@asynccontextmanager
async def _open_path_sender(address: Address) -> AsyncGenerator[Sequence[Send]]:
    stream = await trio.open_tcp_stream(*address)
    path = _make_path(stream, CLIENT, SERVER, server_side=False)
    await path.do_handshake()

    async def send(piece: bytes) -> None:
        path.start_sending((piece,))
        if path.is_sending:
            await path.finish_sending()
        else:
            await trio.lowlevel.checkpoint()

    yield [send]
    path.receive_at_once(Chunk())  # TLS's tickets: to close with something unread is a reset
    path.close()


@asynccontextmanager
async def _open_path_receiver(host: str, announce: Announce) -> AsyncGenerator[Sequence[Receive]]:
    path = _make_path(await _accept(host, announce), SERVER, CLIENT, server_side=True)
    await path.do_handshake()

    async def receive() -> bytearray:
        chunk = Chunk()
        await path.receive(chunk)
        return chunk.take()

    yield [receive]
    path.close()


def _make_path(
    stream: trio.SocketStream, identity: Identity, peer: Identity, *, server_side: bool
) -> Path:
    return Path(
        stream,
        make_context(identity),
        server_side=server_side,
        peer_certificate=peer.certificate,
    )


async def _accept(host: str, announce: Announce) -> trio.SocketStream:
    async with _open_listener(host, announce) as listener:
        return await listener.accept()


@asynccontextmanager
async def _open_listener(host: str, announce: Announce) -> AsyncGenerator[trio.SocketListener]:
    [listener] = await trio.open_tcp_listeners(0, host=host)
    async with listener:
        announce(listener.socket.getsockname()[1])
        yield listener


@asynccontextmanager
async def _open_raw_sender(address: Address) -> AsyncGenerator[Sequence[Send]]:
    async with open_peer(address) as peer, await peer.open_raw_stream(_UID) as stream:
        yield [stream.send_all]


@asynccontextmanager
async def _open_raw_receiver(host: str, announce: Announce) -> AsyncGenerator[Sequence[Receive]]:
    async with (
        open_receiving_peer(host) as (peer, port),
        peer.listen_raw(_UID) as listener,
    ):
        announce(port)
        async with await listener.accept() as stream:
            yield [partial(stream.receive_some, 256 * KIB)]


@asynccontextmanager
async def _open_session_senders(count: int, address: Address) -> AsyncGenerator[Sequence[Send]]:
    async with (
        open_peer(address, techniques=DIRECT) as peer,
        await peer.connect(_UID) as connection,
        AsyncExitStack() as stack,
    ):
        streams = [await connection.open_stream() for _ in range(count)]
        yield [(await stack.enter_async_context(stream)).send_all for stream in streams]


@asynccontextmanager
async def _open_session_receivers(
    count: int, host: str, announce: Announce
) -> AsyncGenerator[Sequence[Receive]]:
    async with (
        open_receiving_peer(host) as (peer, port),
        peer.listen(_UID) as listener,
        AsyncExitStack() as stack,
    ):
        announce(port)
        streams = [await listener.accept() for _ in range(count)]
        yield [(await stack.enter_async_context(stream)).receive_some for stream in streams]


@asynccontextmanager
async def open_receiving_peer(host: str) -> AsyncGenerator[tuple[Peer, int]]:
    """Open a broker and a peer of it; give the peer and the broker's port."""
    async with open_broker(host) as port, open_peer((host, port)) as peer:
        yield peer, port


@asynccontextmanager
async def open_broker(host: str) -> AsyncGenerator[int]:
    """Run a broker, and give its port."""
    async with trio.open_nursery() as nursery:
        [broker] = await nursery.start(partial(serve_broker, 0, host=host))
        yield broker.socket.getsockname()[1]
        nursery.cancel_scope.cancel(reason="the sender has ended")


def _tcp(piece_bytes: int) -> Way:
    return Way(_open_tcp_sender, partial(_open_tcp_receiver, piece_bytes), piece_bytes)


def _ssl(streams: int = 1, piece_bytes: int = 256 * KIB) -> Way:
    return Way(
        partial(_open_ssl_senders, streams), partial(_open_ssl_receivers, streams), piece_bytes
    )


def _session(streams: int = 1, piece_bytes: int = 256 * KIB) -> Way:
    return Way(
        partial(_open_session_senders, streams),
        partial(_open_session_receivers, streams),
        piece_bytes,
    )


_UID = "throughput"
MANY = 50
TINY_BYTES = 100
TCP, TCP_SMALL, SSL, SSL_TINY, SSL_MANY, PATH, RAW, SESSION, SESSION_SMALL = (
    "SocketStream",
    "SocketStream, 64 KiB",
    "SSLStream",
    f"SSLStream, {TINY_BYTES} bytes",
    f"{MANY} SSLStreams",
    "path alone",
    "raw stream",
    "session",
    "session, 64 KiB",
)
SESSION_TINY, SESSION_MANY = f"session, {TINY_BYTES} bytes", f"session, {MANY} streams"
WAYS = {
    TCP_SMALL: _tcp(64 * KIB),
    TCP: _tcp(256 * KIB),
    SSL: _ssl(),
    SSL_TINY: _ssl(piece_bytes=TINY_BYTES),
    SSL_MANY: _ssl(MANY),
    PATH: Way(_open_path_sender, _open_path_receiver),
    RAW: Way(_open_raw_sender, _open_raw_receiver),
    SESSION: _session(),
    SESSION_SMALL: _session(piece_bytes=64 * KIB),
    SESSION_TINY: _session(piece_bytes=TINY_BYTES),
    SESSION_MANY: _session(MANY),
}


class Rounds:
    """Counts what comes on all streams, and prints a line for each round that is complete.

    Args:
        round_bytes: how much a round is.
    """

    def __init__(self, round_bytes: int) -> None:
        self._round_bytes = round_bytes
        self._missing = round_bytes

    def came(self, count: int) -> None:
        self._missing -= count
        if not self._missing:
            print(flush=True)
            self._missing = self._round_bytes


async def _receive(name: str, round_bytes: int, host: str) -> None:
    """Print the port, and then a line for each round; until the sender has ended."""
    rounds = Rounds(round_bytes)
    async with (
        WAYS[name].open_receiver(host, partial(print, flush=True)) as receives,
        trio.open_nursery() as nursery,
    ):
        for receive in receives:
            nursery.start_soon(_receive_all, receive, rounds)


async def _receive_all(receive: Receive, rounds: Rounds) -> None:
    while data := await receive():
        rounds.came(len(data))


async def _send(name: str, round_bytes: int, address: Address) -> None:
    """Send a round for each line that comes, a share of it on each stream; until no more come."""
    way = WAYS[name]
    piece = bytes(way.piece_bytes)
    async with way.open_sender(address) as sends:
        pieces = round_bytes // way.piece_bytes // len(sends)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            async with trio.open_nursery() as nursery:
                for send in sends:
                    nursery.start_soon(_send_pieces, send, piece, pieces)


async def _send_pieces(send: Send, piece: bytes, count: int) -> None:
    for _ in range(count):
        await send(piece)


def main(role: str, name: str, round_bytes: str, host: str, port: str = "") -> None:
    if role == "receiver":
        trio.run(_receive, name, int(round_bytes), host)
    else:
        trio.run(_send, name, int(round_bytes), (host, int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
