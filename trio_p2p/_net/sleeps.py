"""Notices from two clocks that the host was asleep."""

from __future__ import annotations

MIN_SLEEP = 5.0  # seconds; connections survive less


class Sleeps:
    """Counts how often the host was asleep.

    Args:
        time_since_boot: by the clock that goes on in sleep.
        now: by the clock that stands still.

    Attributes:
        count: how often it was.
    """

    def __init__(self, time_since_boot: float, now: float) -> None:
        self.count: int = 0
        self._ahead = time_since_boot - now

    def look(self, time_since_boot: float, now: float) -> bool:
        """Whether the host was asleep since the clocks were last looked at.

        Args:
            time_since_boot: by the clock that goes on in sleep.
            now: by the clock that stands still.
        """
        before, self._ahead = self._ahead, time_since_boot - now
        has_slept = self._ahead >= before + MIN_SLEEP
        self.count += has_slept
        return has_slept
