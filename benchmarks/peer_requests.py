"""Requests between two peers of this library, each on a stream of its own.

Over one connection that carries all streams; and as it was in 0.1, where each stream had a
connection, and so an introduction, of its own.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from trio_p2p import P2PConnection, P2PStream, Peer, open_peer

from .request_programs import ANSWER, REQUEST, Ask, RequestWay, check_answer, play_requests
from .stream_ways import DIRECT, open_receiving_peer

_UID = "requests"


async def _serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with open_receiving_peer(host) as (peer, port), trio.open_nursery() as nursery:
        await nursery.start(peer.serve, _UID, _answer)
        task_status.started(f"{host}:{port}")


async def _answer(stream: P2PStream) -> None:
    async for _ in stream:
        pass
    await stream.send_all(ANSWER)


@asynccontextmanager
async def _open_connected_client(address: str) -> AsyncGenerator[Ask]:
    async with (
        open_peer(address, techniques=DIRECT) as peer,
        await peer.connect(_UID) as connection,
    ):
        yield partial(_ask, connection)


@asynccontextmanager
async def _open_introduced_client(address: str) -> AsyncGenerator[Ask]:
    async with open_peer(address, techniques=DIRECT) as peer:
        yield partial(_ask_anew, peer)


async def _ask_anew(peer: Peer) -> None:
    async with await peer.connect(_UID) as connection:
        await _ask(connection)


async def _ask(connection: P2PConnection) -> None:
    async with await connection.open_stream() as stream:
        await stream.send_all(REQUEST)
        await stream.send_eof()
        size = 0
        async for data in stream:
            size += len(data)
    check_answer(size)


WAYS = {
    "one connection": RequestWay(_serve, _open_connected_client),
    "a connection each": RequestWay(_serve, _open_introduced_client),
}

if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    play_requests(WAYS[name], rest)
