"""The two programs of each way to make requests: a server, and a client that is told how many.

A server prints its address and serves. A client is given that, and for each line that it reads it
makes requests, and prints a line when all are answered.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import attrs
import trio

from .roles import Serve, serve_until_end_of_input

REQUEST, ANSWER = b"?" * 100, b"!" * 100
STREAMS = 1_000
"""How many streams a server allows at the same time, wherever it has to be told: enough."""

Ask: TypeAlias = Callable[[], Awaitable[None]]
"""Makes a request, and returns when it is answered."""


@attrs.frozen
class Order:
    """What a client is told to do.

    Attributes:
        requests: how many requests to make.
        at_once: how many of them at the same time; the next so many when all are answered.
    """

    requests: int
    at_once: int = 1

    @classmethod
    def parse(cls, line: str) -> "Order":
        return cls(*map(int, line.split()))

    def __str__(self) -> str:
        return f"{self.requests} {self.at_once}"


@attrs.frozen
class RequestWay:
    """A way to make requests.

    Attributes:
        serve: takes a host, and starts with the server's address.
        open_client: connects to an address, and gives what asks.
    """

    serve: Serve
    open_client: Callable[[str], AbstractAsyncContextManager[Ask]]


def play_requests(way: RequestWay, arguments: Sequence[str]) -> None:
    """Play the part that the command line names."""
    match arguments:
        case ["server", host]:
            trio.run(serve_until_end_of_input, way.serve, host)
        case ["client", address]:
            trio.run(_ask_as_told, way, address)


async def _ask_as_told(way: RequestWay, address: str) -> None:
    async with way.open_client(address) as ask:
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            await _follow(Order.parse(line), ask)
            print(flush=True)


async def _follow(order: Order, ask: Ask) -> None:
    if order.at_once == 1:
        for _ in range(order.requests):
            await ask()
        return
    for _ in range(order.requests // order.at_once):
        async with trio.open_nursery() as nursery:
            for _ in range(order.at_once):
                nursery.start_soon(ask)


def check_answer(size: int) -> None:
    """Stop the benchmark if an answer has another size than it should have."""
    if size != len(ANSWER):
        raise RuntimeError(f"an answer of {size} bytes instead of {len(ANSWER)}")


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    return host, int(port)
