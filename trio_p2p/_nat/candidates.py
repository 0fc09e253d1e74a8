"""Which of a peer's candidates may be dialled. Pure.

A peer says itself where it can be reached, and could name anybody. So nothing is dialled there
but what leads to the network that the peer is known to be in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from .._endpoint import Endpoint, IPAddress
from .._wire.offer import Candidate, CandidateKind, Nat, Offer, Opening
from .behaviour import is_public

MAX_DIALLED = 8
MIN_PORT = 1024  # below are services, and nobody's chance local port
_SITE_PREFIX = {4: 24, 6: 64}  # bits that the addresses of one site or carrier have in common


def vet_untrusted(
    candidates: Iterable[Candidate], own: Endpoint, peer: Endpoint
) -> tuple[Candidate, ...]:
    """Those that may be dialled.

    Args:
        candidates: what the peer says.
        own: where the broker sees us.
        peer: where it sees the peer.
    """
    vetted = (c for c in dict.fromkeys(candidates) if _is_acceptable(c, own, peer))
    return tuple(vetted)[:MAX_DIALLED]


def make_offer(
    nat: Nat,
    local: Endpoint,
    *,
    mapped: Endpoint | None = None,
    birthday: bool = True,
    opening: Opening = Opening.RECEIVER_HOLDS,
) -> Offer:
    """What to tell a peer.

    Args:
        nat: what is known of our NATs.
        local: the endpoint that we dial from and accept at.
        mapped: where the router says that it is reached, if it maps it.
        birthday: whether to take part in guessing ports.
        opening: how to begin, if we are the sender.
    """
    candidates = [] if is_special(local.address) else [Candidate(CandidateKind.HOST, local)]
    if mapped is not None:
        candidates.append(Candidate(CandidateKind.MAPPED, mapped))
    return Offer(nat, tuple(candidates), birthday, opening)


def _is_acceptable(candidate: Candidate, own: Endpoint, peer: Endpoint) -> bool:
    address = candidate.endpoint.address
    if candidate.endpoint.port < MIN_PORT or address.version != peer.address.version:
        return False
    if is_special(address):
        return False
    if address == peer.address:  # from where it talks to the broker
        return candidate.kind is CandidateKind.MAPPED
    # The peer may be in our own network, or in that of our carrier.
    return not is_public(address) and _are_neighbours(own.address, peer.address)


def is_special(address: IPAddress) -> bool:
    """Whether nobody's host can have this address: this host itself, many hosts, or none."""
    return (
        address.is_loopback
        or address.is_multicast
        or address.is_unspecified
        or address.is_link_local
        or (address.version == 4 and address in _RESERVED)
    )


def _are_neighbours(one: IPAddress, other: IPAddress) -> bool:
    network = ipaddress.ip_network((one, _SITE_PREFIX[one.version]), strict=False)
    return one.version == other.version and other in network


_RESERVED = ipaddress.ip_network("240.0.0.0/4")  # RFC 1112 4, and broadcast
