"""Farewells of the broker, and clients that do not read or leave at the wrong moment."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_p2p._broker.server import READING_TIME
from trio_p2p._wire.messages import (
    ConnectionRequest,
    Hello,
    Kill,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Register,
    SenderEndpoint,
)

from ..kit.raw_client import BROKER, RawClient, identity_of, open_memory_broker, request
from .memory_clients import settle

UNPROVEN = Register("alice", BROKER, identity_of("alice").certificate, bytes(64))


# Farewells.


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        pytest.param([Hello(2), UNPROVEN], RefusalCode.UNSUPPORTED_VERSION, id="version"),
        pytest.param([UNPROVEN], RefusalCode.PROTOCOL_VIOLATION, id="no hello"),
        pytest.param([Hello(), UNPROVEN], RefusalCode.IDENTITY_NOT_PROVEN, id="not proven"),
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


async def test_receiver_that_does_not_read_delays_only_who_asks_for_it(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as honest,
        broker.connect() as sender,
        broker.connect() as other_sender,
    ):
        hostile = broker.connect(lockstep=True)
        await hostile.register("mallory")
        await honest.register("alice")
        await sender.greet()
        await other_sender.greet()
        # A sender may keep one connection for many receivers.
        await sender.ask("mallory", "fast", number=1)
        await sender.ask("alice", "fast", number=2)
        await other_sender.ask("alice", "fast")
        started_at = trio.current_time()
        await other_sender.receive(ReceiverEndpoint)
        assert trio.current_time() == started_at
        assert (await sender.receive(ReceiverEndpoint)).number == 1
        assert (await sender.receive(ReceiverEndpoint)).number == 2
        assert trio.current_time() - started_at < READING_TIME + 0.1
        await settle()
        assert broker.uids == {"alice"}  # who does not read is of no use to any sender


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
        await trio.sleep(READING_TIME + 0.1)
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
        await trio.sleep(READING_TIME)
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
