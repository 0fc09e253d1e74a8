"""Pauses between attempts, which grow until one of them has worked."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from .network_changes import Network, wait_network_changed
from .system import current_system

# Seconds.
MIN_PAUSE, MAX_PAUSE = 0.1, 30.0
MAX_AWAITED_PAUSE = 5.0  # while something waits for the next attempt
LASTING_TIME = 30.0  # how long an attempt has to last to count as a success
CHECK_TIME = 1.0  # between two looks whether something waits
LONGEST_FACTOR = 1.5  # of a pause, to what is planned


class Backoff:
    """Pauses that double, each up to a half longer or shorter than that.

    They are short again when what was attempted has worked for long enough. What breaks again and
    again soon after it began does not make the next attempt come sooner.

    Args:
        shortest: the first pause, in seconds.
        longest: the longest one.
        lasting: how many seconds an attempt has to work for the next pause to be short.
        at_once: whether there is no pause at all before the shortest one, at first and after what
            has worked for long enough.
        early: for how many seconds of failures no pause is longer than ``early_longest``: what is
            started again is back within seconds.
        early_longest: the longest pause in that time, in seconds.
        random: gives a number from 0 to 1; the system's dice do if None.
    """

    def __init__(
        self,
        shortest: float = MIN_PAUSE,
        longest: float = MAX_PAUSE,
        *,
        lasting: float = LASTING_TIME,
        at_once: bool = False,
        early: float = 0.0,
        early_longest: float = math.inf,
        random: Callable[[], float] | None = None,
    ) -> None:
        self._first = self._pause = 0.0 if at_once else shortest
        self._shortest = shortest
        self._longest = longest
        self._lasting = lasting
        self._early = early
        self._early_longest = early_longest / LONGEST_FACTOR
        self._random = random or current_system().dice.random
        self._works_since: float | None = None
        self._fails_since: float | None = None

    def works(self) -> None:
        """Note that the attempt has succeeded, and begins to last."""
        self._works_since = trio.current_time()

    def reset(self) -> None:
        """Make the next pause short, as the attempt has been of use, or everything is different."""
        self._pause, self._fails_since = self._first, None

    def next_pause(self, at_least: float = 0.0) -> float:
        """How many seconds to pause now, as the last attempt has ended.

        Args:
            at_least: what the pause doubles from if it is shorter.
        """
        since, self._works_since = self._works_since, None
        now = trio.current_time()
        if since is not None and now >= since + self._lasting:
            self.reset()
        if self._fails_since is None:
            self._fails_since = now
        pause = max(self._pause, at_least)
        if now < self._fails_since + self._early:
            pause = min(pause, self._early_longest)
        self._pause = min(max(self._shortest, 2 * pause), self._longest)
        return pause * (0.5 + self._random())

    async def rest(
        self,
        network: Network,
        *,
        is_awaited: Callable[[], bool] = lambda: False,
        at_least: float = 0.0,
        at_most: float = math.inf,
        asked: float = 0.0,
    ) -> None:
        """Pause, as the last attempt has ended.

        Args:
            network: where that was made; in another one there is no pause, and the next is short.
            is_awaited: whether something waits for the next attempt, so that no pause is longer
                than :data:`MAX_AWAITED_PAUSE`. Asked again and again.
            at_least: as for :meth:`next_pause`.
            at_most: how many seconds to pause at most.
            asked: how many seconds the other side has asked for. No pause is shorter, whatever
                waits for its end, but in another network.
        """
        pause = min(self.next_pause(at_least), at_most)
        if asked:
            # Up to a half longer, so that clients that were asked together do not come together.
            pause = max(pause, asked * (1 + 0.5 * self._random()))
            is_awaited = _never
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass, pause, is_awaited, nursery.cancel_scope)
            await wait_network_changed(network)
            self._pause, self._fails_since = self._shortest, None
            nursery.cancel_scope.cancel(reason="the network has changed")


def _never() -> bool:
    """Nothing waits."""
    return False


async def _pass(pause: float, is_awaited: Callable[[], bool], scope: trio.CancelScope) -> None:
    began_at = trio.current_time()
    while True:
        is_too_long = pause > MAX_AWAITED_PAUSE and is_awaited()
        left = began_at + (MAX_AWAITED_PAUSE if is_too_long else pause) - trio.current_time()
        if left <= 0:
            break
        await trio.sleep(min(left, CHECK_TIME))
    scope.cancel(reason="the pause is over")
