"""How often a peer reports to its broker what came of its searches. Sans-IO.

The broker counts, so a sample will do.
"""

from __future__ import annotations

import math

REPORT_INTERVAL = 1.0  # seconds between two reports


class Reports:
    """The reports of one peer."""

    def __init__(self) -> None:
        self._last_at = -math.inf

    def take(self, now: float) -> bool:
        """Whether one more may be sent; if so, it counts as sent.

        Args:
            now: the time in seconds.
        """
        if now < self._last_at + REPORT_INTERVAL:
            return False
        self._last_at = now
        return True
