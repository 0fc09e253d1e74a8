"""A broker in memory speaks TLS, and relays through it."""

from __future__ import annotations

from pathlib import Path

import trio
from trio.testing import MockClock

from trio_p2p import PathKind
from trio_p2p.testing import MemoryNetwork

from ..kit.certificates import Authority
from .test_network import ask, echo


async def test_streams_are_relayed_through_tls(
    memory_network: MemoryNetwork, tmp_path: Path, autojump_clock: MockClock
) -> None:
    files = Authority(tmp_path).issue("broker")
    broker = await memory_network.start_broker(tls=files)
    pin = files.pin()
    assert pin is not None
    address = f"tls://{broker.address}#sha256={pin.hex()}"
    receiving, sending = memory_network.add_host("random"), memory_network.add_host("random-rst")
    async with (
        receiving.open_peer(address) as receiver,
        sending.open_peer(address) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(receiver.serve, "echo", echo)
        async with await sender.open_stream("echo") as stream:
            assert stream.path is not None
            assert stream.path.kind is PathKind.RELAY
            assert await ask(stream, bytes(100_000)) == bytes(100_000)
        nursery.cancel_scope.cancel(reason="all is asked")
