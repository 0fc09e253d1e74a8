"""Log lines about what happens again and again: said once in an interval, with a count.

And what a log may hide.

Time is an argument.
"""

from __future__ import annotations

import logging
import math

import attrs

INTERVAL = 60.0  # seconds


@attrs.frozen(repr=False)
class Private:
    """An argument of a log line that tells of a client: a log may hide it.

    Attributes:
        text: what to write if it is not hidden.
    """

    text: str

    def __str__(self) -> str:
        return repr(self.text)


class RepeatedLine:
    """One kind of log line.

    The first event is said at once. Those of the next interval are counted, and said with the
    first event after it.

    Args:
        logger: the logger that the line goes to.
        level: how important it is, as :mod:`logging` counts.
        interval: seconds from one line to the next.
    """

    def __init__(self, logger: logging.Logger, level: int, interval: float = INTERVAL) -> None:
        self._logger = logger
        self._level = level
        self._interval = interval
        self._quiet_until = -math.inf
        self._unsaid = 0

    def say(self, now: float, text: str, *arguments: object) -> None:
        """One more event.

        Args:
            now: the time.
            text: what has happened, with places for the arguments as in :mod:`logging`.
            arguments: what the places stand for.
        """
        if now < self._quiet_until:
            self._unsaid += 1
            return
        if self._unsaid:
            text += " (and %d more times since this was last said)"
            arguments = (*arguments, self._unsaid)
        self._logger.log(self._level, text, *arguments)
        self._quiet_until = now + self._interval
        self._unsaid = 0
