"""The attempts of one search for a connection: noted where they are made, read by the search."""

from __future__ import annotations

import logging

import attrs
import trio

from .._attempt import Attempt, Outcome


class AttemptLog:
    """What was attempted so far.

    That a connection leads to the introduced peer shows in TLS's handshake only. Until then its
    attempt has not ended, as it may prove to have reached another host.

    Args:
        logger: the logger that gets a line for each attempt.

    Attributes:
        ended: the attempts that have ended, in this order.
        changed: unparked when there are more of them.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.ended: list[Attempt] = []
        self.changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._logger = logger
        self._connected: Attempt | None = None
        self._connected_at = 0.0

    def note(self, attempt: Attempt) -> None:
        """Note an attempt that has ended, or has connected."""
        self._logger.debug("attempt: %s", attempt)
        if attempt.outcome is Outcome.CONNECTED:
            self.settle()
            self._connected, self._connected_at = attempt, trio.current_time()
        else:
            self._end(attempt)

    def settle(self) -> None:
        """Note that the other end of a connection is the peer, as far as is known."""
        if self._connected is not None:
            connected, self._connected = self._connected, None
            self._end(connected)

    def settle_wrong_peer(self) -> None:
        """Note that the other end of a connection could not prove to be the peer."""
        assert self._connected is not None
        seconds = self._connected.seconds + trio.current_time() - self._connected_at
        wrong = attrs.evolve(self._connected, outcome=Outcome.WRONG_PEER, seconds=seconds)
        self._connected = None
        self.note(wrong)

    def drop(self) -> None:
        """Forget a connection that the receiver has no room for: it is no attempt that counts."""
        self._connected = None

    def count(self, outcome: Outcome) -> int:
        """How many attempts have ended with this outcome."""
        return sum(attempt.outcome is outcome for attempt in self.ended)

    def _end(self, attempt: Attempt) -> None:
        self.ended.append(attempt)
        self.changed.unpark_all()
