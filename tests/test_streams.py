"""Streams as applications use them, over real sockets on the loopback interface."""

import random
from functools import partial

import pytest
import trio
from trio.testing import check_half_closeable_stream

from trio_p2p import (
    NotAdmittedError,
    P2PStream,
    PathKind,
    PathLostError,
    StreamAbortedError,
    open_p2p_stream,
)


from .streams import Content, Peers, exchange_content, open_peers, reset

CLOGGED_AFTER = 0.05  # seconds without room
PATHS = ["direct", "relay"]


async def clog(stream: trio.abc.SendStream) -> None:
    """Send until there is no room any more."""
    is_clogged = False
    while not is_clogged:
        with trio.move_on_after(CLOGGED_AFTER) as scope:
            await stream.send_all(bytes(65536))
        is_clogged = scope.cancelled_caught


@pytest.mark.parametrize("path", PATHS)
async def test_is_a_good_trio_stream(path: str) -> None:
    async with open_peers() as peers:

        async def make() -> tuple[P2PStream, P2PStream]:
            return await peers.open_pair(path)

        async def make_clogged() -> tuple[P2PStream, P2PStream]:
            pair = await make()
            for stream in pair:
                await clog(stream)
            return pair

        await check_half_closeable_stream(make, make_clogged)


RUNS, KILLS, BYTES = 100, 5, 4 * 1024 * 1024
AT_ONCE = 10


async def kill_now_and_then(stream: P2PStream, source: random.Random) -> None:
    for _ in range(KILLS):
        await trio.sleep(source.uniform(0.0, 0.1))
        if stream.path is not None:
            reset(stream.path)


async def test_every_run_is_byte_exact_although_its_path_is_killed_again_and_again() -> None:
    limiter, opening = trio.CapacityLimiter(AT_ONCE), trio.Lock()

    async def run(peers: Peers, number: int) -> None:
        source = random.Random(number)
        own, other = Content(2 * number, BYTES), Content(2 * number + 1, BYTES)
        async with limiter:
            async with opening:
                opened, accepted = await peers.open_pair(source.choice(["any", *PATHS]))
            async with opened, accepted, trio.open_nursery() as nursery:
                nursery.start_soon(kill_now_and_then, opened, source)
                nursery.start_soon(kill_now_and_then, accepted, source)
                nursery.start_soon(exchange_content, opened, own, other)
                nursery.start_soon(exchange_content, accepted, other, own)

    async with open_peers() as peers, trio.open_nursery() as nursery:
        for number in range(RUNS):
            nursery.start_soon(run, peers, number)
