"""Log lines that are said once in an interval, with how often they would have been."""

from __future__ import annotations

import logging


class LimitedLog:
    """A logger for events that others can cause as often as they like.

    Of each level and text, the first event is logged at once. Those that follow within the
    interval are counted, and the first one behind it is logged with their number.

    Args:
        logger: where to log.
        interval: in seconds.
    """

    def __init__(self, logger: logging.Logger, interval: float) -> None:
        self._logger = logger
        self._interval = interval
        self._said_at: dict[tuple[int, str], float] = {}
        self._unsaid: dict[tuple[int, str], int] = {}

    def log(self, level: int, text: str, *args: object, now: float) -> None:
        """Log an event, or count it.

        Args:
            level: the level, as of the logging module.
            text: what happened, to be formatted with the arguments; one of few.
            args: what to format it with.
            now: the time in seconds.
        """
        key = level, text
        said_at = self._said_at.get(key)
        if said_at is not None and now < said_at + self._interval:
            self._unsaid[key] = self._unsaid.get(key, 0) + 1
            return
        self._said_at[key] = now
        unsaid = self._unsaid.pop(key, 0)
        if unsaid:
            text, args = text + " (and %d more before)", (*args, unsaid)
        self._logger.log(level, text, *args)
