"""The relay over real sockets: every byte, every end, every limit in words, and nothing left."""

import errno
import fcntl
import hashlib
import logging
import os
import resource
import socket
import struct
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.relay import Circuit
from trio_p2p._broker.server import Broker
from trio_p2p._net.system import system_in_use
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

from ..kit.lacking_system import LackingSystem
from ..kit.loopback import HOST, held, until
from ..kit.raw_client import RawClient, identity_of, request

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


def is_stalled() -> bool:
    """Whether a sender and the broker behind it wait for somebody to read."""
    statistics = trio.lowlevel.current_statistics().io_statistics
    assert statistics.backend == "epoll"
    return statistics.tasks_waiting_write == 2


async def talk_until_broken(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
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


# Bytes.


async def test_32_mib_pass_in_both_directions() -> None:
    async with open_relay() as (broker, _, ends):
        [circuit] = broker.circuits
        await exchange_both_ways(ends, 32 * MIB)
        assert circuit.passed == 64 * MIB
        await until_over(broker)  # both have ended, so it is over


async def test_small_things_pass_at_once() -> None:
    async with open_relay() as (_, _, ends):
        for number in range(200):
            for talking, listening in ((ends.sender, ends.receiver), (ends.receiver, ends.sender)):
                await talking.send_all(b"%d" % number)
                assert await listening.receive_some() == b"%d" % number


@pytest.mark.parametrize("first", ["sender", "receiver"])
async def test_half_close_passes_and_the_other_direction_goes_on(first: str) -> None:
    async with open_relay() as (broker, _, ends):
        one, other = ends if first == "sender" else reversed(list(ends))
        await send_and_end(one, b"that is all")
        assert await receive_all(other) == b"that is all"
        for _ in range(10):
            await other.send_all(bytes(100 * KIB))
            assert await receive_exactly(one, 100 * KIB) == bytes(100 * KIB)
        assert len(broker.circuits) == 1
        await send_and_end(other, b"bye")
        assert await receive_all(one) == b"bye"


async def test_circuits_do_not_mix() -> None:
    async with open_relay() as (broker, receiver, first):
        second = await broker.open(receiver)
        async with trio.open_nursery() as nursery:
            for ends in (first, second):
                nursery.start_soon(exchange_both_ways, ends, 2 * MIB)
        second.close()


async def test_who_does_not_read_stops_only_its_own_direction() -> None:
    async with open_relay() as (_, _, ends), trio.open_nursery() as nursery:
        nursery.start_soon(ends.sender.send_all, bytes(64 * MIB))
        for _ in range(100):
            await ends.receiver.send_all(b"x" * KIB)
            await receive_exactly(ends.sender, KIB)
        assert await receive_exactly(ends.receiver, MIB) == bytes(MIB)
        nursery.cancel_scope.cancel(reason="enough")


async def test_sender_may_be_gone_before_the_receiver_reads() -> None:
    async with open_relay() as (broker, _, ends):
        [circuit] = broker.circuits
        await ends.receiver.send_all(b"never read")
        await until(lambda: circuit.passed == 10)
        await ends.sender.send_all(b"x" * 30 * KIB)
        await until(lambda: circuit.passed == 10 + 30 * KIB)
        await ends.sender.aclose()  # which is a reset, as there is something to read
        assert await receive_all(ends.receiver) == b"x" * 30 * KIB


@pytest.mark.parametrize("end", ["sender", "receiver"])
async def test_reset_of_one_end_ends_both(end: str) -> None:
    async with open_relay() as (broker, _, ends):
        one, other = ends if end == "sender" else reversed(list(ends))
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.socket.close()
        assert await receive_all(other) == b""
        await other.aclose()
        await until_over(broker)


async def test_reset_is_noticed_though_the_other_direction_has_ended() -> None:
    async with open_relay() as (broker, _, ends):
        await ends.receiver.send_eof()
        assert await receive_all(ends.sender) == b""
        ends.receiver.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        ends.receiver.socket.close()
        await talk_until_broken(ends.sender)
        await until_over(broker)


# What carries them.


@contextmanager
def no_descriptors_left() -> Generator[None]:
    """Let this process open no file any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    gaps: list[int] = []
    with suppress(OSError):
        while True:
            gaps.append(os.dup(0))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in gaps:
            os.close(descriptor)


async def test_all_passes_without_descriptors_for_pipes() -> None:
    async with open_relay() as (_, _, ends):
        with no_descriptors_left():
            await exchange_both_ways(ends, 4 * MIB)


async def test_all_passes_through_small_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(_descriptor: int, command: int, _size: int) -> int:
        asked.append(command)
        raise PermissionError(errno.EPERM, "spent")

    async with open_relay() as (_, _, ends):
        monkeypatch.setattr(fcntl, "fcntl", refuse)
        await exchange_both_ways(ends, 4 * MIB)
    assert set(asked) == {fcntl.F_SETPIPE_SZ}


async def test_all_passes_where_the_system_cannot_splice() -> None:
    system = LackingSystem(has_splice=False)
    with system_in_use(system):
        async with open_relay() as (_, _, ends):
            await exchange_both_ways(ends, 4 * MIB)


async def test_idle_circuits_hold_no_pipes_of_their_own() -> None:
    async with open_relay() as (broker, receiver, first):
        others = [await broker.open(receiver) for _ in range(10)]
        before = held().descriptors
        for ends in (first, *others):
            await ends.sender.send_all(b"x")
            assert await ends.receiver.receive_some() == b"x"
        assert held().descriptors <= before + 2  # one pipe did for all
        for ends in others:
            ends.close()


async def test_spoilt_pipe_is_not_used_again() -> None:
    async with open_relay() as (broker, receiver, stalled):
        fine = await broker.open(receiver)
        stalled.receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stalled.sender.send_all, b"old" * 8 * MIB)
            await until(is_stalled)
            nursery.cancel_scope.cancel(reason="it stands still")
        stalled.close()
        await until(lambda: len(broker.circuits) == 1)
        await exchange_both_ways(fine, MIB)
        fine.close()


# Limits, in words.


async def test_circuit_is_cut_after_so_many_bytes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    async with open_relay(RelayLimits(max_bytes=100_000)) as (broker, _, ends):
        await ends.receiver.send_all(b"r" * 40_000)
        assert await receive_exactly(ends.sender, 40_000) == b"r" * 40_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.sender.send_all, b"s" * 60_001)
            data, refused = ends.farewell(await receive_all(ends.receiver))
        assert data == b"s" * 60_000
        reason = (
            "the broker has cut the relayed connection: it has carried 100000 bytes, the limit of "
            "this broker"
        )
        assert refused.reason == reason
        data, refused = ends.farewell(await receive_all(ends.sender))
        assert (data, refused.reason) == (b"", reason)
        await until_over(broker)
    [record] = caplog.records
    assert record.getMessage() == (
        f"cutting the circuit to {identity_of('alice').peer_id}: it has carried 100000 bytes, the "
        "limit of this broker"
    )


async def test_sender_that_goes_on_is_told_of_the_cut() -> None:
    async with (
        open_relay(RelayLimits(max_bytes=MIB)) as (_, _, ends),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(talk_until_broken, ends.sender)
        data, _ = ends.farewell(await receive_all(ends.receiver))
        assert data == bytes(MIB)
        assert await receive_exactly(ends.sender, len(ends.circuit)) == ends.circuit
        nursery.cancel_scope.cancel(reason="told")


async def test_exactly_so_many_bytes_are_not_too_many() -> None:
    async with open_relay(RelayLimits(max_bytes=1000)) as (_, _, ends):
        await send_and_end(ends.sender, bytes(600))
        assert await receive_all(ends.receiver) == bytes(600)
        await send_and_end(ends.receiver, bytes(400))
        assert await receive_all(ends.sender) == bytes(400)


async def test_idle_circuit_is_cut(mock_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    async with open_relay() as (_, _, ends):
        for talking, listening in ((ends.sender, ends.receiver), (ends.receiver, ends.sender)):
            mock_clock.jump(59)
            await talking.send_all(b"still here")
            assert await listening.receive_some() == b"still here"
        mock_clock.jump(60)
        for stream in ends:
            data, refused = ends.farewell(await receive_all(stream))
            assert data == b""
            assert refused.reason == (
                "the broker has cut the relayed connection: it was idle for 60 seconds, the limit "
                "of this broker"
            )
    assert [record.getMessage() for record in caplog.records].count(
        f"cutting the circuit to {identity_of('alice').peer_id}: it was idle for 60 seconds, the "
        "limit of this broker"
    ) == 1


async def test_half_closed_circuit_may_be_idle_too_long_as_well(mock_clock: MockClock) -> None:
    async with open_relay() as (broker, _, ends):
        await ends.sender.send_eof()
        assert await receive_all(ends.receiver) == b""
        mock_clock.jump(61)
        ends.farewell(await receive_all(ends.sender))
        await until_over(broker)


async def test_rate_is_kept(mock_clock: MockClock) -> None:
    async with open_relay(RelayLimits(bytes_per_second=1000)) as (_, _, ends):
        await ends.sender.send_all(bytes(2000))
        received = await receive_exactly(ends.receiver, 100)
        for tenth in range(1, 20):
            # Two tenths of a second's bytes at first, and one with every tenth.
            while len(received) < 100 * (tenth + 1):
                received += await ends.receiver.receive_some()
            assert len(received) == 100 * (tenth + 1)
            mock_clock.jump(0.1)


# Before the relay is there.


async def test_nothing_may_come_behind_the_request() -> None:
    async with open_relay() as (broker, _, _), await broker.connect() as sender:
        await sender.greet()
        await sender.send(request(0, "alice", "relay"), request(1, "alice", "fast"))
        refused = await sender.wait_refused()
        assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, None)
        assert "got more behind introduction_request" in refused.reason
        assert await sender.wait_closed() == []


async def test_nothing_may_come_behind_joining() -> None:
    async with open_relay() as (broker, receiver, _), await broker.connect() as sender:
        await sender.greet()
        await sender.ask("alice", "relay")
        asked = await receiver.receive(RelayRequest)
        async with await broker.connect() as joining:
            theirs, ours = trio.testing.memory_stream_pair()
            await RawClient(ours).send(Hello(), JoinRelay(asked.introduction))
            await joining.stream.send_all(await theirs.receive_some() + b"\xc4")
            await joining.receive(Hello)
            assert (await joining.wait_refused()).code is RefusalCode.PROTOCOL_VIOLATION
        # It was a stranger's or a broken one: the sender goes on waiting.
        async with await broker.connect() as joining:
            await joining.send(Hello(), JoinRelay(asked.introduction))
            await joining.receive(Hello)
            await joining.receive(Relayed)
            await sender.receive(Relayed)


async def test_half_a_message_while_waiting_ends_the_circuit() -> None:
    async with open_relay() as (broker, receiver, _), await broker.connect() as sender:
        await sender.greet()
        await sender.ask("alice", "relay")
        asked = await receiver.receive(RelayRequest)
        [link] = (
            link
            for connection, link in broker.broker._links.items()
            if connection.introduction is not None
        )
        await sender.stream.send_all(b"\xc4")
        await until(lambda: not link.channel._frames.is_empty)
        async with await broker.connect() as joining:
            await joining.send(Hello(), JoinRelay(asked.introduction))
            await joining.receive(Hello)
            await joining.receive(Relayed)
            assert await joining.wait_closed() == []


async def test_waiting_sender_is_told_that_the_receiver_left() -> None:
    async with (
        open_relay() as (broker, _, _),
        await broker.receiver("bob") as receiver,
        await broker.connect() as sender,
    ):
        await sender.greet()
        await sender.ask("bob", "relay", number=8)
        await receiver.receive(RelayRequest)
        await receiver.aclose()
        refused = await sender.wait_refused()
        assert (refused.code, refused.number) == (RefusalCode.RECEIVER_LOST, 8)
        assert await sender.wait_closed() == []


async def test_circuit_outlives_the_registration() -> None:
    async with open_relay() as (_, receiver, ends):
        await receiver.aclose()
        await exchange_both_ways(ends, KIB)


# Cancellation: nothing is left, which open_relay checks.


@pytest.mark.parametrize("leg", [1, 2])
@pytest.mark.parametrize("stage", ["idle", "half-closed", "stalled"])
async def test_cancelling_one_end_ends_both(leg: int, stage: str) -> None:
    async with open_relay() as (broker, _, ends), trio.open_nursery() as nursery:
        match stage:
            case "half-closed":
                await ends.sender.send_eof()
                assert await receive_all(ends.receiver) == b""
            case "stalled":
                nursery.start_soon(talk_until_broken, ends.sender)
                await until(is_stalled)
            case _:
                pass
        broker.scopes[leg].cancel(reason="the test says so")
        await until_over(broker)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_cancelling_the_broker_closes_all() -> None:
    before = held()
    async with trio.open_nursery() as nursery:
        broker = RelayBroker(UNLIMITED)
        await broker.serve(nursery)
        receiver = await broker.receiver()
        circuits = [await broker.open(receiver) for _ in range(5)]
        await circuits[0].sender.send_all(b"x")
        await circuits[0].receiver.receive_some()
        nursery.cancel_scope.cancel(reason="the test says so")
    for ends in circuits:
        for stream in ends:
            assert await receive_all(stream) == b""
        ends.close()
    await receiver.aclose()
    assert broker.broker.registry.circuits == 0
    assert held() == before
