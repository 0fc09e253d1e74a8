"""A program that listens under two names and has direct streams to many peers, then waits.

Started as a process of its own, so that what it holds can be counted: ``python -m
tests.kit.busy_program PORT PEERS``. The broker, at PORT, is found by IPv4 and by IPv6.
"""

import socket
import sys
from typing import Any

import trio

from trio_p2p import P2PStream, open_peer
from trio_p2p._net.system import System, system_in_use

NAMES = ("first", "second")
DIRECT = ("fast", "classic")
AT_ONCE = 10


class BothLoopbacks(System):
    """A host whose broker has two addresses."""

    async def resolve(self, host: str | bytes, port: int, family: int) -> list[Any]:
        if host != "broker.test":
            return await super().resolve(host, port, family)
        versions = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
        return [(address, port) for each, address in versions.items() if family in (0, each)]


async def echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def main(port: int, peers: int) -> None:
    streams: list[P2PStream] = []
    turns = trio.Semaphore(AT_ONCE)

    async def open_stream(number: int) -> None:
        async with turns:
            stream = await peer.open_stream(f"peer {number}")
            await stream.send_all(b"?")
            assert await stream.receive_some() == b"?"
            streams.append(stream)

    async with (
        open_peer(("broker.test", port), techniques=DIRECT) as peer,
        trio.open_nursery() as nursery,
    ):
        for name in NAMES:
            await nursery.start(peer.serve, name, echo)
        async with trio.open_nursery() as opening:
            for number in range(peers):
                opening.start_soon(open_stream, number)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel(reason="the test has counted")


if __name__ == "__main__":
    with system_in_use(BothLoopbacks()):
        trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
