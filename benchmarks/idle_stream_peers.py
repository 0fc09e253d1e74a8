"""The programs that hold idle streams, or as many idle tasks, and tell what memory is for them.

Each prints a line when it is ready. For each line that it reads it holds so many more, and prints
how many bytes tracemalloc traces, which is nothing unless ``PYTHONTRACEMALLOC`` is set.

One byte goes through each stream in each direction before it falls silent.
"""

import gc
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeAlias

import trio
import trio.testing

from trio_p2p import P2PConnection, P2PStream, open_peer

from .request_programs import split_address
from .stream_ways import DIRECT, open_broker

MAX_STREAMS = 10_000
_UID = "idle"

Hold: TypeAlias = Callable[[int], Awaitable[None]]
"""Holds so many more."""


@asynccontextmanager
async def _open_server(host: str) -> AsyncGenerator[Hold]:
    """Run a broker, and serve; the streams that the client opens are held by their handlers."""
    async with (
        open_broker(host) as port,
        open_peer((host, port), techniques=DIRECT, max_streams=MAX_STREAMS) as peer,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(peer.serve, _UID, _answer_once)
        print(f"{host}:{port}", flush=True)
        yield _hold_nothing
        nursery.cancel_scope.cancel(reason="the client has ended")


async def _answer_once(stream: P2PStream) -> None:
    """Answer one byte, and wait for more, with no other objects than that takes."""
    await stream.receive_some()
    await stream.send_all(b"!")
    await stream.receive_some()


async def _hold_nothing(_count: int) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def _open_client(address: str) -> AsyncGenerator[Hold]:
    streams: list[P2PStream] = []
    async with (
        open_peer(split_address(address), techniques=DIRECT) as peer,
        await peer.connect(_UID) as connection,
    ):
        print(flush=True)
        yield partial(_open_streams, connection, streams)


async def _open_streams(connection: P2PConnection, streams: list[P2PStream], count: int) -> None:
    for _ in range(count):
        stream = await connection.open_stream()
        streams.append(stream)
        await stream.send_all(b"!")
        await stream.receive_some()


@asynccontextmanager
async def _open_tasks() -> AsyncGenerator[Hold]:
    """Hold tasks that sleep: what a handler costs the application for being a task."""
    async with trio.open_nursery() as nursery:
        print(flush=True)
        yield partial(_start_tasks, nursery)
        nursery.cancel_scope.cancel(reason="all is measured")


async def _start_tasks(nursery: trio.Nursery, count: int) -> None:
    for _ in range(count):
        nursery.start_soon(_sleep, None)
    await trio.testing.wait_all_tasks_blocked()


async def _sleep(_stream: None) -> None:
    await trio.sleep_forever()


ROLES: dict[str, Callable[..., AbstractAsyncContextManager[Hold]]] = {
    "server": _open_server,
    "client": _open_client,
    "tasks": _open_tasks,
}


async def _hold_as_told(*arguments: str) -> None:
    role, *others = arguments
    async with ROLES[role](*others) as hold:
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            await hold(int(line))
            gc.collect()
            print(tracemalloc.get_traced_memory()[0], flush=True)


if __name__ == "__main__":
    trio.run(_hold_as_told, *sys.argv[1:])
