"""Requests to a TCP service: directly, through ``forward``, and with an introduction for each.

The server is what ``expose`` leads to. Each request has a connection of its own, which both sides
end: 100 bytes there, and 100 bytes back.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from trio_p2p import Peer, open_peer

from .request_programs import (
    ANSWER,
    REQUEST,
    Ask,
    RequestWay,
    check_answer,
    play_requests,
    split_address,
)
from .stream_ways import DIRECT

UID = "service"


async def _serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, _answer, 0, host=host))
        task_status.started(f"{host}:{listener.socket.getsockname()[1]}")


async def _answer(stream: trio.SocketStream) -> None:
    async for _ in stream:
        pass
    await stream.send_all(ANSWER)


@asynccontextmanager
async def _open_dialling_client(address: str) -> AsyncGenerator[Ask]:
    host, port = split_address(address)

    async def ask() -> None:
        await _ask(await trio.open_tcp_stream(host, port))

    yield ask


@asynccontextmanager
async def _open_introduced_client(address: str) -> AsyncGenerator[Ask]:
    async with open_peer(address, techniques=DIRECT) as peer:
        yield partial(_ask_anew, peer)


async def _ask_anew(peer: Peer) -> None:
    async with await peer.connect(UID) as connection:
        await _ask(await connection.open_stream())


async def _ask(stream: trio.abc.HalfCloseableStream) -> None:
    async with stream:
        await stream.send_all(REQUEST)
        await stream.send_eof()
        size = 0
        while data := await stream.receive_some():
            size += len(data)
    check_answer(size)


WAYS = {
    "dialled": RequestWay(_serve, _open_dialling_client),
    "introduced": RequestWay(_serve, _open_introduced_client),
}

if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    play_requests(WAYS[name], rest)
