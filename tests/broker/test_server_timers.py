"""The broker's timers, to the second, and what ends a registration."""

import pytest
import trio
from trio.testing import MockClock

from trio_p2p._broker.link import FAREWELL_TIME
from trio_p2p._broker.registry import SILENCE_TIME
from trio_p2p._broker_client.connection import KEEPALIVE_TIME
from trio_p2p._wire.messages import ConnectionRequest, Hello, KeepAlive, Kill, RefusalCode

from ..kit.raw_client import MemoryBroker, identity_of, open_memory_broker, registration
from .memory_clients import seconds_until_closed, settle

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


async def test_silence_is_counted_up_to_whole_seconds(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        await trio.sleep(0.25)
        await receiver.send(KeepAlive())
        await trio.sleep(0.5)  # in the same second
        await receiver.send(KeepAlive())
        assert await seconds_until_closed(receiver) == pytest.approx(65.25, abs=1e-3)


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
        started_at = trio.current_time()
        await newer.register("alice")
        refused = await lost.wait_refused()
        assert (refused.code, refused.number) == (RefusalCode.UID_TAKEN, 0)
        assert trio.current_time() == started_at
        assert broker.uids == {"alice"}


async def test_own_uid_is_taken_over_from_a_connection_that_does_not_read(
    autojump_clock: MockClock,
) -> None:
    async with open_memory_broker() as broker, broker.connect() as newer:
        lost = broker.connect(lockstep=True)
        await lost.register("alice")
        started_at = trio.current_time()
        await newer.register("alice")
        assert trio.current_time() == started_at
        await trio.sleep(KEEPALIVE_TIME)
        await newer.send(KeepAlive())
        await trio.sleep(SILENCE_TIME - KEEPALIVE_TIME + FAREWELL_TIME + 0.1)
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
