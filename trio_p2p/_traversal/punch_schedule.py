"""When to send the next SYN of a punch, and how far it shall go. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from .._attempt import Outcome

# Seconds. A SYN that is lost is sent again by a new socket after about a round trip, much sooner
# than the kernel's first retransmission, which comes after one second (RFC 6298).
UNMEASURED_ROUND_TRIP = 0.1
JITTER = 0.02  # what an answer may take on top of the round trip
# Until the kernel has sent a SYN again: one second (RFC 6298), but its timers are coarse.
RETRANSMISSION_TIME = 1.2
# A held SYN that is given up just when the sender's comes is a hole lost: a NAT that has seen both
# wants an answer with the sequence number of the old one. So rather hold it for longer.
MIN_HOLD = 0.25
PATIENCE_GROWTH = 1.5  # an answer that takes longer than expected must still get through
PAUSE_GROWTH = 1.5  # a hole that is not open yet soon will be, or never
MAX_PAUSE = 1.0


@attrs.define
class PunchSchedule:
    """Says what to do next, from what came of the last attempt.

    Attributes:
        hops: how many hops the next SYN shall live: it is guarded, and its guard adapts. None
            for SYNs that go all the way.
        patience: for how many seconds the next SYN shall be held before another is tried.
        pause: how many seconds to wait before the next SYN.
    """

    hops: int | None
    patience: float
    pause: float
    _random: Callable[[], float]
    _rest: float
    _may_be_lost: bool = True

    @classmethod
    def dial(
        cls,
        round_trip: float,
        random: Callable[[], float],
        *,
        delay: float = 0.0,
        is_resent: bool = False,
    ) -> PunchSchedule:
        """For the side that dials: the peer's hole is open, or about to be.

        Args:
            round_trip: to the peer in seconds, or an upper bound of it; 0 if unknown.
            random: a number from 0 to 1: fixed periods on both sides could lock out of phase.
            delay: how many seconds to wait before the first SYN.
            is_resent: whether to wait until the kernel sends a SYN again that was not answered:
                firewalls may have seen it, and let no other one pass.
        """
        answered = _time_to_answer(round_trip)
        patience = answered + (RETRANSMISSION_TIME if is_resent else 0.0)
        return cls(None, patience, delay, random, answered / 2)

    @classmethod
    def hold(
        cls,
        hops: int,
        round_trip: float,
        random: Callable[[], float],
        *,
        is_resent: bool = False,
    ) -> PunchSchedule:
        """For the side that holds: open a hole and wait for the peer, who may have yet to be told.

        Args:
            hops: how many hops lead beyond the own NATs.
            round_trip: as for :meth:`dial`.
            random: as for :meth:`dial`.
            is_resent: whether the sender waits for that.
        """
        patience = max(3 * _time_to_answer(round_trip), MIN_HOLD)
        resent = RETRANSMISSION_TIME if is_resent else 0.0
        return cls(hops, patience + resent, 0.0, random, patience / 2)

    def failed(self, outcome: Outcome) -> None:
        """The last attempt ended like this; schedule the next."""
        self.pause = 0.0
        match outcome:
            case Outcome.SILENT:
                self.patience *= PATIENCE_GROWTH
                # It was lost, or the sender's was. If it happens again, perhaps it did not pass our
                # own NATs. One hop too many does harm: the SYN dies on the other side's NAT, which
                # then lets no SYN of its own side pass but the one that it has seen already.
                if self.hops is not None and not self._may_be_lost:
                    self.hops += 1
                self._may_be_lost = not self._may_be_lost
            case Outcome.REFUSED | Outcome.UNREACHABLE if self.hops is not None and self.hops > 1:
                # It went too far: a host on the other side answered.
                self.hops -= 1
            case _:
                self.pause = min(self._rest, MAX_PAUSE) * (0.5 + self._random())
                self._rest *= PAUSE_GROWTH


def _time_to_answer(round_trip: float) -> float:
    return 1.25 * (round_trip or UNMEASURED_ROUND_TRIP) + JITTER
