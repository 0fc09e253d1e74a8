"""How much of everything a broker has at one moment. Pure."""

from __future__ import annotations

import attrs


@attrs.frozen
class Figures:
    """A broker at one moment.

    Attributes:
        receivers: how many UIDs are registered.
        connections: how many clients are connected, those that are relayed included.
        pending_introductions: how many senders wait for a receiver's answer.
        circuits: how many circuits are relayed, or are going to be.
        relayed_bytes: how many bytes were relayed since the broker was started.
        is_draining: whether the broker goes away.
    """

    receivers: int
    connections: int
    pending_introductions: int
    circuits: int
    relayed_bytes: int
    is_draining: bool
