"""Who is behind a connection, as far as limits go: a network, and an identity once it is proven.

All limits of a network hold for an identity as well, so that one with many addresses gets no more
than one with a single address. What is counted for a party counts for both. Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

import attrs

from .._addresses import IPAddress
from .rates import Rate, SourceRates
from .shares import Windows

_IPV6_NETWORK_BYTES = 8  # a host has a /64 for itself (RFC 6177), so its addresses count together

T = TypeVar("T")


def network_of(address: IPAddress) -> bytes:
    """What addresses have in common that count together."""
    return address.packed if address.version == 4 else address.packed[:_IPV6_NETWORK_BYTES]


@attrs.frozen(weakref_slot=False)
class Party:
    """What is known of who is behind a connection.

    Attributes:
        network: what :func:`network_of` makes of its address.
        key: the public key that it has proven to hold; None if it has proven none.
    """

    network: bytes
    key: bytes | None = None


class PartyWindows:
    """Counts what parties do in windows of time.

    Networks and identities have tables of their own: new identities, which cost nothing, must not
    have the network forgotten that they come from.

    Args:
        seconds: how long a window is.
        total: how many networks are remembered, and how many identities.
    """

    def __init__(self, seconds: float, total: int) -> None:
        self._of_network = Windows(seconds, total)
        self._of_key = Windows(seconds, total)

    def count(self, party: Party, now: float, number: int = 1, *, about: Hashable = None) -> int:
        """Count one thing more, or some; how many there were in the window that has most.

        Args:
            party: who does the things.
            now: the time in seconds.
            number: how many things.
            about: what it is done with, if that is counted apart.
        """
        most = self._of_network.count((about, party.network), now, number)
        if party.key is not None:
            most = max(most, self._of_key.count((about, party.key), now, number))
        return most

    def counted(self, party: Party, now: float) -> int:
        """How many things there were in the window that has most."""
        most = self._of_network.counted((None, party.network), now)
        if party.key is not None:
            most = max(most, self._of_key.counted((None, party.key), now))
        return most

    def rest(self, party: Party, now: float, limit: int, *, about: Hashable = None) -> float:
        """How many seconds until no window has had as many things as the limit, or more."""
        sources = ((self._of_network, party.network), (self._of_key, party.key))
        return max(
            (
                windows.rest((about, source), now)
                for windows, source in sources
                if windows.counted((about, source), now) >= limit
            ),
            default=0.0,
        )


class PartyRates:
    """Buckets of parties, of which each takes tokens from that of its network and of its identity.

    Args:
        rate: of each.
    """

    def __init__(self, rate: Rate) -> None:
        self._of_network = SourceRates(rate)
        self._of_key = SourceRates(rate)

    def limit_to(self, rate: Rate) -> None:
        """Have all buckets fill at another rate from now on."""
        self._of_network.rate = self._of_key.rate = rate

    def spend(self, party: Party, count: float, now: float) -> float:
        """Take some tokens of a party; how many seconds it has to wait now."""
        pause = self._of_network.spend(party.network, count, now)
        if party.key is not None:
            pause = max(pause, self._of_key.spend(party.key, count, now))
        return pause


class Holdings:
    """Counts what parties hold at a time."""

    def __init__(self) -> None:
        self._of_network: Counter[bytes] = Counter()
        self._of_key: Counter[bytes] = Counter()

    def __len__(self) -> int:
        """How many networks and identities hold something."""
        return len(self._of_network) + len(self._of_key)

    def of(self, party: Party) -> int:
        """How many things the network of a party holds, or its identity, whichever has more."""
        held = self._of_network[party.network]
        return held if party.key is None else max(held, self._of_key[party.key])

    def add(self, party: Party) -> None:
        """Count one thing more that a party holds."""
        self._of_network[party.network] += 1
        if party.key is not None:
            self._of_key[party.key] += 1

    def remove(self, party: Party) -> None:
        """Count one thing less that a party holds, of those that were added."""
        decrement(self._of_network, party.network)
        if party.key is not None:
            decrement(self._of_key, party.key)


def decrement(counter: Counter[T], key: T) -> None:
    """Count one thing less; nothing is remembered of what has none."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]  # or else it would grow with all that ever came
