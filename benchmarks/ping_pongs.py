"""Requests on one stream that stays open, each when the one before is answered.

As cheap as requests can be on such a stream: nothing is opened or closed, and nothing has to say
which answer is for which request.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from trio_p2p import open_peer

from .request_programs import ANSWER, REQUEST, Ask, RequestWay, play_requests, split_address
from .ssl_identities import open_ssl_stream, serve_ssl
from .stream_ways import DIRECT, open_receiving_peer

_UID = "ping-pong"


async def _serve_ssl(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_ssl, pong, host)
        task_status.started(f"{host}:{port}")


@asynccontextmanager
async def _open_ssl_client(address: str) -> AsyncGenerator[Ask]:
    async with await open_ssl_stream(split_address(address)) as stream:
        yield partial(ping, stream)


async def _serve_p2p(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with open_receiving_peer(host) as (peer, port), trio.open_nursery() as nursery:
        await nursery.start(peer.serve, _UID, pong)
        task_status.started(f"{host}:{port}")


@asynccontextmanager
async def _open_p2p_client(address: str) -> AsyncGenerator[Ask]:
    async with (
        open_peer(address, techniques=DIRECT) as peer,
        await peer.open_stream(_UID) as stream,
    ):
        yield partial(ping, stream)


async def ping(stream: trio.abc.Stream) -> None:
    """Make a request."""
    await stream.send_all(REQUEST)
    if not await _receive(stream, len(ANSWER)):
        raise RuntimeError("the server has ended the stream instead of answering")


async def pong(stream: trio.abc.Stream) -> None:
    """Answer requests until there are no more."""
    while await _receive(stream, len(REQUEST)):
        await stream.send_all(ANSWER)


async def _receive(stream: trio.abc.Stream, size: int) -> bool:
    """Receive so many bytes; return False if the stream ends instead."""
    while size:
        data = await stream.receive_some()
        if not data:
            return False
        size -= len(data)
    return True


WAYS = {
    "SSLStream": RequestWay(_serve_ssl, _open_ssl_client),
    "P2PStream": RequestWay(_serve_p2p, _open_p2p_client),
}

if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    play_requests(WAYS[name], rest)
