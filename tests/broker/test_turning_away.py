"""Clients that are not served: they are told why, and when to come again."""

import logging

import pytest
import trio

from trio_p2p._broker.limits import BrokerLimits
from trio_p2p._broker.room import MAX_CUT
from trio_p2p._broker.server import Broker
from trio_p2p._broker.turning_away import MAX_PARTINGS
from trio_p2p._wire.messages import Hello, KeepAlive, RefusalCode

from ..kit.loopback import PATIENCE, held, until
from ..kit.raw_client import RawClient
from .relays import UNLIMITED, RelayBroker


@pytest.fixture
async def broker(nursery: trio.Nursery) -> RelayBroker:
    relays = RelayBroker(UNLIMITED)
    await relays.serve(nursery)
    return relays


async def greet(broker: RelayBroker) -> RawClient:
    client = await broker.connect()
    await client.send(Hello(), KeepAlive())
    await client.receive(Hello)
    return client


async def test_client_that_is_one_too_many_reads_why() -> None:
    before = held()
    async with trio.open_nursery() as nursery:
        broker = RelayBroker(UNLIMITED)
        broker.broker = Broker(limits=BrokerLimits(connections=1))
        await broker.serve(nursery)
        async with await broker.receiver():
            for says_hello in (True, False):
                async with await broker.connect() as other:
                    if says_hello:
                        await other.send(Hello(), KeepAlive())
                    refused = await other.wait_refused()
                    assert (refused.code, refused.number) == (RefusalCode.BUSY, None)
                    assert refused.retry_after == 30_000
                    assert await other.wait_closed() == []
            assert broker.broker.registry.uids == {"alice"}
        await until(lambda: not broker.broker._links)
        await (await greet(broker)).aclose()
        nursery.cancel_scope.cancel(reason="the test is over")
    assert held() == before


async def test_only_so_many_are_waited_for_that_are_turned_away(broker: RelayBroker) -> None:
    broker.broker.registry._sources._limits = BrokerLimits(connections=1)
    kept = await greet(broker)
    others = [await broker.connect() for _ in range(2 * MAX_PARTINGS)]
    with trio.fail_after(PATIENCE):
        for other in others:
            assert (await other.wait_refused()).code is RefusalCode.BUSY
        # The first ones had time to be told, and the last ones were closed at once.
        assert broker.broker._room.descriptors.in_use <= 1 + MAX_PARTINGS
        for client in (kept, *others):
            await client.aclose()
        await until(lambda: broker.broker._room.descriptors.in_use == 0)
    assert broker.broker._turned_away._partings == 0


async def test_reserve_of_descriptors_is_kept_and_said_once(
    broker: RelayBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "trio_p2p.broker")
    broker.broker._room.descriptors.most = 4
    receiver = await broker.receiver()
    clients = [await greet(broker) for _ in range(3)]
    newcomer = await greet(broker)  # for which others give way
    with trio.fail_after(PATIENCE):
        for client in clients:
            await client.wait_closed()
    # Where nothing can give way, the new one has to.
    broker.broker._room.descriptors.most = -MAX_CUT
    other = await broker.connect()
    refused = await other.wait_refused()
    assert (refused.code, refused.retry_after) == (RefusalCode.BUSY, 5000)
    assert "as many clients as it can" in refused.reason
    assert broker.broker.registry.uids == {"alice"}
    assert [record.getMessage() for record in caplog.records] == [
        "the broker is full: 5 clients are connected. Allow this process more open files"
    ]
    for client in (receiver, newcomer, other, *clients):
        await client.aclose()
