"""The broker's shell over memory streams: introductions, probes, offers, and its log."""

import logging
from collections import Counter
from ipaddress import IPv4Address

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_p2p._addresses import Endpoint
from trio_p2p._broker.connection import Connection, Messages
from trio_p2p._broker.server import Broker
from trio_p2p._wire.messages import (
    Acknowledge,
    CallBack,
    CalledBack,
    ConnectionRequest,
    Hello,
    HolePunched,
    KeepAlive,
    Kill,
    Message,
    Observed,
    Probe,
    ReceiverEndpoint,
    Registered,
    RelayRequest,
    SenderEndpoint,
    Update,
)
from trio_p2p._wire.offer import Behaviour, Nat, Offer

from ..kit.loopback import crash, open_streams
from ..kit.raw_client import RawClient, open_memory_broker, registration, request
from .memory_clients import seconds_until_closed, settle

FLOODING = 100  # clients

# Introductions.


async def test_senders_do_not_wait_for_clients_that_say_much_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: Counter[type[Message]] = Counter()
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        sender = broker.connect()
        await sender.greet()
        hear = broker.broker.registry.received

        def count(connection: Connection, message: Message, now: float) -> Messages:
            heard[type(message)] += 1
            return hear(connection, message, now)

        monkeypatch.setattr(broker.broker.registry, "received", count)
        async with trio.open_nursery() as nursery:
            for _ in range(FLOODING):
                nursery.start_soon(broker.connect().send, Hello(), *[KeepAlive()] * 500)
            while heard[KeepAlive] < 5 * FLOODING:  # noqa: ASYNC110, RUF100 - the first turns
                await trio.lowlevel.checkpoint()
            before = heard[KeepAlive]
            await sender.ask("alice", "fast")
            await sender.receive(ReceiverEndpoint)
            assert 0 < heard[KeepAlive] - before < FLOODING
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_classic_introduction_step_by_step(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as sender,
    ):
        await receiver.register("alice")
        await sender.greet()
        await sender.ask("alice", "classic", number=3)  # step 1
        request = await receiver.receive(ConnectionRequest)  # step 2
        async with broker.connect() as punching:
            await punching.greet()
            await punching.send(Acknowledge(request.introduction))  # step 3
            told_receiver = await punching.receive(SenderEndpoint)  # step 4
        # Step 5 was the end of that context; 6 to 8 happen elsewhere.
        async with broker.connect() as reporting:
            await reporting.greet()
            await reporting.send(HolePunched(request.introduction))  # step 9
            assert await reporting.wait_closed() == []
        told_sender = await sender.receive(ReceiverEndpoint)  # step 10
        assert await sender.wait_closed() == []  # step 11
    assert told_receiver.endpoint == Endpoint(IPv4Address("203.0.113.3"), 40000)  # the sender's
    assert told_sender.endpoint == Endpoint(IPv4Address("203.0.113.4"), 40000)  # of step 3
    assert told_sender.nonce == told_receiver.nonce
    assert told_sender.number == 3


async def test_fast_introduction_over_a_kept_connection(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as sender,
    ):
        own_endpoint = (await receiver.register("alice")).endpoint
        await sender.greet()
        nonces = set()
        for number in range(3):
            await sender.ask("alice", "fast", number=number)
            told_receiver = await receiver.receive(SenderEndpoint)
            told_sender = await sender.receive(ReceiverEndpoint)
            assert told_receiver.endpoint == Endpoint(IPv4Address("203.0.113.3"), 40000)
            assert told_sender.endpoint == own_endpoint
            assert told_sender.nonce == told_receiver.nonce
            assert told_sender.number == number
            nonces.add(told_sender.nonce)
        assert len(nonces) == 3


async def test_everything_may_come_in_one_piece(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as sender,
    ):
        await receiver.send(registration("alice", await receiver.greet()), KeepAlive())
        await settle()
        requests = [request(number, "alice", "fast") for number in range(50)]
        await sender.send(Hello(), *requests)
        await sender.receive(Hello)
        answers = [await sender.receive(ReceiverEndpoint) for _ in requests]
        assert [answer.number for answer in answers] == list(range(50))


async def test_everything_may_come_byte_by_byte(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        sent: list[bytes] = []
        theirs, ours = trio.testing.memory_stream_pair()
        challenge = await receiver.greet()
        await RawClient(ours).send(registration("alice", challenge), KeepAlive(), Kill())
        sent += [bytes([byte]) for byte in await theirs.receive_some()]
        for byte in sent:
            await receiver.stream.send_all(byte)
            await settle()
        messages = await receiver.wait_closed()
        assert [message.type for message in messages] == ["registered"]


# Probes.


async def test_probe_takes_one_round_trip(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as client:
        await client.send(Hello(), Probe())
        greeting = await client.receive(Hello)
        observed = await client.receive(Observed)
        assert observed.endpoint == greeting.endpoint == Endpoint(IPv4Address("203.0.113.2"), 40000)
        assert await seconds_until_closed(client) == pytest.approx(5, abs=1e-3)


async def test_broker_without_probes_does_not_call_back(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as client:
        await client.send(Hello(), Probe(), CallBack())
        assert (await client.receive(Hello)).probe_port is None
        await client.receive(Observed)
        assert await client.wait_closed() == [CalledBack()]


# Offers.


async def test_offers_are_passed_on(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as sender,
    ):
        own, other = Offer(Nat(Behaviour.ADDRESS_DEPENDENT)), Offer(port_guessing=False)
        await receiver.register("alice")
        await receiver.send(Update(own))
        await sender.greet()
        await sender.send(attrs.evolve(request(0, "alice", "fast"), offer=other))
        assert (await receiver.receive(SenderEndpoint)).offer == other
        assert (await sender.receive(ReceiverEndpoint)).offer == own


async def test_update_counts_as_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        await trio.sleep(50)
        await receiver.send(Update())
        assert await seconds_until_closed(receiver) == pytest.approx(65, abs=1e-3)


# The log.


async def test_log_never_holds_secrets(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG, "trio_p2p")
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as sender,
        broker.connect() as asking,
    ):
        challenge = await receiver.greet()
        registering = registration("alice", challenge)
        await receiver.send(registering)
        await sender.greet()
        await sender.ask("alice", "fast")
        nonce = (await sender.receive(ReceiverEndpoint)).nonce
        await asking.greet()
        await asking.ask("alice", "relay")
        await receiver.receive(Registered)
        await receiver.receive(SenderEndpoint)
        introduction = (await receiver.receive(RelayRequest)).introduction
    assert "sender_endpoint" in caplog.text.lower() or "SenderEndpoint" in caplog.text
    for hidden in (challenge, registering.signature, nonce, introduction):
        assert repr(hidden)[2:-1] not in caplog.text
        assert hidden.hex() not in caplog.text


async def test_silence_is_logged_once(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        await receiver.wait_closed()
    assert caplog.messages == [
        "receiver 'alice' registered from 203.0.113.2:40000",
        "client 203.0.113.2:40000 timed out (registered)",
        "receiver 'alice' unregistered",
    ]


async def test_client_that_is_gone_before_it_is_served() -> None:
    async with open_streams() as (client, served):
        crash(client)
        with pytest.raises(ConnectionResetError):
            await served.socket.recv(1)
        await Broker().serve_socket(served)
        assert served.socket.fileno() == -1
