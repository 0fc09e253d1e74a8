"""The figures of a connection. Pure."""

from __future__ import annotations

import attrs


@attrs.frozen
class P2PConnectionStatistics:
    """What a connection has done so far.

    Attributes:
        streams: how many streams are open.
        round_trip: the last measured time to the peer and back in seconds; None if it was not
            measured yet.
        sent: how many bytes the peer's side has acknowledged, those that frame them included.
        received: how many bytes have come, those that frame them included.
        moves: how often the connection has moved to another path.
    """

    streams: int
    round_trip: float | None
    sent: int
    received: int
    moves: int
