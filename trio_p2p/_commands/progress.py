"""Shows how a transfer goes on: how much, how fast, how long still, and over which path."""

from __future__ import annotations

import shutil
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio

from .._files.tally import Tally
from .._stream.stream_path import StreamPath
from .amounts import size_text, time_text

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


def progress_line(tally: Tally, rate: float | None, path: StreamPath | None) -> str:
    """One line of 80 columns at most."""
    done = tally.size - tally.left
    percent = 100 * done // tally.size if tally.size else 100
    parts = [f"{percent:3} %", f"{size_text(done)} of {size_text(tally.size)}"]
    if tally.files > 1:
        parts.append(f"file {min(tally.files_done + 1, tally.files)} of {tally.files}")
    if rate is not None:
        parts.append(f"{size_text(rate)}/s")
        if rate >= 1:
            parts.append(f"{time_text(tally.left / rate)} left")
    parts.append("looking for a path" if path is None else str(path.kind))
    return ", ".join(parts)


class Progress:
    """A line on a terminal that changes; nothing where there is no terminal.

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
        if not sys.stderr.isatty():
            return
        try:
            while True:
                rate = self._rate.at(trio.current_time(), self._tally.moved)
                _rewrite(progress_line(self._tally, rate, self._path()))
                await trio.sleep(INTERVAL)
        finally:
            _rewrite(progress_line(self._tally, None, self._path()))
            _write("\n")


def _rewrite(line: str) -> None:
    width = shutil.get_terminal_size().columns - 1
    _write(f"\r{line[:width]}\x1b[K")


def _write(text: str) -> None:
    with suppress(OSError):  # of a terminal that is closed
        sys.stderr.write(text)
        sys.stderr.flush()
