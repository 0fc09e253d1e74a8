"""The first test of an application: two peers behind bad NATs."""

import pytest
import trio

import trio_p2p
from trio_p2p.testing import MemoryNetwork


async def greet(stream: trio_p2p.P2PStream) -> None:
    """What the application does with each stream."""
    name = await stream.receive_some()
    await stream.send_all(b"hello, " + name)


@pytest.mark.trio
async def test_greeting(
    memory_network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    broker = await memory_network.start_broker()
    home = memory_network.add_host("eim-apdf")
    office = memory_network.add_host("random", "masquerade")  # two NATs, the inner one first
    async with (
        home.open_peer(broker.address) as bob,
        office.open_peer(broker.address) as alice,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(bob.serve, "bob", greet)
        async with await alice.open_stream("bob") as stream:
            await stream.send_all(b"alice")
            assert await stream.receive_some() == b"hello, alice"
        nursery.cancel_scope.cancel()
