"""The two programs of each way to have requests beside a transfer: a server, and a client.

A server prints its address and serves. A client is given that, and for each line that it reads it
makes requests one after another, first alone and then beside a transfer, and prints how long all
that took, as JSON.
"""

import json
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import attrs
import trio

from .request_programs import Ask
from .roles import Serve, serve_until_end_of_input

TRANSFER_BYTES = 2**24
PIECE_BYTES = 2**18
"""How much of a transfer is sent at once."""
DONE = b"!"
"""What answers a transfer."""
ALONE = 100  # requests
LONGEST_PAUSE = 0.02  # seconds between two requests, so that they keep no step with the transfer

Transfer: TypeAlias = Callable[[], Awaitable[None]]
"""Sends all bytes of a transfer, and returns when the other side has them."""


@attrs.frozen
class Client:
    """What a client does over its connection, or its connections.

    Attributes:
        ask: makes a request.
        transfer: makes a transfer.
    """

    ask: Ask
    transfer: Transfer


@attrs.frozen
class Way:
    """A way to do both.

    Attributes:
        serve: takes a host, and starts with the server's address.
        open_client: connects to an address.
    """

    serve: Serve
    open_client: Callable[[str], AbstractAsyncContextManager[Client]]


@attrs.frozen
class Seconds:
    """How long it took in one round.

    Attributes:
        alone: each request before the transfer.
        beside: each one beside it.
        transfer: the transfer.
    """

    alone: Sequence[float]
    beside: Sequence[float]
    transfer: float


def play(way: Way, arguments: Sequence[str]) -> None:
    """Play the part that the command line names."""
    match arguments:
        case ["server", host]:
            trio.run(serve_until_end_of_input, way.serve, host)
        case ["client", address]:
            trio.run(_measure_as_told, way, address)


async def _measure_as_told(way: Way, address: str) -> None:
    async with way.open_client(address) as client:
        while await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(attrs.asdict(await _measure(client))), flush=True)


async def _measure(client: Client) -> Seconds:
    alone = [await _time(client.ask) for _ in range(ALONE)]
    beside: list[float] = []
    seconds = 0.0

    async def transfer() -> None:
        nonlocal seconds
        seconds = await _time(client.transfer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(transfer)
        while not seconds:
            beside.append(await _time(client.ask))
            await trio.sleep(random.uniform(0, LONGEST_PAUSE))
    return Seconds(alone, beside, seconds)


async def _time(do: Callable[[], Awaitable[None]]) -> float:
    started_at = trio.current_time()
    await do()
    return trio.current_time() - started_at
