"""Many clients that misbehave in every way beside honest ones, and what is left of them."""

from collections import Counter
from ipaddress import IPv4Address

import pytest
import trio

from trio_p2p import RelayLimits, Technique, open_p2p_listener
from trio_p2p._addresses import Endpoint
from trio_p2p._broker.connection import Probes
from trio_p2p._broker.server import Broker
from trio_p2p._net.sockets import LISTEN_BACKLOG

from ..kit.loopback import HOST, PATIENCE, echo, held, open_stream, until
from ..kit.monkeys import Monkey
from ..kit.soak import LITTLE_OR_MUCH

pytestmark = [pytest.mark.once, pytest.mark.slow]

SEED = 20240501
MONKEYS = 20
SECONDS, SOAK_SECONDS = 30, 600
LIMITS = RelayLimits(bytes_per_second=1_000_000, max_bytes=100_000, idle_time=10)
EXTERNAL = Endpoint(IPv4Address("192.0.2.1"), 4433)


def make_broker(probe_port: int) -> Broker:
    """A broker with every option."""
    probes = Probes({4: probe_port}, (Endpoint(IPv4Address("127.0.0.100"), probe_port),))
    return Broker(LIMITS, probes, external=[EXTERNAL])


async def open_again_and_again(
    address: tuple[str, int], technique: Technique, opened: Counter[Technique]
) -> None:
    """Open streams to the honest receiver, one after the other."""
    while True:
        with trio.fail_after(PATIENCE):
            async with open_stream("honest", address, techniques=[technique]) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
        opened[technique] += 1
        await trio.sleep(0.1)


async def play(broker: Broker, address: tuple[str, int], seconds: float) -> Counter[Technique]:
    """Let honest peers and monkeys loose on a broker; how many streams were opened by each way."""
    opened: Counter[Technique] = Counter()
    uids = [f"monkey {number}" for number in range(10)]
    # What honest receivers do about floods of introductions is not for a test of the broker.
    monkeys = [Monkey(number, address, uids, SEED) for number in range(MONKEYS)]
    async with (
        open_p2p_listener("honest", address) as listener,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        for technique in Technique:
            nursery.start_soon(open_again_and_again, address, technique, opened)
        for monkey in monkeys:
            nursery.start_soon(monkey.play)
        await trio.sleep(seconds)
        assert "honest" in broker.registry.uids
        assert listener.statistics().registrations == 1
        nursery.cancel_scope.cancel(reason="enough")
    assert all(monkey.acts > seconds for monkey in monkeys)
    return opened


@LITTLE_OR_MUCH
async def test_broker_outlives_monkeys_and_holds_nothing_of_them(
    is_soak: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = SOAK_SECONDS if is_soak else SECONDS
    before = held()
    async with trio.open_nursery() as nursery:
        listeners = [
            listener
            for _ in range(2)
            for listener in await trio.open_tcp_listeners(0, host=HOST, backlog=LISTEN_BACKLOG)
        ]
        ports = [listener.socket.getsockname()[1] for listener in listeners]
        broker = make_broker(ports[1])
        nursery.start_soon(broker.serve_listeners, listeners)
        idle = held()
        opened = await play(broker, (HOST, ports[0]), seconds)
        assert all(opened[technique] > seconds / 5 for technique in Technique), opened
        await until(lambda: not broker._links)
        registry = broker.registry
        assert registry.uids == frozenset()
        await until(lambda: registry.circuits == 0)
        assert (registry.pending_introductions, registry.calls, registry.watches) == (0, 0, 0)
        assert not registry._introductions._told._of_receiver
        await until(lambda: held().descriptors == idle.descriptors)
        nursery.cancel_scope.cancel(reason="the test is over")
    assert held() == before
    assert not [record for record in caplog.records if record.exc_info]
