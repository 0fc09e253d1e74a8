"""What there is to know of the connection that carries a stream. Pure."""

from __future__ import annotations

import enum

import attrs

from .._addresses import Endpoint
from .._attempt import Technique


class PathKind(enum.StrEnum):
    """How the bytes of a stream travel."""

    DIRECT = "direct"
    """From peer to peer."""
    RELAY = "relay"
    """Through the broker, which cannot read them."""


@attrs.frozen
class StreamPath:
    """The connection that carries a stream at a time.

    Attributes:
        kind: whether it leads to the peer directly.
        technique: how the peers were introduced for it.
        local: the local endpoint.
        remote: the peer's endpoint, or the broker's if that relays.
    """

    kind: PathKind
    technique: Technique
    local: Endpoint
    remote: Endpoint

    def __str__(self) -> str:
        how = "" if self.kind is PathKind.RELAY else f" ({self.technique})"
        return f"{self.kind}{how}, {self.local} → {self.remote}"
