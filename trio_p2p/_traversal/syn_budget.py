"""How many SYNs one introduction may send, and how fast, before the peer is known. Sans-IO.

What a peer says of itself, or a broker of a peer, makes us send SYNs to where it says. So they are
few: RFC 8445 limits the checks of a session to 100 (section 6.1.2.5), and paces them (section 14).
"""

from __future__ import annotations

MAX_SYNS = 100
PACE = 0.05  # seconds between two SYNs that repeat earlier ones
_RETRANSMISSIONS = (1.0, 3.0, 7.0, 15.0)  # seconds from a SYN to those of the kernel (RFC 6298)


class SynBudget:
    """The SYNs that one introduction has left.

    Args:
        count: how many it may send.

    Attributes:
        left: how many are left.
    """

    def __init__(self, count: int = MAX_SYNS) -> None:
        self.left = count
        self._next_at = 0.0

    def take(self, seconds: float) -> bool:
        """Take what it costs to hold a socket in SYN_SENT; False if there is too little left.

        Args:
            seconds: for how long. The kernel may send the SYN again meanwhile.
        """
        cost = 1 + sum(seconds >= each for each in _RETRANSMISSIONS)
        if cost > self.left:
            return False
        self.left -= cost
        return True

    def time_to_repeat(self, now: float) -> float:
        """Return in how many seconds the next SYN that repeats an earlier one may leave.

        Args:
            now: the time in seconds.
        """
        at = max(now, self._next_at)
        self._next_at = at + PACE
        return at - now
