"""The ways of sending bytes that are measured, each in two processes of its own."""

import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeAlias

import attrs
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trio_p2p import Peer, open_peer, serve_broker
from trio_p2p._identity.identity import Identity
from trio_p2p._stream.path import Path
from trio_p2p._stream.tls import make_context

from .ssl_identities import load_identity

KIB = 2**10

Send: TypeAlias = Callable[[bytes], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[bytes | bytearray | memoryview]]
Announce: TypeAlias = Callable[[int], None]
Address: TypeAlias = tuple[str, int]


@attrs.frozen
class Way:
    """A way to send bytes.

    Attributes:
        open_sender: connects to an address, and gives what sends.
        open_receiver: announces a port of a host, waits for the sender, and gives what receives.
        piece_bytes: how much is sent at once.
    """

    open_sender: Callable[[Address], AbstractAsyncContextManager[Send]]
    open_receiver: Callable[[str, Announce], AbstractAsyncContextManager[Receive]]
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
async def _open_tcp_sender(address: Address) -> AsyncGenerator[Send]:
    async with await trio.open_tcp_stream(*address) as stream:
        yield stream.send_all


@asynccontextmanager
async def _open_tcp_receiver(
    max_bytes: int, host: str, announce: Announce
) -> AsyncGenerator[Receive]:
    async with await _accept(host, announce) as stream:
        yield partial(stream.receive_some, max_bytes)


@asynccontextmanager
async def _open_ssl_sender(address: Address) -> AsyncGenerator[Send]:
    stream = await trio.open_tcp_stream(*address)
    context = _make_ssl_context(ssl.PROTOCOL_TLS_CLIENT, _SENDER, _RECEIVER)
    async with trio.SSLStream(stream, context) as ssl_stream:
        yield ssl_stream.send_all


@asynccontextmanager
async def _open_ssl_receiver(host: str, announce: Announce) -> AsyncGenerator[Receive]:
    stream = await _accept(host, announce)
    context = _make_ssl_context(ssl.PROTOCOL_TLS_SERVER, _RECEIVER, _SENDER)
    async with trio.SSLStream(stream, context, server_side=True) as ssl_stream:
        await ssl_stream.do_handshake()
        yield partial(ssl_stream.receive_some, None)


def _make_ssl_context(protocol: int, identity: Identity, peer: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=peer.certificate)
    load_identity(context, identity)
    return context


@asynccontextmanager
async def _open_path_sender(address: Address) -> AsyncGenerator[Send]:
    stream = await trio.open_tcp_stream(*address)
    path = _make_path(stream, _SENDER, _RECEIVER, server_side=False)
    await path.do_handshake()

    async def send(piece: bytes) -> None:
        path.start_sending((piece,))
        if path.is_sending:
            await path.finish_sending()
        else:
            await trio.lowlevel.checkpoint()

    yield send
    path.receive_at_once(Chunk())  # TLS's tickets: to close with something unread is a reset
    path.close()


@asynccontextmanager
async def _open_path_receiver(host: str, announce: Announce) -> AsyncGenerator[Receive]:
    path = _make_path(await _accept(host, announce), _RECEIVER, _SENDER, server_side=True)
    await path.do_handshake()

    async def receive() -> bytearray:
        chunk = Chunk()
        await path.receive(chunk)
        return chunk.take()

    yield receive
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
    [listener] = await trio.open_tcp_listeners(0, host=host)
    async with listener:
        announce(listener.socket.getsockname()[1])
        return await listener.accept()


@asynccontextmanager
async def _open_raw_sender(address: Address) -> AsyncGenerator[Send]:
    async with open_peer(address) as peer, await peer.open_raw_stream(_UID) as stream:
        yield stream.send_all


@asynccontextmanager
async def _open_raw_receiver(host: str, announce: Announce) -> AsyncGenerator[Receive]:
    async with (
        _open_receiving_peer(host) as (peer, port),
        peer.listen_raw(_UID) as listener,
    ):
        announce(port)
        async with await listener.accept() as stream:
            yield partial(stream.receive_some, 256 * KIB)


@asynccontextmanager
async def _open_session_sender(address: Address) -> AsyncGenerator[Send]:
    async with (
        open_peer(address, techniques=["fast", "classic"]) as peer,
        await peer.open_stream(_UID) as stream,
    ):
        yield stream.send_all


@asynccontextmanager
async def _open_session_receiver(host: str, announce: Announce) -> AsyncGenerator[Receive]:
    async with _open_receiving_peer(host) as (peer, port), peer.listen(_UID) as listener:
        announce(port)
        async with await listener.accept() as stream:
            yield stream.receive_some


@asynccontextmanager
async def _open_receiving_peer(host: str) -> AsyncGenerator[tuple[Peer, int]]:
    """A broker, a peer of it, and the broker's port."""
    async with trio.open_nursery() as nursery:
        [broker] = await nursery.start(partial(serve_broker, 0, host=host))
        port = broker.socket.getsockname()[1]
        async with open_peer((host, port)) as peer:
            yield peer, port
        nursery.cancel_scope.cancel(reason="the sender has ended")


def _tcp(piece_bytes: int) -> Way:
    return Way(_open_tcp_sender, partial(_open_tcp_receiver, piece_bytes), piece_bytes)


# Both processes have to know both; nothing is protected by them.
_SENDER, _RECEIVER = (
    Identity(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)) for number in (1, 2)
)

_UID = "throughput"
TCP, TCP_SMALL, SSL, PATH, RAW, SESSION, SESSION_SMALL = (
    "SocketStream",
    "SocketStream, 64 KiB",
    "SSLStream",
    "path alone",
    "raw stream",
    "session",
    "session, 64 KiB",
)
WAYS = {
    TCP_SMALL: _tcp(64 * KIB),
    TCP: _tcp(256 * KIB),
    SSL: Way(_open_ssl_sender, _open_ssl_receiver),
    PATH: Way(_open_path_sender, _open_path_receiver),
    RAW: Way(_open_raw_sender, _open_raw_receiver),
    SESSION: Way(_open_session_sender, _open_session_receiver),
    SESSION_SMALL: Way(_open_session_sender, _open_session_receiver, 64 * KIB),
}


async def _receive(name: str, round_bytes: int, host: str) -> None:
    """Print the port, and then a line for each round; until the sender has ended."""
    async with WAYS[name].open_receiver(host, partial(print, flush=True)) as receive:
        missing = round_bytes
        while data := await receive():
            missing -= len(data)
            if not missing:
                print(flush=True)
                missing = round_bytes


async def _send(name: str, round_bytes: int, address: Address) -> None:
    """Send a round for each line that comes; until no more come."""
    way = WAYS[name]
    piece = bytes(way.piece_bytes)
    async with way.open_sender(address) as send:
        while await trio.to_thread.run_sync(sys.stdin.readline):
            for _ in range(round_bytes // way.piece_bytes):
                await send(piece)


def main(role: str, name: str, round_bytes: str, host: str, port: str = "") -> None:
    if role == "receiver":
        trio.run(_receive, name, int(round_bytes), host)
    else:
        trio.run(_send, name, int(round_bytes), (host, int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
