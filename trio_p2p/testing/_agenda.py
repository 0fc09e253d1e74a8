"""What is to happen at which time of Trio's clock, in a task that sleeps in between."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

import trio

from ._internet.ways import UnderWay


class Agenda:
    """Calls functions at their time; those for the same time in the order in which they came."""

    def __init__(self) -> None:
        self._calls = UnderWay[Callable[[], object]]()
        self._wakes_at = math.inf
        self._is_earlier = trio.Event()

    def call_at(self, time: float, function: Callable[[], object]) -> None:
        """Have a function called at a time, or as soon as possible if that has passed."""
        self._calls.add(time, function)
        if time < self._wakes_at:
            self._is_earlier.set()

    async def run(self) -> NoReturn:
        """Call what is due, until cancelled."""
        while True:
            self._is_earlier = trio.Event()
            self._wakes_at = -math.inf  # nothing is earlier than what is called now
            now = trio.current_time()
            while self._calls.next_due <= now:
                self._calls.take()()
            self._wakes_at = self._calls.next_due
            with trio.move_on_at(self._wakes_at):
                await self._is_earlier.wait()
