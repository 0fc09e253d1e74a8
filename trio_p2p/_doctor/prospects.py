"""Towards which peers a direct connection is to be expected. Pure."""

from __future__ import annotations

import enum
from ipaddress import IPv4Address

import attrs

from .._addresses import Endpoint
from .._nat.findings import Survey
from .._traversal.proofs import Role
from .._traversal.strategy import Side, strategy_for
from .._wire.offer import Allocation, Behaviour, Nat, Offer


class Prospect(enum.StrEnum):
    """What comes of a connection to a peer."""

    DIRECT = "direct"
    PREDICTED = "direct or relay, by predicting a port"
    GUESSED = "direct or relay, by guessing a port"
    RELAYED = "relay"
    UNKNOWN = "not known"


@attrs.frozen
class Peer:
    """A kind of peer.

    Attributes:
        description: the kind in words.
        nat: what its NATs do.
    """

    description: str
    nat: Nat


_SYMMETRIC = Nat(
    Behaviour.ADDRESS_AND_PORT_DEPENDENT,
    Behaviour.ADDRESS_AND_PORT_DEPENDENT,
    Allocation.RANDOM,
)
PEERS = (
    Peer(
        "on the internet, or with a mapped port",
        Nat(Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ENDPOINT_INDEPENDENT, Allocation.PRESERVING),
    ),
    Peer(
        "behind a NAT like that of most homes",
        Nat(
            Behaviour.ENDPOINT_INDEPENDENT,
            Behaviour.ADDRESS_AND_PORT_DEPENDENT,
            Allocation.PRESERVING,
        ),
    ),
    Peer(
        "behind a NAT that counts its ports up",
        attrs.evolve(_SYMMETRIC, allocation=Allocation.SEQUENTIAL, step=1),
    ),
    Peer("behind a NAT with random ports", _SYMMETRIC),
)
# Anywhere, but not in the same place.
_OURS, _THEIRS = (Endpoint(IPv4Address(text), 40_000) for text in ("192.0.2.1", "198.51.100.1"))


def prospect_of(survey: Survey, peer: Peer) -> Prospect:
    """What to expect of a connection between this host and a peer of a kind."""
    if survey.mapped_externally is not None:
        return Prospect.DIRECT  # whatever the NATs do else
    if survey.nat.mapping is None:
        return Prospect.UNKNOWN
    own, other = Side(_OURS, Offer(survey.nat)), Side(_THEIRS, Offer(peer.nat))
    strategy = strategy_for(Role.SENDER, own, other)
    if strategy.is_hopeless:
        return Prospect.RELAYED
    if strategy.port_guessing is not None:
        return Prospect.GUESSED
    return Prospect.PREDICTED if strategy.needs_order else Prospect.DIRECT
