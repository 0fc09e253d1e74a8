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

MAX_DIALLED = 8  # endpoints of a peer, that which the broker sees it at included
MIN_PORT = 1024  # below are services, and nobody's chance local port
_SITE_PREFIX = {4: 24, 6: 64}  # bits that the addresses of one site or carrier have in common


def vet_untrusted(
    candidates: Iterable[Candidate], own: Endpoint, peer: Endpoint, broker: IPAddress
) -> tuple[Candidate, ...]:
    """Those that may be dialled, each endpoint once.

    Args:
        candidates: what the peer says.
        own: where the broker sees us.
        peer: where it sees the peer.
        broker: the broker's address.
    """
    vetted: dict[Endpoint, Candidate] = {}
    for candidate in candidates:
        if _is_acceptable(candidate, own, peer, broker):
            vetted.setdefault(candidate.endpoint, candidate)
    return tuple(vetted.values())[: MAX_DIALLED - 1]


def forbidden_untrusted(
    candidates: Iterable[Candidate], peer: Endpoint, broker: IPAddress
) -> tuple[Candidate, ...]:
    """Those that no honest peer names, each once.

    An address in a private network other than ours is of no use, but all peers behind NATs name
    theirs.

    Args:
        candidates: what the peer says.
        peer: where the broker sees the peer.
        broker: the broker's address.
    """
    return tuple(c for c in dict.fromkeys(candidates) if _is_forbidden(c.endpoint, peer, broker))


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


def _is_acceptable(candidate: Candidate, own: Endpoint, peer: Endpoint, broker: IPAddress) -> bool:
    address = candidate.endpoint.address
    if _is_forbidden(candidate.endpoint, peer, broker) or address == broker:
        return False
    if address == peer.address:  # from where it talks to the broker
        return candidate.kind is CandidateKind.MAPPED
    # The peer may be in our own network, or in that of our carrier.
    return address.version == peer.address.version and _are_neighbours(own.address, peer.address)


def _is_forbidden(endpoint: Endpoint, peer: Endpoint, broker: IPAddress) -> bool:
    """Whether it is a service, nobody's address, or that of a third party, the broker included."""
    if endpoint.port < MIN_PORT or is_special(endpoint.address):
        return True
    if endpoint.address == peer.address:
        return False
    return is_public(endpoint.address) or endpoint.address == broker


def is_special(address: IPAddress) -> bool:
    """Whether the address is no single host's: this host's own, one of many hosts, or of none.

    So are IPv6 addresses that stand for IPv4 ones, whatever these are.
    """
    return any(
        address.version == network.version and address in network for network in _NO_SINGLE_HOSTS
    )


def _are_neighbours(one: IPAddress, other: IPAddress) -> bool:
    network = ipaddress.ip_network((one, _SITE_PREFIX[one.version]), strict=False)
    return one.version == other.version and other in network


_NO_SINGLE_HOSTS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network and host (RFC 1122 3.2.1.3)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local (RFC 3927)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved (RFC 1112 4), and broadcast
        "::/96",  # unspecified, loopback, and IPv4-compatible (RFC 4291 2.5)
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # translated to IPv4 (RFC 6052)
        "64:ff9b:1::/48",  # the same, by a network's own choice (RFC 8215)
        "100::/64",  # to be discarded (RFC 6666)
        "2001::/32",  # Teredo (RFC 4380)
        "2002::/16",  # 6to4 (RFC 3056)
        "fe80::/10",  # link-local (RFC 4291 2.5.6)
        "fec0::/10",  # what was site-local (RFC 3879)
        "ff00::/8",  # multicast (RFC 4291 2.7)
    )
)
