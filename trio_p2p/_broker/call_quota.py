"""How often the broker calls back, and for whom. Sans-IO.

A call goes to nobody but whoever asked for it, over a connection that proves where it is. Even so
it is traffic that somebody else decides on, so there are few at a time, and few for each network.
"""

from __future__ import annotations

from .._endpoint import IPAddress
from .quota import network_of

MAX_CALLS = 64  # at a time
CALLS_PER_WINDOW = 60  # for one network: many may share an address, and each asks once or twice
WINDOW_TIME = 60.0  # seconds
MAX_NETWORKS = 4096  # remembered at a time


class CallQuota:
    """Counts the calls of a broker."""

    def __init__(self) -> None:
        self._under_way = 0
        self._windows: dict[bytes, tuple[float, int]] = {}  # the oldest first

    @property
    def under_way(self) -> int:
        """How many calls are made now."""
        return self._under_way

    def take(self, address: IPAddress, now: float) -> bool:
        """Whether an address may be called now; then :meth:`give_back` has to follow."""
        network = network_of(address)
        began_at, count = self._windows.get(network, (now, 0))
        if began_at + WINDOW_TIME <= now:
            del self._windows[network]
            began_at, count = now, 0
        if count >= CALLS_PER_WINDOW or self._under_way >= MAX_CALLS:
            return False
        self._windows[network] = began_at, count + 1
        if len(self._windows) > MAX_NETWORKS:
            del self._windows[next(iter(self._windows))]
        self._under_way += 1
        return True

    def give_back(self) -> None:
        """A call is over."""
        self._under_way -= 1
