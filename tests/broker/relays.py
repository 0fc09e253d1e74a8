"""A broker that relays between raw connections, and what is sent over its circuits."""

import hashlib
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress

import trio

from trio_p2p._broker.circuit import Circuit
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.server import Broker
from trio_p2p._wire.codec import FrameReader, decode_untrusted
from trio_p2p._wire.messages import (
    Hello,
    JoinRelay,
    Message,
    RefusalCode,
    Refused,
    Relayed,
    RelayRequest,
)

from ..kit.loopback import HOST, held
from ..kit.raw_client import RawClient, identity_of

KIB, MIB = 1 << 10, 1 << 20
UNLIMITED = RelayLimits()


class RelayBroker:
    """A broker on the loopback interface, each of whose connections can be cancelled."""

    def __init__(self, limits: RelayLimits) -> None:
        self.broker = Broker(limits)
        self.scopes: list[trio.CancelScope] = []
        self.port = 0

    @property
    def circuits(self) -> set[Circuit]:
        assert self.broker._relay is not None
        return self.broker._relay._circuits

    async def serve(self, nursery: trio.Nursery) -> None:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self.port = listeners[0].socket.getsockname()[1]
        assert self.broker._relay is not None
        self.broker.writers = nursery
        nursery.start_soon(self.broker._relay.watch)
        nursery.start_soon(trio.serve_listeners, self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self.scopes.append(scope)
            await self.broker.serve_socket(stream)

    async def connect(self) -> RawClient:
        return RawClient(await trio.open_tcp_stream(HOST, self.port))

    async def receiver(self, uid: str = "alice") -> RawClient:
        client = await self.connect()
        await client.register(uid)
        return client

    async def open(self, receiver: RawClient) -> "Ends":
        """A circuit to a receiver."""
        sender = await self.connect()
        await sender.greet()
        await sender.ask("alice", "relay", number=5)
        asked = await receiver.receive(RelayRequest)
        assert asked.certificate == identity_of("sender").certificate
        joined = await self.connect()
        await joined.send(Hello(), JoinRelay(asked.introduction))
        await joined.receive(Hello)
        told_sender, told_receiver = (
            await sender.receive(Relayed),
            await joined.receive(Relayed),
        )
        assert told_sender.circuit == told_receiver.circuit
        assert told_sender.certificate == identity_of("alice").certificate
        assert told_receiver.certificate is None
        return Ends(_socket_stream(sender), _socket_stream(joined), told_sender.circuit)


class Ends:
    """What the two peers hold."""

    def __init__(
        self, sender: trio.SocketStream, receiver: trio.SocketStream, circuit: bytes
    ) -> None:
        self.sender, self.receiver, self.circuit = sender, receiver, circuit

    def __iter__(self) -> Generator[trio.SocketStream]:
        yield self.sender
        yield self.receiver

    def close(self) -> None:
        for stream in self:
            stream.socket.close()

    def farewell(self, received: bytes) -> tuple[bytes, Refused]:
        """What came before the last words, and these."""
        data, circuit, frame = received.partition(self.circuit)
        assert circuit, received[-100:]
        reader = FrameReader()
        reader.feed(frame)
        payload = reader.next_untrusted()
        assert payload is not None
        assert reader.is_empty
        message: Message = decode_untrusted(payload)
        assert isinstance(message, Refused)
        assert (message.code, message.number) == (RefusalCode.RELAY_REFUSED, None)
        return data, message


def _socket_stream(client: RawClient) -> trio.SocketStream:
    stream, rest = client.channel.detach()
    assert not rest
    assert isinstance(stream, trio.SocketStream)
    return stream


@asynccontextmanager
async def open_relay(
    limits: RelayLimits = UNLIMITED,
) -> AsyncGenerator[tuple[RelayBroker, RawClient, Ends]]:
    """A broker, a receiver's registration and a circuit; nothing may be left of them."""
    before = held()
    async with trio.open_nursery() as nursery:
        broker = RelayBroker(limits)
        await broker.serve(nursery)
        async with await broker.receiver() as receiver:
            ends = await broker.open(receiver)
            try:
                yield broker, receiver, ends
            finally:
                ends.close()
            await until_over(broker)
            assert broker.broker.registry.circuits == 0
        nursery.cancel_scope.cancel(reason="the test is over")
    assert held() == before


async def until_over(broker: RelayBroker) -> None:
    """Wait until there are no circuits, also with a clock that stands still."""
    while True:
        if not broker.circuits:
            return
        await trio.lowlevel.checkpoint()


def are_stalled(count: int) -> bool:
    """Whether so many tasks wait until a socket has room."""
    statistics = trio.lowlevel.current_statistics().io_statistics
    assert statistics.backend == "epoll"
    return statistics.tasks_waiting_write == count


def is_stalled() -> bool:
    """Whether a sender and the broker behind it wait."""
    return are_stalled(2)


async def talk_until_broken(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await stream.send_all(bytes(64 * KIB))


async def send_and_end(stream: trio.SocketStream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


async def receive_all(stream: trio.SocketStream) -> bytes:
    received = bytearray()
    async for piece in stream:
        received += piece
    return bytes(received)


async def receive_exactly(stream: trio.SocketStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = await stream.receive_some(count - len(received))
        assert piece
        received += piece
    return received


async def exchange_both_ways(ends: Ends, count: int) -> None:
    async def check(stream: trio.SocketStream, digest: bytes) -> None:
        assert hashlib.sha256(await receive_all(stream)).digest() == digest

    data = [os.urandom(count) for _ in ends]
    async with trio.open_nursery() as nursery:
        for stream, sent, expected in zip(ends, data, reversed(data), strict=True):
            nursery.start_soon(send_and_end, stream, sent)
            nursery.start_soon(check, stream, hashlib.sha256(expected).digest())
