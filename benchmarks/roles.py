"""The parts of programs that are timed: a broker, a receiver and a sender.

Each is a process of its own on a host of the lab. A broker prints its address. A receiver is given
that, prints its own name, and serves. A sender is given the address, too. For each name that it
reads, it calls that receiver, and prints what it has measured.
"""

import json
import sys
from collections.abc import Awaitable, Callable

import trio

# Of those that are timed until they have an echo.
MESSAGE = b"Is anybody there?"
PATIENCE = 20.0  # seconds

Serve = Callable[..., Awaitable[object]]
"""Takes a host, and what it is given, and starts with what to print."""
Call = Callable[[str, str, str], Awaitable[object]]
"""Takes the host, the broker's address and the receiver's name. What it gives can be JSON."""


def play(broker: Serve, receiver: Serve, sender: Call) -> None:
    """Play the part that the command line names."""
    match sys.argv[1:]:
        case ["broker", *arguments]:
            trio.run(serve_until_end_of_input, broker, *arguments)
        case ["receiver", *arguments]:
            trio.run(serve_until_end_of_input, receiver, *arguments)
        case ["sender", host, address]:
            for line in sys.stdin:
                print(json.dumps(trio.run(sender, host, address, line.strip())), flush=True)


async def serve_until_end_of_input(serve: Serve, *arguments: str) -> None:
    """Print what it starts with, and serve for as long as there is an input."""
    async with trio.open_nursery() as nursery:
        print(await nursery.start(serve, *arguments), flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            pass
        nursery.cancel_scope.cancel(reason="the benchmark is done with this process")
