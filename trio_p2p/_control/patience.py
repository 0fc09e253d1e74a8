"""When to connect to the broker again: pauses that grow, and those that the broker asks for."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from .._errors import AccessDeniedError, BusyError, P2PError
from .._net.backoff import Backoff
from .._net.network_changes import Network

# Seconds for which a lost broker counts as one that is being started again, and the longest pause
# in that time: senders ask for receivers that have yet to come back.
RESTART_TIME, RESTART_PAUSE = 30.0, 1.0
# Seconds until the next attempt over a version of IP that does not lead to the broker while another
# one does: this host may be without it for good. Also until the next attempt at a broker that does
# not admit this program: its operator may change that.
MIN_OTHER_PAUSE, MAX_OTHER_PAUSE = 60.0, 3600.0


class Patience:
    """How long to leave the broker alone.

    Args:
        is_awaited: whether something waits for the broker.
    """

    def __init__(self, is_awaited: Callable[[], bool]) -> None:
        self._is_awaited = is_awaited
        self._backoff = Backoff(early=RESTART_TIME, early_longest=RESTART_PAUSE)
        self._other_backoff = Backoff(MIN_OTHER_PAUSE, MAX_OTHER_PAUSE)
        self._busy: BusyError | None = None
        self._busy_until = -math.inf

    def works(self) -> None:
        """Note that the broker has greeted on a connection that lasted."""
        self._backoff.works()
        self._other_backoff.reset()

    def check_busy(self) -> None:
        """Check that the broker has not asked to be left alone for now.

        Raises:
            BusyError: it has.
        """
        left = self._busy_until - trio.current_time()
        if left > 0:
            raise BusyError(str(self._busy), retry_after=left) from self._busy

    def next_pause(self) -> float:
        """How many seconds to leave a broker alone that goes away."""
        return self._backoff.next_pause()

    async def rest(self, network: Network, error: P2PError | None, *, is_spare: bool) -> None:
        """Wait until the next attempt.

        Args:
            network: what the last attempt was made from; another one ends the pause.
            error: why the last attempt has failed, or the connection was lost; None if it was not.
            is_spare: whether another version of IP leads to the broker, and this one did not.
        """
        if isinstance(error, BusyError):
            self._busy, self._busy_until = error, trio.current_time() + error.retry_after
            try:
                await self._backoff.rest(network, asked=error.retry_after)
            finally:
                self._busy_until = -math.inf
        elif is_spare or isinstance(error, AccessDeniedError):
            await self._other_backoff.rest(network)
        else:
            await self._backoff.rest(network, is_awaited=self._is_awaited)
