"""What a peer says of itself."""

from __future__ import annotations

import attrs


@attrs.frozen
class PeerStatistics:
    """What a peer holds now.

    Attributes:
        connections: how many connections to peers are not over; raw streams do not count.
        streams: how many streams they carry.
        names: the UIDs that it listens under.
        strangers: how many connections to its port were closed because the other side could not
            prove to be a peer that was introduced.
    """

    connections: int
    streams: int
    names: frozenset[str]
    strangers: int
