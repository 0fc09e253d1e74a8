"""What a broker has done in the last half hour, in steps of ten seconds. Pure."""

from __future__ import annotations

from collections import Counter, deque

import attrs

from .._attempt import Technique
from .counts import Counts
from .figures import Figures

STEP = 10.0  # seconds
MAX_STEPS = 180


@attrs.frozen
class Step:
    """What was done in one step, and how much there was at its end.

    Attributes:
        receivers: how many UIDs were registered.
        circuits: how many circuits were relayed.
        introductions: how many requests were passed on.
        direct: how many senders have reported a direct connection, by technique.
        missed: how many have reported that there is none.
        relayed: how many were introduced for a relayed connection.
        relayed_bytes: how many bytes were relayed.
        refusals: how many refusals there were.
    """

    receivers: int
    circuits: int
    introductions: int
    direct: dict[str, int]
    missed: int
    relayed: int
    relayed_bytes: int
    refusals: int


@attrs.frozen
class _Totals:
    introductions: Counter[Technique]
    outcomes: Counter[Technique | None]
    refusals: int
    relayed_bytes: int


class History:
    """The last steps; of a time in which nothing was noted there are none.

    Args:
        counts: what is counted.
        now: the time in seconds.
    """

    def __init__(self, counts: Counts, now: float) -> None:
        self.steps: deque[Step] = deque(maxlen=MAX_STEPS)
        self._counts = counts
        self._ends_at = now + STEP
        self._before = self._totals(0)

    def note(self, figures: Figures, now: float) -> bool:
        """Note how a broker stands, often; whether a step has ended with that."""
        if now < self._ends_at:
            return False
        self._ends_at += STEP
        if self._ends_at <= now:  # nothing was noted for long
            self._ends_at = now + STEP
        before, after = self._before, self._totals(figures.relayed_bytes)
        introductions = after.introductions - before.introductions
        outcomes = after.outcomes - before.outcomes
        self._before = after
        self.steps.append(
            Step(
                receivers=figures.receivers,
                circuits=figures.circuits,
                introductions=introductions.total(),
                direct={each.value: outcomes[each] for each in _DIRECT},
                missed=outcomes[None],
                relayed=introductions[Technique.RELAY],
                relayed_bytes=after.relayed_bytes - before.relayed_bytes,
                refusals=after.refusals - before.refusals,
            )
        )
        return True

    def _totals(self, relayed_bytes: int) -> _Totals:
        counts = self._counts
        return _Totals(
            counts.introductions.copy(),
            counts.outcomes.copy(),
            counts.refusals.total(),
            relayed_bytes,
        )


_DIRECT = (Technique.FAST, Technique.CLASSIC)
