"""Shows how a transfer goes on: how much, how fast, how long still, and over which path."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio

from .._files.tally import Tally
from .._stream.stream_path import StreamPath
from .layout import Layout
from .layouts import layout_for
from .run import is_progress_wanted
from .terminal import columns_of

INTERVAL = 0.25  # seconds between two looks
RATE_TIME = 5.0  # seconds that the rate is an average of


class Rate:
    """How fast something grows, on an average over the last seconds. Time is an argument."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float | None:
        """The rate now, a second; None if nothing is known yet."""
        self._looks.append((now, count))
        while len(self._looks) > 2 and self._looks[1][0] <= now - RATE_TIME:
            self._looks.popleft()
        then, before = self._looks[0]
        return (count - before) / (now - then) if now > then else None


class Progress:
    """A line on a terminal that changes; nothing where there is no terminal, or no wish for one.

    Args:
        tally: what it shows the growth of.
        path: gives what carries the stream now.
    """

    def __init__(self, tally: Tally, path: Callable[[], StreamPath | None]) -> None:
        self._tally = tally
        self._path = path
        self._rate = Rate()

    async def run(self) -> None:
        """Show it until cancelled."""
        if columns_of(sys.stderr) is None or not is_progress_wanted():
            return
        layout = layout_for(sys.stderr)
        try:
            while True:
                self._rewrite(layout, self._rate.at(trio.current_time(), self._tally.moved))
                await trio.sleep(INTERVAL)
        finally:
            self._rewrite(layout, None)
            _write("\n")

    def _rewrite(self, layout: Layout, rate: float | None) -> None:
        _write(f"\r{layout.progress(self._tally, rate, self._path())}")


def _write(text: str) -> None:
    with suppress(OSError):  # of a terminal that is closed
        sys.stderr.write(text)
        sys.stderr.flush()
