"""HTTP over streams, by httpcore: http://UID/ is the web server that is registered as UID.

python http_client.py BROKER URL...
"""

import sys
from collections.abc import Iterable
from typing import Any

import httpcore
import trio

import trio_p2p


class StreamToPeer(httpcore.AsyncNetworkStream):
    """What httpcore reads from and writes to. Time limits are the caller's cancel scopes."""

    def __init__(self, stream: trio_p2p.P2PStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return bytes(await self._stream.receive_some(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()


class Network(httpcore.AsyncNetworkBackend):
    """Where hosts are peers."""

    def __init__(self, peer: trio_p2p.Peer) -> None:
        self._peer = peer

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> StreamToPeer:
        return StreamToPeer(await self._peer.open_stream(host))


async def main(broker: str, urls: list[str]) -> None:
    async with (
        trio_p2p.open_peer(broker) as peer,
        httpcore.AsyncConnectionPool(network_backend=Network(peer)) as pool,
    ):
        for url in urls:
            response = await pool.request("GET", url)
            print(response.status, response.content.decode(), end="")


broker, *urls = sys.argv[1:]
trio.run(main, broker, urls)
