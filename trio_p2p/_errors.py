"""Everything that trio_p2p raises, in one hierarchy.

Blame is split: what the caller did wrong is a :exc:`LocalProtocolError`, what the other side did
wrong is a :exc:`RemoteProtocolError`, and what the network did is one of the others.
"""

from __future__ import annotations

import enum

import attrs

from ._endpoint import Endpoint


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
    """A RST came back: nobody listens there, or a NAT turned the SYN away."""
    UNREACHABLE = "unreachable"
    """An ICMP error came back, or this host has no route."""
    SILENT = "silent"
    """Nothing came back."""
    TAKEN = "taken"
    """This very pair of endpoints is already connected or still in TIME_WAIT."""
    WRONG_PEER = "wrong peer"
    """Somebody answered who could not prove to be the introduced peer."""
    FORBIDDEN = "forbidden"
    """The peer named an endpoint that cannot be its own: nothing was sent there."""
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


class P2PError(Exception):
    """The base of every error that is trio_p2p's own."""


class BrokerUnreachableError(P2PError):
    """No connection to the broker could be made."""


class BrokerLostError(P2PError):
    """The broker closed the connection, or the connection broke."""


class UnknownUIDError(P2PError):
    """No receiver is registered under the UID."""


class UIDTakenError(P2PError):
    """Another receiver is registered under the UID."""


class IdentityError(P2PError):
    """An identity cannot be used: its file, or what it was to prove, is not in order."""


class WrongPeerError(P2PError):
    """Whoever answered is not the peer that was to be connected to."""


class StreamAbortedError(P2PError):
    """The other side gave the stream up."""


class NotAdmittedError(StreamAbortedError):
    """The receiver does not admit this peer."""


class PathLostError(P2PError):
    """A stream has lost its path, and found no other one in time."""


class RelayError(P2PError):
    """The broker does not relay, or not any more."""


class ProtocolError(P2PError):
    """The protocol between peers and broker was violated."""


class LocalProtocolError(ProtocolError, ValueError):
    """This program asked for something that the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the protocol does not allow."""


class UnsupportedVersionError(ProtocolError):
    """The two sides speak no common version of the protocol."""


class AttemptFailedError(P2PError):
    """One attempt to connect failed; see :attr:`attempt`.

    Attributes:
        attempt: what was attempted, and what came of it.
    """

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt)
        self.attempt = attempt

    def __str__(self) -> str:
        return str(self.attempt)


class IntroductionError(P2PError):
    """The peers were introduced, but no connection came of it.

    The causes, one :exc:`AttemptFailedError` per attempt, are in the :exc:`ExceptionGroup` that
    is this error's ``__cause__``.
    """
