"""Attempts that a test looks at."""

import logging
from collections.abc import Callable

from trio_p2p import Attempt, Outcome
from trio_p2p._net.attempt_log import AttemptLog


class NotedAttempts(AttemptLog):
    """All that is attempted, also what has connected and may prove to be wrong.

    Args:
        act: called with each of them.
    """

    def __init__(self, act: Callable[[Attempt], object] = lambda _: None) -> None:
        super().__init__(logging.getLogger("tests.attempts"))
        self.noted: list[Attempt] = []
        self._act = act

    def note(self, attempt: Attempt) -> None:
        super().note(attempt)
        self.noted.append(attempt)
        self._act(attempt)

    @property
    def outcomes(self) -> set[Outcome]:
        """What came of them."""
        return {attempt.outcome for attempt in self.noted}
