"""The figures of a peer."""

from __future__ import annotations

import attrs


@attrs.frozen
class PeerStatistics:
    """What a peer holds now.

    Attributes:
        connections: how many connections to peers are not over; raw streams do not count.
        streams: how many streams these connections carry.
        names: the UIDs that the peer listens under.
        strangers: how many connections to the peer's port were closed because the other side could
            not prove to be a peer that was introduced.
    """

    connections: int
    streams: int
    names: frozenset[str]
    strangers: int
