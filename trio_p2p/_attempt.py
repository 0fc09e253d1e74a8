"""One attempt to connect: how the peers were introduced, where it was sent, what came of it."""

from __future__ import annotations

import enum

import attrs

from ._addresses import Endpoint


class Technique(enum.StrEnum):
    """How two peers are brought together."""

    FAST = "fast"
    """Both told at once; the receiver punches from its registration's port."""
    CLASSIC = "classic"
    """The twelve steps; the receiver punches from a fresh port."""
    RELAY = "relay"
    """No direct connection: the broker passes on what the peers, who encrypt it, say."""


class Route(enum.StrEnum):
    """By which kind of endpoint a peer is dialled."""

    REFLEXIVE = "reflexive"
    """Where the broker sees it, over IPv4."""
    IPV6 = "ipv6"
    """Where the broker sees it, over IPv6."""
    HOST = "host"
    """An address of its own."""
    MAPPED = "mapped"
    """What its router was asked for."""
    PREDICTED = "predicted"
    """What its NAT is going to give it, if that allocates in sequence."""
    GUESSED = "guessed"
    """One of very many ports."""


class Outcome(enum.StrEnum):
    """What came of one attempt to connect."""

    CONNECTED = "connected"
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
    """It cannot work between these two NATs by this technique."""
    RULED_OUT = "ruled out"
    """Nothing can work between these two NATs but the relay."""
    NOT_INTRODUCED = "not introduced"
    """The broker could not introduce the peers by this technique."""


@attrs.frozen
class Attempt:
    """One attempt to connect, as it ended.

    Attributes:
        technique: how the peers were introduced.
        local: the local endpoint that the attempt was sent from, if it got so far.
        remote: the endpoint it was sent to, if it got so far.
        outcome: what came of it.
        seconds: how long it took.
        route: by which kind of endpoint the peer was dialled.
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
