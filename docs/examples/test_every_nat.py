"""338 connections, from behind every kind of NAT to behind every other one, twice."""

import pytest
import trio

from trio_p2p import P2PStream
from trio_p2p.testing import NATS, MemoryHost, MemoryNetwork


async def echo(stream: P2PStream) -> None:
    """The application: it says again what it hears."""
    async for piece in stream:
        await stream.send_all(piece)
    await stream.send_eof()


async def call_everyone(host: MemoryHost, broker: str, answered: list[str]) -> None:
    """Call the receiver behind each kind of NAT."""
    # To guess ports takes up to 1,024 attempts for a connection, and this test is not about that.
    async with host.open_peer(broker, port_guessing=False) as peer:
        for kind in NATS:
            async with await peer.open_stream(kind) as stream:
                await stream.send_all(b"hello")
                await stream.send_eof()
                assert b"".join([bytes(piece) async for piece in stream]) == b"hello"
                answered.append(kind)


@pytest.mark.trio
async def test_every_nat(
    memory_network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    answered: list[str] = []
    broker = (await memory_network.start_broker()).address
    async with trio.open_nursery() as receivers:

        async def receive(kind: str, *, task_status: trio.TaskStatus[object]) -> None:
            host = memory_network.add_host(kind)
            async with host.open_peer(broker, port_guessing=False) as peer:
                await peer.serve(kind, echo, task_status=task_status)

        for kind in NATS:
            await receivers.start(receive, kind)
        async with trio.open_nursery() as senders:
            for kind in [*NATS, *NATS]:
                host = memory_network.add_host(kind)
                senders.start_soon(call_everyone, host, broker, answered)
        receivers.cancel_scope.cancel()
    assert len(answered) == 2 * len(NATS) ** 2
