"""One attempt to connect: how the peers were introduced, where it was sent, what came of it."""

from __future__ import annotations

import enum

import attrs

from ._addresses import Endpoint


class Technique(enum.StrEnum):
    """How two peers are brought together."""

    FAST = "fast"
    """The broker tells both at once; the receiver punches from its registration's port."""
    CLASSIC = "classic"
    """The twelve steps of the protocol; the receiver punches from a fresh port."""
    RELAY = "relay"
    """No direct connection: the broker passes on what the peers have encrypted."""


class Route(enum.StrEnum):
    """The kind of endpoint that a peer is dialled at."""

    REFLEXIVE = "reflexive"
    """The IPv4 endpoint that the broker sees the peer at."""
    IPV6 = "ipv6"
    """The IPv6 endpoint that the broker sees the peer at."""
    HOST = "host"
    """An address of one of the peer's own interfaces."""
    MAPPED = "mapped"
    """A port that the peer's router was asked to map."""
    PREDICTED = "predicted"
    """A port that the peer's NAT is going to give, if it allocates ports in sequence."""
    GUESSED = "guessed"
    """One of very many ports, chosen at random, as the peer's NAT allocates them at random."""


class Outcome(enum.StrEnum):
    """What came of one attempt to connect."""

    CONNECTED = "connected"
    """A connection was made."""
    REFUSED = "refused"
    """A RST came back: no program listens there, or a NAT turned the SYN away."""
    UNREACHABLE = "unreachable"
    """An ICMP error came back, or this host has no route."""
    SILENT = "silent"
    """Nothing came back."""
    TAKEN = "taken"
    """This very pair of endpoints is already connected or still in TIME_WAIT."""
    WRONG_PEER = "wrong peer"
    """The host that answered could not prove to be the introduced peer."""
    FORBIDDEN = "forbidden"
    """The peer or the broker named an endpoint that must not be dialled: nothing was sent there."""
    NOT_TRIED = "not tried"
    """Nothing was sent: this technique cannot work between these two NATs."""
    RULED_OUT = "ruled out"
    """Nothing was sent: between these two NATs nothing but the relay can work."""
    NOT_INTRODUCED = "not introduced"
    """The broker could not introduce the peers by this technique."""


@attrs.frozen
class Attempt:
    """One attempt to connect, as it ended.

    Attributes:
        technique: how the peers were introduced.
        local: the local endpoint that the attempt was sent from, if it got so far.
        remote: the endpoint that the attempt was sent to, if it got so far.
        outcome: what came of the attempt.
        seconds: how long the attempt took.
        route: the kind of endpoint that the peer was dialled at.
    """

    technique: Technique
    local: Endpoint | None
    remote: Endpoint | None
    outcome: Outcome
    seconds: float
    route: Route = Route.REFLEXIVE

    def __str__(self) -> str:
        way = f" {self.local or '?'} → {self.remote}" if self.remote is not None else ""
        route = f" ({self.route})" if self.route is not Route.REFLEXIVE else ""
        return f"{self.technique}{way}{route}: {self.outcome} after {self.seconds:.3f} s"
