"""What measurements say about the NATs between this host and the internet. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from .._endpoint import IPAddress

DEFAULT_GUARD_HOPS = 5  # passes most homes and carriers, ends before most other peers' NATs

# ipaddress.is_private counts the documentation networks too, which laboratories use as public.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598, between a carrier's NAT and its customers
        "169.254.0.0/16",  # RFC 3927
        "fc00::/7",  # RFC 4193
        "fe80::/10",  # RFC 4291
    )
)


def is_public(address: IPAddress) -> bool:
    """Whether the address belongs to the internet, not to a network behind a NAT."""
    return not any(
        address.version == network.version and address in network for network in _NOT_PUBLIC
    )


def guard_hops(hops: Sequence[IPAddress | None], reflexive: IPAddress) -> int:
    """How many hops a guarded SYN should live: beyond our own NATs, not up to the peer's.

    Args:
        hops: the routers on the way to the broker, nearest first, None for one that is silent;
            as :func:`~trio_p2p._nat.probe.near_hops` finds them.
        reflexive: this host's address as the broker sees it.
    """
    if not hops:
        return DEFAULT_GUARD_HOPS
    beyond = (
        distance
        for distance, hop in enumerate(hops, start=1)
        if hop is not None and (is_public(hop) or _are_neighbours(hop, reflexive))
    )
    # One hop at least: a firewall that does no NAT does not show in any address.
    return max(2, next(beyond, len(hops)))


def _are_neighbours(hop: IPAddress, reflexive: IPAddress) -> bool:
    """Whether the hop is on the outer side of the NAT that owns the reflexive address."""
    prefix = 24 if reflexive.version == 4 else 64
    return hop in ipaddress.ip_network((reflexive, prefix), strict=False)
