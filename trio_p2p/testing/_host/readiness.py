"""How tasks wait until a simulated socket is readable or writable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio


class Watched(Protocol):
    """A socket that tasks wait for."""

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        ...

    @property
    def is_readable(self) -> bool:
        """Whether to read or accept would not wait."""
        ...

    @property
    def is_writable(self) -> bool:
        """Whether to write would not wait."""
        ...


class Readiness:
    """Wakes the tasks that wait for a socket.

    Args:
        watched: the socket.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._waiting = trio.lowlevel.ParkingLot()
        self._interruptions = 0
        self._reading, self._writing = _OneAtATime(), _OneAtATime()

    def changed(self) -> None:
        """Let the tasks look again."""
        self._waiting.unpark_all()

    def interrupt(self) -> None:
        """Give each task that waits a ClosedResourceError."""
        self._interruptions += 1
        self._waiting.unpark_all()

    async def wait_readable(self) -> None:
        """Wait until the socket is readable; a checkpoint in any case.

        Raises:
            trio.BusyResourceError: another task waits for that.
            trio.ClosedResourceError: the socket is closed, perhaps while this waited.
        """
        with self._reading:
            await self._wait(lambda: self._watched.is_readable)

    async def wait_writable(self) -> None:
        """Wait until the socket is writable; like :meth:`wait_readable`."""
        with self._writing:
            await self._wait(lambda: self._watched.is_writable)

    async def _wait(self, is_ready: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        before = self._interruptions
        while True:
            if self._watched.is_closed or before != self._interruptions:
                raise trio.ClosedResourceError("the socket is closed")
            if is_ready():
                return
            await self._waiting.park()


class _OneAtATime:
    """What only one task may do at a time, as Trio has it for descriptors."""

    def __init__(self) -> None:
        self._is_taken = False

    def __enter__(self) -> None:
        if self._is_taken:
            raise trio.BusyResourceError("another task waits for the socket")
        self._is_taken = True

    def __exit__(self, *_exception: object) -> None:
        self._is_taken = False
