"""Attempts at several places, one after the other: the first one that answers counts (RFC 8305)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import trio

from .._errors import P2PError
from .._net.winner import Winner
from .connection import BrokerConnection

Attempt: TypeAlias = Callable[[], Awaitable[BrokerConnection]]


async def first_connection(
    attempts: Sequence[Attempt], stagger: float
) -> tuple[BrokerConnection | None, list[OSError | P2PError]]:
    """Make attempts until one gives a connection.

    Args:
        attempts: the best first.
        stagger: for how many seconds each is alone, unless it fails before.

    Returns:
        The connection, and if there is none, the error of each attempt.

    If cancelled, everything that was under way is closed.
    """
    errors: dict[int, OSError | P2PError] = {}
    winner = Winner(BrokerConnection.close)

    async def make(number: int, failed: trio.Event) -> None:
        try:
            connection = await attempts[number]()
        except (OSError, P2PError) as error:
            errors[number] = error
            failed.set()
            return
        winner.offer(connection)
        nursery.cancel_scope.cancel(reason="another place answered")

    with winner:
        async with trio.open_nursery() as nursery:
            for number in range(len(attempts)):
                failed = trio.Event()
                nursery.start_soon(make, number, failed)
                with trio.move_on_after(stagger):
                    await failed.wait()
    return winner.found, [errors[number] for number in sorted(errors)]
