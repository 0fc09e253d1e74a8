"""How much one party may ask of the broker, so that others are served. Sans-IO."""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

from .._wire.messages import RefusalCode
from .budget import CONNECTION_BYTES, RETRY_TIME as NO_ROOM_TIME, Budget
from .connection import Connection, Name
from .limits import BrokerLimits
from .parties import PartyWindows
from .rates import Rate, SourceRates
from .refusals import refuse

MAX_SOURCES = 16_384  # networks and identities that are remembered of each kind; some 3 MiB

# Seconds.
INTRODUCTIONS_TIME = 15.0  # as long as a receiver spends on an introduction at most
UNKNOWN_TIME = 60.0
ARRIVALS_BURST_TIME = 10.0
RETRY_TIME = 1.0
GUESSING_TIME = 60.0
REPORTS_TIME = 60.0


class SourceQuota:
    """Counts what parties do.

    Args:
        limits: what each may.
        budget: the memory that is left.
    """

    def __init__(self, limits: BrokerLimits, budget: Budget) -> None:
        self._limits = limits
        self._budget = budget
        self._connections: Counter[bytes] = Counter()
        self._arrivals = SourceRates(_rate_of_arrivals(limits))
        self._introductions = PartyWindows(INTRODUCTIONS_TIME, MAX_SOURCES)
        self._unknown = PartyWindows(UNKNOWN_TIME, MAX_SOURCES)
        self._guessings = PartyWindows(GUESSING_TIME, MAX_SOURCES)
        self._reports = PartyWindows(REPORTS_TIME, MAX_SOURCES)

    def limit_to(self, limits: BrokerLimits) -> None:
        """Keep to other limits from now on."""
        self._limits = limits
        self._arrivals.rate = _rate_of_arrivals(limits)

    def connected(self, source: bytes, now: float) -> None:
        """Count a connection; :meth:`disconnected` has to follow.

        Raises:
            RefusalError: it is one too many.
        """
        limits = self._limits
        pause = self._arrivals.pause(source, now)
        if pause > 0:
            refuse(
                RefusalCode.BUSY,
                f"this broker takes {limits.connections_per_second} connections each second from "
                "one IP address: try again later",
                retry_after=max(pause, RETRY_TIME),
            )
        self._arrivals.spend(source, 1, now)
        if self._connections[source] >= limits.connections:
            refuse(
                RefusalCode.BUSY,
                f"this broker serves {limits.connections} connections of one IP address at a time, "
                "and yours has them: try again later",
                retry_after=NO_ROOM_TIME,
            )
        if not self._budget.has_room(source, CONNECTION_BYTES):
            refuse(
                RefusalCode.BUSY,
                "this broker has no memory left for more clients of your network: try again later",
                retry_after=NO_ROOM_TIME,
            )
        self._connections[source] += 1
        self._budget.take(source, CONNECTION_BYTES)

    def disconnected(self, source: bytes) -> None:
        """A connection that was counted is gone."""
        self._connections[source] -= 1
        if not self._connections[source]:
            del self._connections[source]
        self._budget.give_back(source, CONNECTION_BYTES)

    def check_introduction(
        self, sender: Connection, receiver: Name, number: int, now: float
    ) -> None:
        """Count an introduction.

        Raises:
            RefusalError: it is one too many.
        """
        party, uid, limit = sender.party, receiver.uid, self._limits.introductions
        if self._introductions.count(party, now, about=uid) > limit:
            refuse(
                RefusalCode.BUSY,
                f"this broker introduces one IP address, or identity, {limit} times in "
                f"{INTRODUCTIONS_TIME:g} seconds to one receiver: try again later",
                number,
                retry_after=self._introductions.rest(party, now, limit, about=uid),
            )

    def refuse_unknown(self, sender: Connection, number: int, now: float) -> NoReturn:
        """Count a UID that is not registered, and refuse it.

        Raises:
            RefusalError: always.
        """
        party, limit = sender.party, self._limits.unknown_uids
        count = self._unknown.count(party, now)
        if count <= limit:
            refuse(RefusalCode.UNKNOWN_UID, "no receiver is registered under this UID", number)
        refuse(
            RefusalCode.BUSY,
            f"one IP address, or identity, may ask this broker for {limit} unknown UIDs in "
            f"{UNKNOWN_TIME:g} seconds: try again later",
            # A peer is not to lose its names because others at its address guess.
            number if count <= 2 * limit or sender.registration is not None else None,
            retry_after=self._unknown.rest(party, now, limit),
        )

    def may_guess(self, sender: Connection, now: float) -> bool:
        """Whether the sender may have an introduction in which ports are guessed; counts it."""
        return self._guessings.count(sender.party, now) <= self._limits.guessings

    def may_report(self, sender: Connection, now: float) -> bool:
        """Whether the sender's report of what came of an introduction counts; counts it."""
        return self._reports.count(sender.party, now) <= self._limits.reports


def _rate_of_arrivals(limits: BrokerLimits) -> Rate:
    return Rate(limits.connections_per_second, ARRIVALS_BURST_TIME)
