"""Clients that connect to a broker and say nothing: each source has so many, and others are served.

The broker is a process of its own.
"""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from trio_p2p._broker.arrivals import MAX_HEADLESS
from trio_p2p._broker.turning_away import MAX_PARTINGS
from trio_p2p._wire.messages import Hello, Message, RefusalCode, Refused

from ..kit.certificates import Authority
from ..kit.commands import BrokerTool, open_broker
from ..kit.raw_client import RawClient

pytestmark = pytest.mark.once

FEW = 5
HOST = "127.0.0.1"
SOURCES = ("127.0.0.2", "127.0.0.3")


class Network:
    """Clients of one broker that speaks TLS."""

    def __init__(
        self, broker: BrokerTool, context: ssl.SSLContext, exit_stack: AsyncExitStack
    ) -> None:
        self._port = int(broker.address.rpartition(":")[2])
        self._context = context
        self._exit_stack = exit_stack

    async def connect(self, source: str, said: bytes = b"") -> trio.SocketStream:
        """A connection on which nothing else is said."""
        stream = await trio.open_tcp_stream(HOST, self._port, local_address=source)
        self._exit_stack.callback(stream.socket.close)
        if said:
            await stream.send_all(said)
        return stream

    async def secured(self, source: str, said: bytes = b"") -> RawClient:
        stream = await self.connect(source, said)
        return RawClient(trio.SSLStream(stream, self._context, server_hostname=HOST))


@asynccontextmanager
async def network_of(tmp_path: Path, *options: str) -> AsyncIterator[Network]:
    authority = Authority(tmp_path)
    files = authority.issue(HOST)
    context = ssl.create_default_context(cafile=authority.file)
    limits = (f"--limit-connections={FEW}", f"--tls-cert={files.certificate}")
    with open_broker(*limits, f"--tls-key={files.key}", *options) as broker, trio.fail_after(60):
        async with AsyncExitStack() as exit_stack:
            yield Network(broker, context, exit_stack)


async def is_served(client: RawClient) -> bool:
    await client.send(Hello())
    await client.receive(Hello)
    return True


async def assert_refused(client: RawClient) -> None:
    await client.send(Hello())
    refused = await client.wait_refused()
    assert (refused.code, refused.retry_after) == (RefusalCode.BUSY, 30_000)
    assert f"serves {FEW} connections of one IP address" in refused.reason


async def test_a_source_that_never_speaks_tls_has_so_many_connections(tmp_path: Path) -> None:
    async with network_of(tmp_path) as network:
        silent = [await network.connect(SOURCES[0]) for _ in range(FEW)]
        await assert_refused(await network.secured(SOURCES[0]))
        assert await is_served(await network.secured(SOURCES[1]))
        # A place is free as soon as one of them is gone.
        await silent[0].aclose()
        answer: Message | None = None
        while not isinstance(answer, Hello):
            client = await network.secured(SOURCES[0])
            await client.send(Hello())
            answer = await client.channel.receive()
            assert isinstance(answer, Hello | Refused)


async def test_a_flood_that_is_turned_away_costs_no_handshakes(tmp_path: Path) -> None:
    async with network_of(tmp_path) as network:
        for _ in range(FEW):
            await network.connect(SOURCES[0])
        flood = [await network.connect(SOURCES[0]) for _ in range(MAX_PARTINGS + 10)]
        for stream in flood[MAX_PARTINGS:]:
            assert await stream.receive_some() == b""  # closed at once, without a word
        assert await is_served(await network.secured(SOURCES[1]))


def header(source: str) -> bytes:
    return f"PROXY TCP4 {source} 198.51.100.7 49152 4433\r\n".encode()


async def test_behind_a_proxy_each_source_has_so_many_connections(tmp_path: Path) -> None:
    async with network_of(tmp_path, f"--proxy-from={SOURCES[0]}") as network:
        proxy = SOURCES[0]
        for _ in range(FEW):
            await network.connect(proxy, header("203.0.113.5"))
        await assert_refused(await network.secured(proxy, header("203.0.113.5")))
        assert await is_served(await network.secured(proxy, header("203.0.113.6")))
        # And so have those that come around the proxy.
        for _ in range(FEW):
            await network.connect(SOURCES[1])
        await assert_refused(await network.secured(SOURCES[1]))


async def test_a_proxy_has_so_many_connections_of_which_no_header_has_come(tmp_path: Path) -> None:
    async with network_of(tmp_path, f"--proxy-from={SOURCES[0]}") as network:
        proxy = SOURCES[0]
        silent = [await network.connect(proxy) for _ in range(MAX_HEADLESS + 1)]
        # The oldest one gives way, and the newest stays.
        assert await silent[0].receive_some() == b""
        with pytest.raises(BlockingIOError):
            os.read(silent[-1].socket.fileno(), 1)
        assert await is_served(await network.secured(proxy, header("203.0.113.5")))
