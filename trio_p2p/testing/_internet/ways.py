"""What happens to packets between two places: they take their time, and some are lost."""

import heapq
import math
from collections import deque
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_FATES = 100  # that a way remembers


class Way:
    """The way from one place to another; what is late or lost depends on nothing but its seed.

    Attributes:
        fates: how many seconds the last packets took, or None for those that were lost.
    """

    def __init__(self, seed: str) -> None:
        self.delay: float = 0.0
        self.jitter: float = 0.0
        self.loss: float = 0.0
        self.fates: deque[float | None] = deque(maxlen=MAX_FATES)
        self._random = Random(seed)
        self._last_due = 0.0

    def due(self, now: float) -> float | None:
        """When a packet arrives that leaves now; None if it never does."""
        if self.loss and self._random.random() < self.loss:
            self.fates.append(None)
            return None
        if not self.jitter:
            self.fates.append(self.delay)
            return now + self.delay
        # Nothing overtakes: packets wait for each other in a queue somewhere on the way.
        due = now + self.delay + self._random.uniform(0, self.jitter)
        self._last_due = max(self._last_due, due)
        self.fates.append(self._last_due - now)
        return self._last_due


class UnderWay(Generic[T]):
    """What is under way, by when it is due; what is due at the same time keeps its order."""

    def __init__(self) -> None:
        self._items: list[tuple[float, int, T]] = []
        self._count = 0

    def add(self, due: float, item: T) -> None:
        """Send something that is due at some time."""
        self._count += 1
        heapq.heappush(self._items, (due, self._count, item))

    @property
    def next_due(self) -> float:
        """When the next thing is due; inf if nothing is under way."""
        return self._items[0][0] if self._items else math.inf

    def wait(self, now: float) -> float | None:
        """How long it takes until something is due; None if nothing is under way."""
        return self._items[0][0] - now if self._items else None

    def take(self) -> T:
        """Take what is due first."""
        return heapq.heappop(self._items)[2]
