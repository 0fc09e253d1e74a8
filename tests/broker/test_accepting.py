"""Clients of a broker that has no descriptors left: they wait, or give way to others."""

import errno
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from trio_p2p import serve_broker
from trio_p2p._addresses import Endpoint
from trio_p2p._broker.room import MAX_CUT
from trio_p2p._net.system import System, system_in_use
from trio_p2p._wire.messages import Hello, KeepAlive

from ..kit.faulty_system import Fault, FaultySystem
from ..kit.loopback import HOST, PATIENCE
from ..kit.raw_client import BROKER, RawClient, open_memory_broker

EMFILE_FIRST = [Fault("accept", nth, errno.EMFILE) for nth in range(5)]


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._broker.accepting.PAUSE", 0.001)


@asynccontextmanager
async def open_broker_on(system: System) -> AsyncGenerator[tuple[str, int]]:
    with trio.fail_after(PATIENCE), system_in_use(system):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(serve_broker, 0, host=HOST))
            yield listener.socket.getsockname()
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_broker_without_descriptors_says_so_once_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_broker_on(FaultySystem(*EMFILE_FIRST)) as address:
        for _ in range(2):
            async with RawClient(await trio.open_tcp_stream(*address)) as client:
                await client.greet()
    [record] = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert record.getMessage() == (
        "new clients have to wait: Too many open files. Allow this process more open files"
    )


async def test_broker_that_cannot_accept_at_all_ends() -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(OSError, match="Invalid argument"), flatten_subgroups=True
    ):
        async with open_broker_on(FaultySystem(Fault("accept", 0, errno.EINVAL))):
            await trio.sleep_forever()


async def test_source_with_most_clients_gives_way(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_p2p.broker")
    async with open_memory_broker() as broker, trio.open_nursery() as nursery:
        clients: dict[str, list[RawClient]] = {"192.0.2.1": [], "192.0.2.2": []}
        for host, count in (("192.0.2.1", 3), ("192.0.2.2", 20)):
            for number in range(count):
                ours, theirs = trio.testing.memory_stream_pair()
                endpoint = Endpoint(ip_address(host), 40000 + number)
                now = trio.current_time()
                connection = broker.broker.registry.connected(endpoint, BROKER, now)
                nursery.start_soon(broker.broker.serve, theirs, connection)
                clients[host].append(RawClient(ours))
        few, many = clients.values()
        registered = many[0]
        await registered.register("alice")
        for client in many[1:] + few:
            await client.send(Hello(), KeepAlive())
            await client.receive(Hello)
        broker.broker._room.make()
        await trio.testing.wait_all_tasks_blocked()
        assert broker.uids == {"alice"}
        left = Counter(str(each.endpoint.address) for each in broker.broker._links)
        assert left == {"192.0.2.1": 3, "192.0.2.2": 20 - MAX_CUT}
        nursery.cancel_scope.cancel(reason="the test is over")
    [line] = [line for line in caplog.messages if not line.startswith("receiver ")]
    assert line.startswith("client 192.0.2.2:")
    assert "gives way to others, as there are no descriptors left" in line


async def test_nothing_gives_way_where_all_are_registered() -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        await receiver.register("alice")
        broker.broker._room.make()
        await trio.testing.wait_all_tasks_blocked()
        assert broker.uids == {"alice"}
