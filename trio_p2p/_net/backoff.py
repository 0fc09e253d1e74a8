"""Pauses between attempts to reach a broker again."""

from __future__ import annotations

import random

import trio

from .network_changes import Network, wait_network_changed

MIN_PAUSE, MAX_PAUSE = 0.1, 30.0  # seconds

_JITTER = random.Random()  # noqa: S311 - it keeps hosts apart, not secrets


class Backoff:
    """Pauses that double, each a little longer or shorter than that."""

    def __init__(self) -> None:
        self._pause = MIN_PAUSE

    def reset(self) -> None:
        """The next pause is short again, as an attempt has succeeded."""
        self._pause = MIN_PAUSE

    async def rest(self, network: Network) -> None:
        """Pause; not at all in another network than this one, where pauses are short again."""
        with trio.move_on_after(self._pause * _JITTER.uniform(0.5, 1.5)):
            await wait_network_changed(network)
            self.reset()
            return
        self._pause = min(2 * self._pause, MAX_PAUSE)
