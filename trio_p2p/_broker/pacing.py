"""Reads no more of clients than the broker has time for: each, and all of a party, at a rate."""

from __future__ import annotations

from .connection import Connection
from .limits import BrokerLimits
from .link import Link
from .parties import PartyRates
from .rates import MAX_PAUSE, Rate

# Seconds.
MESSAGES_BURST_TIME = 12.0
SOURCE_MESSAGES_BURST_TIME = 4.0

TURN_COST = 4  # messages of one client that are read before it is the others' turn


class Pacing:
    """How fast clients are read.

    Args:
        limits: the rates.
    """

    def __init__(self, limits: BrokerLimits) -> None:
        self._rate = Rate(limits.messages_per_second, MESSAGES_BURST_TIME)
        self._party_rates = PartyRates(_rate_of_all(limits))

    def limit_to(self, limits: BrokerLimits) -> None:
        """Read at other rates from now on."""
        self._rate = Rate(limits.messages_per_second, MESSAGES_BURST_TIME)
        self._party_rates.limit_to(_rate_of_all(limits))

    def pause_after(self, connection: Connection, link: Link, cost: int, now: float) -> float:
        """For how many seconds to read no more of a client, as it, or its party, said too much.

        Args:
            connection: the client's.
            link: its link.
            cost: how many messages it has said just now; if none, then a part of one.
            now: the time.
        """
        cost = cost or 1  # a part of one costs as much to read
        link.paid_until = self._rate.spend(link.paid_until, cost, now)
        pause = max(link.paid_until - now, self._party_rates.spend(connection.party, cost, now))
        return 0.0 if pause <= 0.0 or connection.is_closed else min(pause, MAX_PAUSE)


def _rate_of_all(limits: BrokerLimits) -> Rate:
    """That of all connections of one party."""
    return Rate(limits.source_messages_per_second, SOURCE_MESSAGES_BURST_TIME)
