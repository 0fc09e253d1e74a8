"""What happens to packets between two places: they take their time, and some are lost. Sans-IO."""

from random import Random


class Way:
    """The way from one place to another; what is late or lost depends on nothing but its seed."""

    def __init__(self, seed: str) -> None:
        self.delay = 0.0
        self.jitter = 0.0
        self.loss = 0.0
        self._random = Random(seed)
        self._last_due = 0.0

    def due(self, now: float) -> float | None:
        """When a packet arrives that leaves now; None if it never does."""
        if self.loss and self._random.random() < self.loss:
            return None
        if not self.jitter:
            return now + self.delay
        # Nothing overtakes: packets wait for each other in a queue somewhere on the way.
        due = now + self.delay + self._random.uniform(0, self.jitter)
        self._last_due = max(self._last_due, due)
        return self._last_due
