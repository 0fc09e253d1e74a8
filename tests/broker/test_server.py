"""The broker's shell over memory streams: timers to the second, farewells, nobody disturbed."""

import logging
from ipaddress import IPv4Address

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_p2p._addresses import Endpoint
from trio_p2p._broker.server import READING_TIME, Broker
from trio_p2p._net.channel import ChannelClosedError
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
    RefusalCode,
    Register,
    Registered,
    RelayRequest,
    SenderEndpoint,
    Update,
)
from trio_p2p._wire.offer import Behaviour, Nat, Offer

from ..kit.loopback import crash, open_streams
from ..kit.raw_client import (
    MemoryBroker,
    RawClient,
    identity_of,
    open_memory_broker,
    registration,
    request,
)

UNPROVEN = Register("alice", identity_of("alice").certificate, bytes(64))


async def seconds_until_closed(client: RawClient) -> float:
    started_at = trio.current_time()
    await client.wait_closed()
    return trio.current_time() - started_at


async def settle() -> None:
    """Let every other task do what it can do without time passing."""
    await trio.testing.wait_all_tasks_blocked()


# Timers.


async def test_receiver_is_dropped_after_65_s_of_silence(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        await trio.sleep(64.9)
        assert broker.uids == {"alice"}
        await trio.sleep(0.2)
        assert broker.uids == frozenset()
        assert await receiver.wait_closed() == []


async def test_silence_counts_from_the_last_message(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        await trio.sleep(50)
        await receiver.send(KeepAlive())
        assert await seconds_until_closed(receiver) == pytest.approx(65, abs=1e-3)


async def test_bytes_that_are_no_message_do_not_count(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        await trio.sleep(50)
        await receiver.stream.send_all(b"\xc4")
        assert await seconds_until_closed(receiver) == pytest.approx(15, abs=1e-3)


@pytest.mark.parametrize("greets", [False, True])
async def test_opening_time_of_10_s(greets: bool, autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as client:
        if greets:
            await trio.sleep(5)
            await client.greet()
            assert await seconds_until_closed(client) == pytest.approx(5, abs=1e-3)
        else:
            assert await seconds_until_closed(client) == pytest.approx(10, abs=1e-3)


async def test_keepalives_every_30_s_keep_it_for_hours(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        for _ in range(6 * 3600 // 30):
            await trio.sleep(30)
            await receiver.send(KeepAlive())
        assert broker.uids == {"alice"}


async def test_one_lost_keepalive_does_no_harm(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        for _ in range(10):
            await trio.sleep(60)
            await receiver.send(KeepAlive())
        assert broker.uids == {"alice"}


async def test_kept_sender_is_dropped_after_65_s_of_silence(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as sender:
        await sender.greet()
        await sender.ask("nobody", "fast")
        assert (await sender.wait_refused()).code is RefusalCode.UNKNOWN_UID
        assert await seconds_until_closed(sender) == pytest.approx(65, abs=1e-3)


async def test_sender_that_only_greets_and_keeps_alive_stays(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as sender:
        await sender.send(Hello(), KeepAlive())
        await sender.receive(Hello)
        for _ in range(100):
            await trio.sleep(30)
            await sender.send(KeepAlive())
        await sender.ask("nobody", "fast")
        assert (await sender.wait_refused()).code is RefusalCode.UNKNOWN_UID


async def test_sender_waits_10_s_for_a_silent_receiver(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as sender,
    ):
        await receiver.register("alice")
        await sender.greet()
        await sender.ask("alice", "classic", number=7)
        started_at = trio.current_time()
        refused = await sender.wait_refused()
        assert (refused.code, refused.number) == (RefusalCode.RECEIVER_SILENT, 7)
        assert trio.current_time() - started_at == pytest.approx(10, abs=1e-3)
        assert await sender.wait_closed() == []
        assert broker.broker.registry.pending_introductions == 0
        assert broker.uids == {"alice"}


# The end of a registration.


async def test_kill_message_frees_the_uid_at_once(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        started_at = trio.current_time()
        await receiver.send(Kill())
        assert await receiver.wait_closed() == []
        assert broker.uids == frozenset()
        assert trio.current_time() == started_at


async def test_closed_connection_frees_the_uid_at_once(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        started_at = trio.current_time()
        await receiver.aclose()
        await settle()
        assert broker.uids == frozenset()
        assert trio.current_time() == started_at
        async with broker.connect() as another:
            await another.register("alice")


async def test_own_uid_is_taken_over_at_once(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as lost,
        broker.connect() as stranger,
        broker.connect() as newer,
    ):
        await lost.register("alice")
        challenge = await stranger.greet()
        await stranger.send(registration("alice", challenge, identity_of("stranger")))
        assert (await stranger.wait_refused()).code is RefusalCode.UID_TAKEN
        assert await stranger.wait_closed() == []
        started_at = trio.current_time()
        await newer.register("alice")
        assert (await lost.wait_refused()).code is RefusalCode.UID_TAKEN
        assert await lost.wait_closed() == []
        assert trio.current_time() == started_at
        assert broker.uids == {"alice"}


async def test_own_uid_is_taken_over_from_a_connection_that_does_not_read(
    autojump_clock: MockClock,
) -> None:
    async with open_memory_broker() as broker, broker.connect() as newer:
        lost = broker.connect(lockstep=True)
        await lost.register("alice")
        with trio.fail_after(READING_TIME + 0.1):
            await newer.register("alice")
        await settle()
        assert broker.uids == {"alice"}
        assert broker.served == 1


async def test_cancelling_closes_everything(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        broker = MemoryBroker(nursery)
        clients = [broker.connect(lockstep=index % 2 == 1) for index in range(6)]
        greeted, _, receiver, _, sender, _ = clients
        await greeted.greet()
        await receiver.register("alice")
        await sender.greet()
        await sender.ask("alice", "classic")
        await receiver.receive(ConnectionRequest)
        started_at = trio.current_time()
        nursery.cancel_scope.cancel(reason="the test says so")
    assert trio.current_time() == started_at
    assert broker.uids == frozenset()
    assert broker.broker.registry.pending_introductions == 0
    for client in clients:
        assert await client.wait_closed() == []


async def test_cancelling_does_not_wait_for_one_who_does_not_read(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        broker = MemoryBroker(nursery)
        receiver, sender = broker.connect(lockstep=True), broker.connect()
        await receiver.register("alice")
        await sender.greet()
        await sender.ask("alice", "fast")
        await settle()
        started_at = trio.current_time()
        nursery.cancel_scope.cancel(reason="the test says so")
    assert trio.current_time() == started_at


# Introductions.


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


# The log.


async def test_log_never_holds_secrets(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG, "trio_p2p")
    async with (
        open_memory_broker() as broker,
        broker.connect() as receiver,
        broker.connect() as sender,
    ):
        challenge = await receiver.greet()
        registering = registration("alice", challenge)
        await receiver.send(registering)
        await sender.greet()
        await sender.ask("alice", "fast")
        nonce = (await sender.receive(ReceiverEndpoint)).nonce
        await sender.ask("alice", "relay")
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
    assert [record.getMessage() for record in caplog.records] == [
        "203.0.113.2:40000 fell silent (registered)"
    ]


# The sockets' side.


async def test_closed_channel_says_whether_a_message_was_cut(autojump_clock: MockClock) -> None:
    for data, expected in [
        (b"", "the other side closed the connection"),
        (b"\xc4\x05ab", "the other side closed the connection in the middle of a message"),
    ]:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(data)
        await theirs.aclose()
        with pytest.raises(ChannelClosedError) as caught:
            await RawClient(ours).channel.receive()
        assert str(caught.value) == expected


async def test_client_that_is_gone_before_it_is_served() -> None:
    async with open_streams() as (client, served):
        crash(client)
        with pytest.raises(ConnectionResetError):
            await served.socket.recv(1)
        await Broker().serve_socket(served)
        assert served.socket.fileno() == -1


async def test_sender_cancelled_in_the_queue_does_no_harm() -> None:
    # Over sockets: their sends are no checkpoints while there is room.
    for _ in range(20):  # the order of tasks is random
        left, right = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
        async with RawClient(left) as sending, RawClient(right) as receiving:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def send_scoped(scope: trio.CancelScope = scope) -> None:
                    with scope:
                        await sending.send(KeepAlive())

                nursery.start_soon(sending.send, KeepAlive())
                nursery.start_soon(send_scoped)
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                scope.cancel(reason="the test says so")
            await sending.send(Kill())
            await sending.aclose()
            assert (await receiving.wait_closed())[-1] == Kill()
