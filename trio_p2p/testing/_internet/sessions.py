"""What a NAT remembers: mappings, and the TCP connections that use them."""

import enum
from dataclasses import dataclass, field

from .behaviour import NatBehaviour
from .packets import FIN, SYN, Endpoint, Packet


class Side(enum.Enum):
    """Of a NAT."""

    INSIDE = enum.auto()
    OUTSIDE = enum.auto()


@dataclass(eq=False)
class Mapping:
    """A host's endpoint and the port that stands for it outside, as long as it has sessions."""

    inside: Endpoint
    outside: Endpoint
    #: The remote endpoint that the host sent to first.
    made_for: Endpoint
    #: By remote endpoint, which has been sent to, or was let in.
    sessions: "dict[Endpoint, Session]" = field(default_factory=dict["Endpoint", "Session"])


class Session:
    """One TCP connection through a mapping."""

    __slots__ = ("_closed", "_is_open", "_isns", "expires_at", "mapping", "remote")

    def __init__(self, mapping: Mapping, remote: Endpoint) -> None:
        self.mapping = mapping
        self.remote = remote
        self.expires_at = 0.0
        self._isns: dict[Side, int] = {}
        self._is_open = False
        self._closed: set[Side] = set()

    def follow(self, sender: Side, segment: Packet, nat: NatBehaviour, now: float) -> bool:
        """Take note of a segment other than an RST; False if it does not belong here."""
        if segment.flags & SYN:
            if not self._fits(sender, segment.sequence) and nat.tracks_isn:
                return False
            self._isns[sender] = segment.sequence
        else:
            self._is_open = True
            if segment.flags & FIN:
                self._closed.add(sender)
        is_settled = self._is_open and len(self._closed) < len(Side)
        self.expires_at = now + (nat.lifetime if is_settled else nat.transitory_lifetime)
        return True

    def _fits(self, sender: Side, sequence: int) -> bool:
        if sequence == self._isns.get(sender, sequence):
            return True
        # Linux starts anew where the other side has not answered yet, and after the end.
        if len(self._isns) < len(Side) or len(self._closed) == len(Side):
            self._isns.clear()
            self._closed.clear()
            self._is_open = False
            return True
        return False
