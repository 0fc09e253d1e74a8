"""Farewells of the broker, and clients that do not read or leave at the wrong moment."""

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_p2p._broker.link import FAREWELL_TIME
from trio_p2p._broker.registry import SILENCE_TIME
from trio_p2p._wire.messages import (
    ConnectionRequest,
    Decline,
    Hello,
    KeepAlive,
    Kill,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    SenderEndpoint,
)

from ..kit.raw_client import RawClient, open_memory_broker, registration, request
from .memory_clients import settle

UNPROVEN = attrs.evolve(registration("alice", bytes(32)), signature=bytes(64))


# Farewells.


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        pytest.param([Hello(2), UNPROVEN], RefusalCode.UNSUPPORTED_VERSION, id="version"),
        pytest.param([UNPROVEN], RefusalCode.PROTOCOL_VIOLATION, id="no hello"),
        pytest.param([Hello(), UNPROVEN, Kill()], RefusalCode.IDENTITY_NOT_PROVEN, id="not proven"),
        pytest.param([Hello(), Kill()], RefusalCode.PROTOCOL_VIOLATION, id="wrong state"),
    ],
)
async def test_refusal_is_delivered_before_the_end(
    messages: list[Message], code: RefusalCode, autojump_clock: MockClock
) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as client,
    ):
        await receiver.register("alice")
        await client.send(*messages)
        *_, refused = await client.wait_closed()
        assert getattr(refused, "code", None) is code
        assert broker.uids == {"alice"}


