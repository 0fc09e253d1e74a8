"""Pauses between attempts, which grow until one of them has worked."""

from __future__ import annotations

import random
from collections.abc import Callable

import trio

from .network_changes import Network, wait_network_changed

# Seconds.
MIN_PAUSE, MAX_PAUSE = 0.1, 30.0
MAX_AWAITED_PAUSE = 5.0  # while something waits for the next attempt
LASTING_TIME = 30.0  # that something has to work before it counts as working
CHECK_TIME = 1.0  # between two looks whether something waits

# Without a state, so that processes that fork do not pause in step.
_random = random.SystemRandom().random


class Backoff:
    """Pauses that double, each up to a half longer or shorter than that.

    They are short again when what was attempted has worked for :data:`LASTING_TIME`. What breaks
    again and again soon after it began does not make the next attempt come sooner.

    Args:
        shortest: the first pause, in seconds.
        longest: the longest one.
        random: gives a number from 0 to 1.
    """

    def __init__(
        self,
        shortest: float = MIN_PAUSE,
        longest: float = MAX_PAUSE,
        *,
        random: Callable[[], float] = _random,
    ) -> None:
        self._shortest = self._pause = shortest
        self._longest = longest
        self._random = random
        self._works_since: float | None = None

    def works(self) -> None:
        """Note that the attempt has succeeded, and begins to last."""
        self._works_since = trio.current_time()

    def reset(self) -> None:
        """Make the next pause short, as the attempt has been of use, or everything is different."""
        self._pause = self._shortest

    def next_pause(self) -> float:
        """How many seconds to pause now, as the last attempt has ended."""
        since, self._works_since = self._works_since, None
        if since is not None and trio.current_time() >= since + LASTING_TIME:
            self.reset()
        pause = self._pause * (0.5 + self._random())
        self._pause = min(2 * self._pause, self._longest)
        return pause

    async def rest(
        self, network: Network, *, is_awaited: Callable[[], bool] = lambda: False
    ) -> None:
        """Pause, as the last attempt has ended.

        Args:
            network: where that was made; in another one there is no pause, and the next is short.
            is_awaited: whether something waits for the next attempt, so that no pause is longer
                than :data:`MAX_AWAITED_PAUSE`. Asked again and again.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, is_awaited, nursery.cancel_scope)
            await wait_network_changed(network)
            self.reset()
            nursery.cancel_scope.cancel(reason="the network has changed")

    async def _pass(self, is_awaited: Callable[[], bool], scope: trio.CancelScope) -> None:
        began_at, pause = trio.current_time(), self.next_pause()
        while True:
            longest = min(pause, MAX_AWAITED_PAUSE) if is_awaited() else pause
            left = began_at + longest - trio.current_time()
            if left <= 0:
                break
            await trio.sleep(min(left, CHECK_TIME))
        scope.cancel(reason="the pause is over")
