"""Keeps hundreds of connections that a program opens at once from overrunning the broker.

A host takes in no more connections at a time than fit its backlog, and drops what exceeds it. So
in a crowd the next connection is opened when a former one was greeted on, which costs a round
trip. The first few need not wait for that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

MAX_AT_ONCE = 64  # connections that have yet to be greeted on
MAX_ALONE = 16  # so few do not overrun anything
WAITING_TIME = 10.0  # seconds: a broker that is slow with others may be so with us


class Crowd:
    """The connections to one broker that are being opened."""

    def __init__(self) -> None:
        self._opening = 0
        self._places = trio.Semaphore(MAX_AT_ONCE)

    @asynccontextmanager
    async def joined(self) -> AsyncGenerator[bool]:
        """Open one more connection in the block: whether to wait in it for the greeting, too.

        No place is waited for longer than :data:`WAITING_TIME`.
        """
        self._opening += 1
        has_place = False
        try:
            with trio.move_on_after(WAITING_TIME):
                await self._places.acquire()
                has_place = True
            yield self._opening > MAX_ALONE
        finally:
            self._opening -= 1
            if has_place:
                self._places.release()
