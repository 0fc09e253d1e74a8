"""Finds one of the ports that a NAT gives at random: by many holes, and many guesses.

If one side opens 256 holes, and the other one makes 1,024 guesses among the 64,512 ports above
1023, one of them is right with a probability of 98 %: the birthday paradox.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import trio

from .._addresses import MIN_PORT, Endpoint, IPAddress
from .._net.of_system import OfSystem
from .._net.sockets import adopt, start_connecting
from .._net.system import current_system
from .punch import Take, connects_within

HOLES = 256
GUESSES = 1024
# Seconds. A guess is held for long enough to be answered over a long way, and so many at a time
# that all of them take about two seconds. A hole is replaced before the kernel sends its SYN again,
# after one second: that one goes all the way, and if a reset comes back, it closes the hole.
HOLE_TIME = 0.9
HOLE_TIMES = 5
GUESS_TIME = 0.7
PACE = 0.0015
DESCRIPTORS_SHARE = 1 / 2  # of those that are free, for this

# One at a time: for a while it takes half of the descriptors that are free.
_turn: Final = OfSystem("whose turn it is to guess", lambda: trio.Semaphore(1))


async def hold(remote: Endpoint, hops: int, *, take: Take) -> None:
    """Keep many holes open towards an endpoint, each from a port of its own.

    Args:
        remote: where the peer guesses from.
        hops: how many hops lead beyond our own NATs.
        take: takes a connection over if it leads to the right peer, and says whether it did.

    Takes some seconds if none does.
    """

    async def hold_one() -> bool:
        for _ in range(HOLE_TIMES):
            if await _connect(remote, 0, hops, HOLE_TIME, take):
                return True
        return False

    await _until_taken((hold_one for _ in range(HOLES)), HOLES, pace=0.0)


async def guess(address: IPAddress, port: int, *, take: Take) -> None:
    """Dial many ports of an address.

    Args:
        address: the peer's.
        port: our local port, which the peer's holes lead to.
        take: as for :func:`hold`.
    """
    ports = current_system().dice.sample(range(MIN_PORT, 65536), GUESSES)

    def guess_one(remote_port: int) -> Callable[[], Awaitable[bool]]:
        remote = Endpoint(address, remote_port)
        return lambda: _connect(remote, port, None, GUESS_TIME, take)

    await _until_taken(map(guess_one, ports), GUESSES, pace=PACE)


async def _until_taken(
    tries: Iterator[Callable[[], Awaitable[bool]]], count: int, *, pace: float
) -> None:
    """Try all until one is taken, as many at a time as there are descriptors for."""
    async with _turn.get():
        at_a_time = max(1, min(count, int(current_system().free_descriptors() * DESCRIPTORS_SHARE)))
        places = trio.Semaphore(at_a_time)

        async def run(try_one: Callable[[], Awaitable[bool]]) -> None:
            try:
                if await try_one():
                    nursery.cancel_scope.cancel(reason="one was right")
            finally:
                places.release()

        async with trio.open_nursery() as nursery:
            for try_one in tries:
                await places.acquire()
                nursery.start_soon(run, try_one)
                await trio.sleep(pace)


async def _connect(
    remote: Endpoint, port: int, hops: int | None, seconds: float, take: Take
) -> bool:
    sock: socket.socket | None = None
    is_taken = False
    try:
        sock = start_connecting(remote, port, hops=hops)
        if await connects_within(seconds, sock):
            is_taken = await take(adopt(sock))
    except OSError:
        pass  # as almost everywhere
    finally:
        if sock is not None and not is_taken:
            sock.close()
    return is_taken