async def test_garbage_after_the_last_word_is_not_answered(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as client:
        theirs, ours = trio.testing.memory_stream_pair()
        await RawClient(ours).send(Hello(2))
        await client.stream.send_all(await theirs.receive_some() + b"garbage")
        (refused,) = await client.wait_closed()
        assert getattr(refused, "code", None) is RefusalCode.UNSUPPORTED_VERSION


async def test_waiting_senders_are_told_that_the_receiver_left(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        senders = [broker.connect() for _ in range(5)]
        for number, sender in enumerate(senders):
            await sender.greet()
            await sender.ask("alice", "classic", number=number)
        await settle()
        await receiver.aclose()
        for number, sender in enumerate(senders):
            (refused,) = await sender.wait_closed()
            assert getattr(refused, "code", None) is RefusalCode.RECEIVER_LOST
            assert getattr(refused, "number", None) == number


# One who does not read, or leaves at the wrong moment, disturbs nobody.


async def test_receiver_that_does_not_read_keeps_its_registration_and_delays_no_sender(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as honest,
        broker.connect() as sender,
    ):
        deaf = broker.connect(lockstep=True)
        await deaf.register("deaf")
        await honest.register("alice")
        await sender.greet()
        started_at = trio.current_time()
        await sender.ask("deaf", "fast", number=1)
        assert (await sender.receive(ReceiverEndpoint)).number == 1
        other = broker.connect()
        await other.greet()
        for number, technique, client in (
            (2, "fast", sender),
            (3, "classic", other),
            (4, "relay", other),
        ):
            await client.ask("deaf", technique, number=number)
            refused = await client.wait_refused()
            assert (refused.code, refused.number) == (RefusalCode.BUSY, number)
            assert refused.retry_after == 1000
        # A sender may keep one connection for many receivers.
        await sender.ask("alice", "fast", number=5)
        assert (await sender.receive(ReceiverEndpoint)).number == 5
        assert trio.current_time() == started_at
        # The receiver reads late: it has missed nothing that a sender was told of.
        await trio.sleep(60)
        await deaf.send(KeepAlive())
        await deaf.receive(SenderEndpoint)
        await settle()
        await honest.send(KeepAlive())
        await sender.ask("deaf", "fast", number=6)
        await deaf.receive(SenderEndpoint)
        assert (await sender.receive(ReceiverEndpoint)).number == 6
        assert broker.uids == {"alice", "deaf"}


async def test_receiver_that_never_reads_ends_with_silence(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as sender:
        deaf = broker.connect(lockstep=True)
        await deaf.register("deaf")
        await sender.greet()
        await sender.ask("deaf", "fast")
        await trio.sleep(SILENCE_TIME - 0.1)
        assert broker.uids == {"deaf"}
        await trio.sleep(0.2)
        assert broker.uids == frozenset()
        await settle()
        assert broker.served == 2  # the sender has been silent as long


async def test_receiver_that_sends_but_never_reads_ends_too(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as sender:
        deaf = broker.connect(lockstep=True)
        await deaf.register("deaf")
        await sender.greet()
        await sender.ask("deaf", "fast")
        for _ in range(2):
            await trio.sleep(SILENCE_TIME / 2 - 0.1)
            await deaf.send(KeepAlive())
        assert broker.uids == {"deaf"}
        await trio.sleep(0.3)
        assert broker.uids == frozenset()


async def test_sender_that_does_not_read_its_refusals_is_cut(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Receivers decline what it has asked for, and it does not hear of that."""
    monkeypatch.setattr("trio_p2p._broker.link.MAX_UNWRITTEN", 1000)
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        sender = broker.connect(lockstep=True)
        await sender.greet()
        nonces = []
        for number in range(20):
            await sender.ask("alice", "fast", number=number)
            await sender.receive(ReceiverEndpoint)
            nonces.append((await receiver.receive(SenderEndpoint)).nonce)
        for nonce in nonces:
            await receiver.send(Decline(nonce=nonce))
            await settle()
        assert broker.served == 1
        assert broker.uids == {"alice"}


async def test_many_who_do_not_read_delay_a_farewell_no_longer_than_one(
    autojump_clock: MockClock,
) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        hostile = [broker.connect(lockstep=True) for _ in range(10)]
        honest = broker.connect()
        for sender in [*hostile, honest]:
            await sender.greet()
            await sender.ask("alice", "classic")
            await receiver.receive(ConnectionRequest)
        started_at = trio.current_time()
        await receiver.aclose()
        assert len(await honest.wait_closed()) == 1
        assert trio.current_time() == started_at
        await trio.sleep(FAREWELL_TIME + 0.1)
        assert broker.served == broker.clients


async def test_farewell_to_one_who_does_not_read_is_given_up(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        client = broker.connect(lockstep=True)
        await receiver.register("alice")
        await client.greet()
        await client.ask("alice", "classic")
        await receiver.receive(ConnectionRequest)
        await trio.sleep(10.1)  # refused, but not read
        assert broker.served == 0
        await trio.sleep(FAREWELL_TIME)
        assert broker.served == 1


async def test_receiver_may_leave_while_others_are_told(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect(lockstep=True) as first,
        broker.connect() as second,
        broker.connect() as sender,
    ):
        await first.register("alice")
        await second.register("bob")
        await sender.send(
            Hello(),
            request(0, "alice", "fast"),
            request(1, "bob", "fast"),
        )
        await settle()
        await second.aclose()
        await settle()
        assert broker.uids == {"alice"}
        await first.receive(SenderEndpoint)
        await sender.receive(Hello)
        assert (await sender.receive(ReceiverEndpoint)).number == 0


async def test_sender_may_leave_while_others_are_told(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        senders = [broker.connect(lockstep=True) for _ in range(4)]
        for sender in senders:
            await sender.greet()
            await sender.ask("alice", "classic")
            await receiver.receive(ConnectionRequest)
        await receiver.aclose()
        await settle()
        for sender in reversed(senders):
            await sender.aclose()
            await settle()
        assert broker.served == broker.clients


async def test_end_of_a_sender_does_not_harm_the_receiver_it_asked_for(
    autojump_clock: MockClock,
) -> None:
    # The sender's task ends while it tells one receiver, because the other one leaves.
    for _ in range(20):  # the order of tasks is random
        async with (
            open_memory_broker() as broker,
            broker.connect() as first,
            broker.connect() as second,
            broker.connect() as sender,
        ):
            await first.register("alice")
            await second.register("bob")
            await sender.greet()
            await sender.send(request(0, "alice", "fast"), request(1, "bob", "classic"))
            await second.send(Kill())
            await settle()
            assert broker.uids == {"alice"}
            await sender.aclose()
