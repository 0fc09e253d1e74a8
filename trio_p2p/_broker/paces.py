"""How fast circuits carry: each, those of one party, and all together. Sans-IO."""

from __future__ import annotations

import math
from weakref import WeakValueDictionary

import attrs

from .parties import Party

# Seconds of its rate that a circuit may carry at once after it has carried less. Long enough for
# pieces that are worth a system call, and short enough for the pauses not to be noticed.
BURST_TIME = 0.1

MIN_PIECE = 4096  # bytes: smaller ones would cost more to carry than they make others wait


@attrs.define(eq=False)
class Pace:
    """Keeps a circuit to its rate, or all that share one: a token bucket that may be overdrawn.

    Each circuit overdraws it by one piece, and then waits until that and all before it are paid
    for. So those that wait take turns with pieces of one size: they share the rate fairly.

    Args:
        bytes_per_second: the rate.

    Attributes:
        waiting: how many directions of circuits wait.
    """

    _bytes_per_second: int
    _paid_until: float = -math.inf
    waiting: int = 0

    @property
    def piece(self) -> int:
        """How many bytes to carry at most before the next pause."""
        whole = max(1, int(self._bytes_per_second * BURST_TIME))
        return max(min(whole, MIN_PIECE), whole // (self.waiting + 1))

    def spend(self, count: int, now: float) -> float:
        """Count bytes that were carried; return how many seconds to pause for them."""
        self._paid_until = max(self._paid_until, now - BURST_TIME)
        self._paid_until += count / self._bytes_per_second
        return max(0.0, self._paid_until - now)


class SharedPaces:
    """The paces that circuits share, as long as one of them is kept to it."""

    def __init__(self) -> None:
        self._of_all: int | None = None
        self._of_each: int | None = None
        # Keys and what stands for networks differ in length.
        self._paces: WeakValueDictionary[bytes, Pace] = WeakValueDictionary()

    def set_rates(self, of_all: int | None, of_each: int | None) -> None:
        """Give out other paces from now on.

        Args:
            of_all: the bytes per second of all circuits together; None for no limit.
            of_each: those of the circuits that one network, or identity, has asked for.
        """
        self._of_all, self._of_each = of_all, of_each
        self._paces.clear()

    def of(self, party: Party) -> tuple[Pace, ...]:
        """The paces of a circuit that a party has asked for."""
        wanted = ((b"", self._of_all), (party.network, self._of_each), (party.key, self._of_each))
        return tuple(
            self._paces.setdefault(source, Pace(rate))
            for source, rate in wanted
            if source is not None and rate is not None
        )
