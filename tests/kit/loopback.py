"""Brokers and peers on the loopback interface, and what they hold: descriptors, tasks."""

import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias

import attrs
import trio
from trio.abc import HalfCloseableStream

from trio_p2p import (
    Attempt,
    AttemptFailedError,
    P2PListener,
    P2PStream,
    Peer,
    PeerId,
    Technique,
    Tracer,
    open_peer,
)
from trio_p2p._broker.limits import BrokerLimits
from trio_p2p._broker.server import Broker
from trio_p2p._broker_client.credentials import Credentials
from trio_p2p._broker_client.finder import BrokerFinder
from trio_p2p._broker_client.place import BrokerPlace
from trio_p2p._net.sockets import LISTEN_BACKLOG
from trio_p2p._net.system import current_system
from trio_p2p._options import ALL_TECHNIQUES
from trio_p2p._stream.limits import DEFAULT_GRACE

HOST = "127.0.0.1"
SETTLED_LOOKS = 25  # at what is held: it has settled if all show the same
PATIENCE = 60.0  # seconds until something that hangs fails its test
LIFETIME = 300.0  # the same for all that a test does

DIRECT_TECHNIQUES = (Technique.FAST, Technique.CLASSIC)
TECHNIQUES = {
    "any": ALL_TECHNIQUES,
    "direct": DIRECT_TECHNIQUES,
    "relay": (Technique.RELAY,),
}
"""The techniques that lead to a kind of path."""

# All clients of a test come from one address.
GENEROUS = BrokerLimits(
    connections=1_000_000,
    connections_per_second=1_000_000,
    registrations=1_000_000,
    introductions=1_000_000,
    unknown_uids=1_000_000,
    guessings=1_000_000,
    watches=1_000_000,
    probes=1_000_000,
    messages_per_second=1_000_000,
    source_messages_per_second=1_000_000,
    memory=1 << 40,
)

Streams: TypeAlias = tuple[trio.SocketStream, trio.SocketStream]


