"""What measurements say about the NATs between this host and the internet. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from .._addresses import IPAddress, are_neighbours, is_public

DEFAULT_GUARD_HOPS = 5  # passes most homes and carriers, ends before most other peers' NATs


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
        if hop is not None and (is_public(hop) or are_neighbours(hop, reflexive))
    )
    # One hop at least: a firewall that does no NAT does not show in any address.
    return max(2, next(beyond, len(hops)))
