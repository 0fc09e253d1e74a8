"""The relay over real sockets: every byte, every end, every limit in words, and nothing left."""

import errno
import logging
import socket
import struct
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from trio_p2p._broker.connection import State
from trio_p2p._broker.link import Unwritten
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._net.system import system_in_use
from trio_p2p._wire.messages import Hello, JoinRelay, RefusalCode, Relayed, RelayRequest

from ..kit.faulty_system import Fault, FaultySystem
from ..kit.loopback import crash, held, until
from ..kit.raw_client import RawClient, identity_of, request
from .relays import (
    KIB,
    MIB,
    UNLIMITED,
    Ends,
    RelayBroker,
    exchange_both_ways,
    is_stalled,
    open_relay,
    receive_all,
    receive_exactly,
    send_and_end,
    talk_until_broken,
    until_over,
)

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


@pytest.mark.slow
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
    [line] = [line for line in caplog.messages if line.startswith("circuit ")]
    assert line == (
        f"circuit to {identity_of('alice').peer_id} cut: it has carried 100000 bytes, the "
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


async def test_reset_behind_exactly_so_many_bytes_ends_the_circuit_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_relay(RelayLimits(max_bytes=1000)) as (broker, receiver, ends):
        await ends.sender.send_all(bytes(1000))
        assert await receive_exactly(ends.receiver, 1000) == bytes(1000)
        crash(ends.sender)
        await receive_all(ends.receiver)
        await until_over(broker)
        again = await broker.open(receiver)
        await exchange_greetings(again)
        again.close()
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("is_broken", [False, True], ids=["does not read", "is gone"])
@pytest.mark.parametrize("told", ["sender", "receiver"])
async def test_circuit_of_which_a_peer_cannot_be_told_ends(
    told: str, is_broken: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trio_p2p._broker.clients.FAREWELL_TIME", 0.05)
    system = FaultySystem()
    with system_in_use(system):
        async with (
            open_relay() as (broker, receiver, _),
            await broker.connect() as sender,
            await broker.connect() as joining,
        ):
            await sender.greet()
            await joining.greet()
            await sender.ask("alice", "relay")
            asked = await receiver.receive(RelayRequest)
            if is_broken:
                # Behind the write by which the receiver joins, the broker tells first the sender.
                nth = system.made["write"] + (1 if told == "sender" else 2)
                system._faults = (Fault("write", nth, errno.EPIPE),)
            else:
                state = State.WAITING if told == "sender" else State.READY
                links = broker.broker._links.items()
                [link] = [link for connection, link in links if connection.state is state]
                link.unwritten = Unwritten(bytearray())
            await joining.send(JoinRelay(asked.introduction))
            for client in (sender, joining):
                with suppress(RemoteProtocolError):  # the circuit's last words, which are no frames
                    await client.wait_closed()
            await until(lambda: len(broker.circuits) == 1)
        assert len(system.occurred) == is_broken
    assert not [record for record in caplog.records if record.exc_info]


async def test_idle_circuit_is_cut(mock_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    async with open_relay() as (_, _, ends):
        await exchange_greetings(ends)
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
        f"circuit to {identity_of('alice').peer_id} cut: it was idle for 60 seconds, the "
        "limit of this broker"
    ) == 1


async def exchange_greetings(ends: Ends) -> None:
    """Let both sides say something, as in a handshake."""
    for talking, listening in ((ends.sender, ends.receiver), (ends.receiver, ends.sender)):
        await talking.send_all(b"hello")
        assert await listening.receive_some() == b"hello"


@pytest.mark.parametrize("talking", [None, "sender", "receiver"])
async def test_circuit_is_cut_if_not_both_sides_say_something_soon(
    talking: str | None, mock_clock: MockClock
) -> None:
    async with open_relay() as (broker, _, ends):
        for _ in range(9):
            if talking is not None:
                one, other = ends if talking == "sender" else reversed(list(ends))
                await one.send_all(b"hello?")
                assert await other.receive_some() == b"hello?"
            mock_clock.jump(1)
        [circuit] = broker.circuits
        assert not circuit.is_over
        mock_clock.jump(1)
        for stream in ends:
            data, refused = ends.farewell(await receive_all(stream))
            assert data == b""
            assert refused.reason.endswith("not both peers have said something within 10 seconds")


async def test_circuit_that_both_sides_use_has_more_time(mock_clock: MockClock) -> None:
    async with open_relay() as (_, _, ends):
        mock_clock.jump(9)
        await exchange_greetings(ends)
        mock_clock.jump(59)
        await exchange_greetings(ends)


async def test_end_without_a_byte_is_nothing_said(mock_clock: MockClock) -> None:
    async with open_relay() as (_, _, ends):
        await ends.sender.send_all(b"hello?")
        assert await ends.receiver.receive_some() == b"hello?"
        await ends.receiver.send_eof()
        assert await receive_all(ends.sender) == b""
        mock_clock.jump(10)
        ends.farewell(await receive_all(ends.receiver))


async def test_half_closed_circuit_may_be_idle_too_long_as_well(mock_clock: MockClock) -> None:
    async with open_relay() as (broker, _, ends):
        await exchange_greetings(ends)
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
        await until(lambda: link.channel._frames is not None)
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
