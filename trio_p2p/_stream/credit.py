"""How much the other side of a connection may send before it is read. Pure.

The memory of a connection is never promised twice. The first credit of a stream depends on how
many streams its opener has open, so that many of them get less each, and their sum is bounded by
``8 MiB * (1 + ln(streams / 32))``. So much is reserved for streams of the other side. Half of the
rest is set aside for the first credits of this side's own streams, and a stream whose credit is
used up and read gets more as long as there is memory beside that.
"""

from __future__ import annotations

import math
from typing import Final

FIRST_CREDIT: Final = 256 * 1024  # bytes, of each of the first streams
SHARED_FIRST_CREDIT: Final = 8 * 1024 * 1024  # bytes; divided by the number of streams
EARLY_STREAMS: Final = 16  # how many streams a side may open before it is told its limit
DEFAULT_STREAMS: Final = 1024
MAX_STREAMS: Final = 2**20
DEFAULT_MEMORY: Final = 96 * 1024 * 1024
# The sender gets more credit when this share of a stream's credit has been read.
TOLD_SHARE: Final = 3 / 4
EARLY_TOLD_SHARE: Final = 1 / 2  # if another frame is sent anyway
# Credit ends at multiples of this, or of a quarter of the window if that is less.
ALIGNED_BYTES: Final = 262_144
# A stream that holds more than this share of its credit unread gets no larger window: its reader is
# slow, and a larger window would not help.
GROWING_SHARE: Final = 1 / 4


def first_credit(others: int) -> int:
    """How many bytes may be sent on a stream at first.

    Args:
        others: how many streams its opener has open already.
    """
    return min(FIRST_CREDIT, SHARED_FIRST_CREDIT // (others + 1))


def reserved_memory(streams: int) -> int:
    """How many bytes the first credits of so many streams may be together, at most."""
    alike = SHARED_FIRST_CREDIT // FIRST_CREDIT
    if streams <= alike:
        return streams * FIRST_CREDIT
    return math.ceil(SHARED_FIRST_CREDIT * (1 + math.log(streams / alike)))


class Budget:
    """The memory of a connection beside what is reserved for the other side's streams.

    Args:
        size: how many bytes it is.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._aside = size // 2
        self._own = 0
        self._grown = 0

    def begin(self, count: int) -> None:
        """Count the first credit of a stream that this side opens: as many as it wants to."""
        self._own += count

    def claim(self, count: int) -> bool:
        """Take so many bytes, for a stream to grow by, if there are so many left."""
        if self._grown + count + max(self._own, self._aside) > self._size:
            return False
        self._grown += count
        return True

    def release(self, own: int, grown: int) -> None:
        """Give back the first credit of an own stream, and what a stream has grown by."""
        self._own -= own
        self._grown -= grown


class Allowance:
    """What the other side may send on one stream.

    Args:
        window: how many bytes it may send before any is read, at first.
        is_own: whether this side opens the stream.

    Attributes:
        window: the argument of this name at first; it grows.
        given: the offset up to which it may send.
    """

    __slots__ = ("_first", "_is_used_up", "_last_given", "_own", "given", "window")

    def __init__(self, window: int, *, is_own: bool) -> None:
        self.window: int = window
        self.given: int = window
        self._first = window
        self._own = window if is_own else 0
        self._last_given = window  # the former one, which the sender may know
        self._is_used_up = False

    def came(self, received: int) -> None:
        """Note that bytes up to an offset have come."""
        self._is_used_up |= received in (self.given, self._last_given)

    def read(self, position: int, held: int, largest: int, budget: Budget) -> bool:
        """Note that bytes up to an offset have been read.

        Args:
            position: the offset.
            held: how many bytes have come and wait.
            largest: what the window may grow to.
            budget: what it grows from.

        Returns:
            Whether there is enough new credit to tell the other side.
        """
        if self._is_used_up and held <= self.window * GROWING_SHARE:
            self._is_used_up = False
            more = min(self.window, largest - self.window)
            if more > 0 and budget.claim(more):
                self.window += more
        return self._renew(position, TOLD_SHARE)

    def has_early(self, position: int) -> bool:
        """Whether there is enough new credit to tell the other side together with something else.

        Args:
            position: the offset up to which bytes have been read.
        """
        return position + self.window - self.given >= self.window * EARLY_TOLD_SHARE

    def renew_early(self, position: int) -> bool:
        """Give what :meth:`has_early` speaks of; whether it is so much still."""
        return self._renew(position, EARLY_TOLD_SHARE)

    def _renew(self, position: int, share: float) -> bool:
        # Credit that ends at an odd offset cuts a piece in two, and each piece has its cost.
        step = min(ALIGNED_BYTES, 1 << max(0, (self.window // 4).bit_length() - 1))
        limit = (position + self.window) // step * step
        if limit - self.given < self.window * share:
            return False
        self._last_given, self.given = self.given, limit
        return True

    def end(self, budget: Budget) -> None:
        """Nothing more comes, and nothing is held: give back what is the budget's."""
        budget.release(self._own, self.window - self._first)
        self._own, self.window = 0, self._first