@attrs.frozen
class Way:
    """One way from a sender to a receiver, and the same calls for all of them.

    Attributes:
        technique: the one that is allowed; all if None.
        is_raw: whether the streams are.
        grace: for how many seconds a session waits for another path.
    """

    technique: Technique | None = None
    is_raw: bool = False
    grace: float = DEFAULT_GRACE

    def __str__(self) -> str:
        return f"{self.technique or 'any'}{', raw' * self.is_raw}"

    @property
    def techniques(self) -> Sequence[Technique]:
        return ALL_TECHNIQUES if self.technique is None else [self.technique]

    def open_peer(self, broker: tuple[str, int]) -> AbstractAsyncContextManager[Peer]:
        return open_peer(broker, techniques=self.techniques, grace=self.grace)

    def listen(self, peer: Peer, uid: str) -> AbstractAsyncContextManager[P2PListener[Any]]:
        return peer.listen_raw(uid) if self.is_raw else peer.listen(uid)

    @asynccontextmanager
    async def open_listener(
        self, uid: str, broker: tuple[str, int]
    ) -> AsyncGenerator[P2PListener[Any]]:
        """A listener, and the peer that it belongs to."""
        async with self.open_peer(broker) as peer, self.listen(peer, uid) as listener:
            yield listener

    async def serve(
        self,
        handler: Callable[[Any], Awaitable[object]],
        uid: str,
        broker: tuple[str, int],
        *,
        task_status: trio.TaskStatus[P2PListener[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        if self.is_raw:
            await serve_raw(
                handler, uid, broker, techniques=self.techniques, task_status=task_status
            )
            return
        async with self.open_peer(broker) as peer:
            await peer.serve(uid, handler, task_status=task_status)

    @asynccontextmanager
    async def open_stream(
        self, uid: str, broker: tuple[str, int]
    ) -> AsyncGenerator[HalfCloseableStream]:
        """A stream, and the peer that it belongs to."""
        async with self.open_peer(broker) as peer, await self.open_stream_of(peer, uid) as stream:
            yield stream

    async def open_stream_of(self, peer: Peer, uid: str) -> HalfCloseableStream:
        """A stream of a peer that :meth:`open_peer` has opened."""
        return await (peer.open_raw_stream(uid) if self.is_raw else peer.open_stream(uid))


RAW_WAYS = [Way(technique, is_raw=True) for technique in DIRECT_TECHNIQUES]
SESSION_WAYS = [Way(technique) for technique in Technique]
WAYS = [*RAW_WAYS, *SESSION_WAYS]
ANY_WAY = Way()


class LoopbackBroker:
    """A broker that can be killed, and started again where it was."""

    def __init__(self, nursery: trio.Nursery, port: int) -> None:
        self.broker = Broker(limits=GENEROUS)
        self.port = port
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def uids(self) -> frozenset[str]:
        return self.broker.registry.uids

    async def start(self) -> None:
        await self._nursery.start(self._serve)

    async def kill(self) -> None:
        """Close all its connections, and forget all it knew."""
        self._scope.cancel(reason="the test kills the broker")
        await self._ended.wait()
        self.broker = Broker(limits=GENEROUS)

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        with self._scope:
            listeners = await current_system().open_listeners(self.port, HOST, LISTEN_BACKLOG)
            task_status.started()
            await self.broker.serve_listeners(listeners)
        self._ended.set()


def finder_of(host: str, port: int, credentials: Credentials | None = None) -> BrokerFinder:
    """What finds one broker."""
    return BrokerFinder([BrokerPlace(host, port)], credentials)


@contextmanager
def nobody_listening() -> Generator[tuple[str, int]]:
    """Where nobody listens, and nobody else can, not even who connects there by chance."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()


@contextmanager
def reserved_port() -> Generator[int]:
    """A port that nobody gets by chance, for those who listen there one after the other."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


@asynccontextmanager
async def open_broker() -> AsyncGenerator[LoopbackBroker]:
    """A broker; also the time limit of whatever is done with it."""
    with trio.fail_after(LIFETIME), reserved_port() as port:
        async with trio.open_nursery() as nursery:
            broker = LoopbackBroker(nursery, port)
            await broker.start()
            yield broker
            nursery.cancel_scope.cancel(reason="the test is over")


class AttemptTracer(Tracer):
    """Collects the attempts to connect that a peer tells of."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def attempt_ended(self, uid: str, attempt: Attempt) -> None:  # noqa: ARG002 - as inherited
        self.attempts.append(attempt)


# One stream or one listener, of a peer of its own with the options of open_peer().


@asynccontextmanager
async def open_stream(
    uid: str | PeerId,
    broker: tuple[str, int],
    *,
    expect: PeerId | str | None = None,
    **options: Any,
) -> AsyncGenerator[P2PStream]:
    async with (
        open_peer(broker, **options) as peer,
        await peer.open_stream(uid, expect=expect) as stream,
    ):
        yield stream


async def open_raw_stream(uid: str, broker: tuple[str, int], **options: Any) -> trio.SocketStream:
    """A raw stream, which no context has to be left for."""
    async with open_peer(broker, **options) as peer:
        return await peer.open_raw_stream(uid)


@asynccontextmanager
async def open_listener(
    uid: str | PeerId,
    broker: tuple[str, int],
    *,
    admit: Callable[[PeerId], bool] | None = None,
    **options: Any,
) -> AsyncGenerator[P2PListener[P2PStream]]:
    async with open_peer(broker, **options) as peer, peer.listen(uid, admit=admit) as listener:
        yield listener


@asynccontextmanager
async def open_raw_listener(
    uid: str, broker: tuple[str, int], **options: Any
) -> AsyncGenerator[P2PListener[trio.SocketStream]]:
    async with open_peer(broker, **options) as peer, peer.listen_raw(uid) as listener:
        yield listener


async def serve_raw(
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    uid: str,
    broker: tuple[str, int],
    *,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    task_status: trio.TaskStatus[P2PListener[trio.SocketStream]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a handler for each raw stream; one whose sender has gone ends nothing else."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await handler(stream)

    async with open_raw_listener(uid, broker, techniques=techniques) as listener:
        task_status.started(listener)
        await trio.serve_listeners(handle, [listener])


@asynccontextmanager
async def open_raw_pair(
    *techniques: str,
) -> AsyncGenerator[tuple[trio.SocketStream, trio.SocketStream]]:
    """The two ends of a raw stream, the sender's first, without broker, listener or sender."""
    async with open_raw_peers("receiver", *techniques) as (_, listener, sender):
        opened = await sender.open_raw_stream("receiver")
        accepted = await listener.accept()
    async with opened, accepted:
        yield opened, accepted


@asynccontextmanager
async def open_raw_peers(
    uid: str, *techniques: str
) -> AsyncGenerator[tuple[LoopbackBroker, P2PListener[trio.SocketStream], Peer]]:
    """A broker, a listener of raw streams, and a sender."""
    chosen = techniques or DIRECT_TECHNIQUES
    async with (
        open_broker() as broker,
        open_raw_listener(uid, broker.address, techniques=chosen) as listener,
        open_peer(broker.address, techniques=chosen) as sender,
    ):
        yield broker, listener, sender


@asynccontextmanager
async def open_session_pair(
    *techniques: str,
) -> AsyncGenerator[tuple[P2PStream, P2PStream]]:
    """The two ends of a session's stream, the sender's first."""
    async with open_session_peers("receiver", *techniques) as (_, listener, sender):
        opened = await sender.open_stream("receiver")
        yield opened, await listener.accept()


@asynccontextmanager
async def open_session_peers(
    uid: str, *techniques: str
) -> AsyncGenerator[tuple[LoopbackBroker, P2PListener[P2PStream], Peer]]:
    """A broker, a listener of sessions' streams, and a sender."""
    chosen = techniques or ALL_TECHNIQUES
    async with (
        open_broker() as broker,
        open_listener(uid, broker.address, techniques=chosen) as listener,
        open_peer(broker.address, techniques=chosen) as sender,
    ):
        yield broker, listener, sender


async def exchange(stream: HalfCloseableStream, data: bytes) -> bytes:
    """Send data and receive as much as comes, both at the same time; then close."""

    async def send() -> None:
        await stream.send_all(data)
        await stream.send_eof()

    received = b""
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for piece in stream:
            received += piece
    return received


def attempts_of(error: BaseException) -> list[Attempt]:
    """The attempts that an error says have failed."""
    group = error.__cause__
    assert isinstance(group, ExceptionGroup)
    failures = [each for each in group.exceptions if isinstance(each, AttemptFailedError)]
    assert len(failures) == len(group.exceptions)
    return [each.attempt for each in failures]


async def echo(stream: HalfCloseableStream) -> None:
    async for piece in stream:
        await stream.send_all(piece)
    await stream.send_eof()


def is_listening(port: int) -> bool:
    """Whether a program listens on a port of the loopback interface."""
    with socket.socket() as probe:
        return not probe.connect_ex((HOST, port))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, that nothing tells of."""
    with trio.fail_after(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - it is others' state
            await trio.sleep(0.002)


@attrs.frozen
class Held:
    """What this process and this run hold."""

    descriptors: int
    tasks: int


def held() -> Held:
    return Held(
        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        tasks=trio.lowlevel.current_statistics().tasks_living,
    )


async def settled() -> Held:
    """What is held when receivers have found out all about the network that they are in."""
    with trio.fail_after(PATIENCE):
        same, last = 0, held()
        while same < SETTLED_LOOKS:
            await trio.sleep(0.02)
            same, last = (same + 1 if held() == last else 0), held()
        return last


@asynccontextmanager
async def open_streams() -> AsyncGenerator[Streams]:
    """The two ends of a TCP connection, the client's first; also the time limit of a test."""
    with trio.fail_after(PATIENCE):
        [listener] = await trio.open_tcp_listeners(0, host=HOST)
        async with listener:
            client = await trio.open_tcp_stream(HOST, listener.socket.getsockname()[1])
            server = await listener.accept()
        async with client, server:
            yield client, server


def crash(stream: trio.SocketStream) -> None:
    """Close one end of a connection like a host that crashed and came back: with a RST."""
    linger = struct.pack("ii", 1, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()


async def received(stream: trio.SocketStream) -> bytes:
    """What comes, or nothing if it was closed, however."""
    with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
        return await stream.receive_some()
    return b""
