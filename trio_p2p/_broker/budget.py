"""The memory that a broker holds for its clients, and how sources share it. Sans-IO.

What is held is estimated: so much for each connection, name, watch and so on. A source gets more
only while it holds no more than what is left for all others, and the same goes for its network. So
one that takes all it can leaves half, two leave a third, and a newcomer with little finds room.
What is held already is never taken away.
"""

from __future__ import annotations

from collections import Counter

# Bytes, Python's objects and Trio's tasks included.
CONNECTION_BYTES = 6144
NAME_BYTES = 2048
WATCH_BYTES = 512
RESERVED_BYTES = 512
CANDIDATE_BYTES = 256  # of an offer

RETRY_TIME = 30.0  # seconds after which to ask again when there is no room


def neighbourhood_of(source: bytes) -> bytes:
    """What an IPv4 /24 or an IPv6 /48 has in common: often one site, or one customer's."""
    return source[:3] if len(source) == 4 else source[:6]


class Budget:
    """So many bytes for all clients.

    Args:
        total: how many bytes.

    Attributes:
        total: the argument of this name; may be changed at any time.
    """

    def __init__(self, total: int) -> None:
        self.total: int = total
        self._taken = 0
        self._of_network: Counter[bytes] = Counter()  # sources and neighbourhoods differ in length
        self._shared: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """How many bytes are held."""
        return self._taken

    @property
    def sources(self) -> int:
        """How many sources and networks hold something."""
        return len(self._of_network)

    def has_room(self, source: bytes, count: int) -> bool:
        """Whether a source may hold so many bytes more."""
        most = self.total - self._taken - 2 * count
        held = self._of_network
        return held[source] <= most and held[neighbourhood_of(source)] <= most

    def take(self, source: bytes, count: int) -> None:
        """Count so many bytes more that a source holds."""
        if not count:
            return  # and remember nothing of it
        self._taken += count
        for network in (source, neighbourhood_of(source)):
            self._of_network[network] += count

    def give_back(self, source: bytes, count: int) -> None:
        """Count so many bytes less that a source holds."""
        if not count:
            return
        self._taken -= count
        for network in (source, neighbourhood_of(source)):
            self._of_network[network] -= count
            if not self._of_network[network]:
                del self._of_network[network]

    def set_shared(self, what: str, count: int) -> None:
        """Set how many bytes are held that count for no source."""
        self._taken += count - self._shared[what]
        self._shared[what] = count
