"""What a stream's direct paths were worth: one that died of silence has to earn its way back.

A path that opens and then falls silent, such as one through a firewall that drops a connection
after some bytes, costs a stream seconds each time, until the silence shows. So the direct way is
left to rest beside a relay that works, for longer and longer, until a direct path carries more
than those before it did. Sans-IO.
"""

from __future__ import annotations

import math

FIRST_REST = 15.0  # seconds: more than a silent path costs
REST_GROWTH = 4.0
MAX_REST = 900.0
LASTING_TIME = 300.0  # seconds after which a path is good, however little it carries
EARNING_FACTOR = 2  # how many times as much as the last silent one a path has to carry


class PathRecord:
    """The direct paths of one stream between two networks.

    Attributes:
        retry_at: when a direct path may be looked for beside a relayed one.
    """

    def __init__(self) -> None:
        self.retry_at = -math.inf
        self._rest = 0.0
        self._needed = 0
        self._began_at: float | None = None
        self._began_with = 0

    @property
    def is_poor(self) -> bool:
        """Whether the last direct path died of silence, and none has made up for it."""
        return self._rest > 0

    def began(self, now: float, transferred: int) -> None:
        """Note that a direct path carries the stream.

        Args:
            now: the time in seconds.
            transferred: how many bytes of the stream have arrived so far, in both directions.
        """
        self._began_at, self._began_with = now, transferred

    def ended(self, now: float, transferred: int, *, is_silent: bool) -> None:
        """Note that the direct path carries the stream no more; do nothing if none did.

        Args:
            now: the time in seconds.
            transferred: as for :meth:`began`.
            is_silent: whether the path died of silence.
        """
        if self._began_at is None:
            return
        carried, lasted = transferred - self._began_with, now - self._began_at
        self._began_at = None
        if carried > self._needed or lasted >= LASTING_TIME:
            self._rest = 0.0
        if not is_silent:
            return
        self._rest = min(self._rest * REST_GROWTH, MAX_REST) or FIRST_REST
        self._needed = EARNING_FACTOR * carried
        self.retry_at = now + self._rest
