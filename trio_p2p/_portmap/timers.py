"""When to ask a router again: unanswered requests, renewals, and after it forgot. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

Random = Callable[[], float]  # a number from 0 to 1

# Seconds. PCP's first interval is long, and RFC 6887 lets clients ask for ever. But a router that
# knows PCP answers within milliseconds, and the next protocol waits meanwhile. So there is one more
# request, in case that the first was lost, and one second for its answer.
PCP_INITIAL_TIME = 3.0  # IRT of RFC 6887, 8.1.1
PCP_MAX_TIME = 1024.0  # MRT
PCP_MAX_DURATION = 4.0  # MRD
NAT_PMP_INITIAL_TIME = 0.25  # RFC 6886, 3.1
NAT_PMP_MAX_DURATION = 2.0  # four requests; the RFC allows for nine, which would be 64 seconds

MIN_RENEWAL_PAUSE = 4.0  # seconds between two renewals (RFC 6887, 11.2.1)
MAX_RECOVERY_DELAY = 5.0  # seconds: not all hosts at once ask a router that is back (14.1.3)
MAX_RETRY_PAUSE = 300.0  # seconds between attempts to get a lost mapping back


def pcp_waits(random: Random) -> Iterator[float]:
    """How many seconds to wait for an answer after each request (RFC 6887, 8.1.1)."""
    wait = (0.9 + 0.2 * random()) * PCP_INITIAL_TIME
    left = PCP_MAX_DURATION
    while left > 0:
        yield min(wait, left)
        left -= wait
        wait = (0.9 + 0.2 * random()) * min(2 * wait, PCP_MAX_TIME)


def nat_pmp_waits() -> Iterator[float]:
    """How many seconds to wait for an answer after each request (RFC 6886, 3.1)."""
    wait, left = NAT_PMP_INITIAL_TIME, NAT_PMP_MAX_DURATION
    while left > 0:
        yield min(wait, left)
        left -= wait
        wait *= 2


def retry_pauses(random: Random) -> Iterator[float]:
    """How many seconds to wait before each attempt to get a lost mapping back."""
    pause = MIN_RENEWAL_PAUSE
    while True:
        yield pause * (0.9 + 0.2 * random())
        pause = min(2 * pause, MAX_RETRY_PAUSE)


@attrs.define
class Lease:
    """When a mapping is to be renewed, and when it has ended.

    It is renewed between 1/2 and 5/8 of its lifetime; if that fails between 3/4 and 13/16, and so
    on, halving what is left (RFC 6887, 11.2.1).

    Attributes:
        renew_at: when to renew it next.
        expires_at: when it ends, unless it is renewed before.
    """

    renew_at: float
    expires_at: float
    _asked_at: float
    _random: Random

    @classmethod
    def begin(cls, now: float, lifetime: float, random: Random) -> Lease:
        """The lease of a mapping that has just been granted, or renewed.

        Args:
            now: the time in seconds, by whatever clock.
            lifetime: for how many seconds it was granted.
            random: a number from 0 to 1.
        """
        lease = cls(now, now + lifetime, now, random)
        lease.renewal_failed(now)
        return lease

    def renewal_failed(self, now: float) -> None:
        """Plan the next renewal."""
        self._asked_at = now
        half = max(0.0, self.expires_at - now) / 2
        self.renew_at = now + max(half * (1 + self._random() / 4), MIN_RENEWAL_PAUSE)

    def router_forgot(self, now: float) -> None:
        """The router has lost the mapping: renew it soon."""
        soon = now + MAX_RECOVERY_DELAY * self._random()
        # Forged announcements must not make us ask all the time.
        self.renew_at = min(self.renew_at, max(soon, self._asked_at + MIN_RENEWAL_PAUSE))

    def is_over(self, now: float) -> bool:
        """Whether the mapping has ended."""
        return now >= self.expires_at


@attrs.frozen
class Epoch:
    """A router's epoch time: how long it has had its table of mappings.

    Attributes:
        seconds: as the router says.
        seen_at: when it said so, by our clock.
    """

    seconds: int
    seen_at: float

    def is_continued_by(self, later: Epoch) -> bool:
        """Whether the router has kept its mappings in between (RFC 6887, 8.5).

        RFC 6886, 3.6, wants a router to be at least at 7/8 of our clock, where this wants 15/16;
        so a router with a very bad clock is asked once too often, which does no harm.
        """
        if later.seconds < self.seconds - 1:
            return False
        ours = later.seen_at - self.seen_at
        its = later.seconds - self.seconds
        return ours + 2 >= its - its / 16 and its + 2 >= ours - ours / 16
