"""What a peer says of itself."""

from __future__ import annotations

import attrs


@attrs.frozen
class PeerStatistics:
    """What a peer holds now.

    Attributes:
        streams: how many streams are not over; raw ones do not count.
        names: the UIDs that it listens under.
        strangers: how many connections to its port were closed because the other side could not
            prove to be a peer that was introduced.
    """

    streams: int
    names: frozenset[str]
    strangers: int
