"""Which of a peer's candidates may be dialled. Pure.

A peer says itself where it can be reached, and could name any host. So nothing is dialled there
but what leads to the network that the peer is known to be in.
"""

from __future__ import annotations

from collections.abc import Iterable

from .._addresses import (
    MIN_PORT,
    Endpoint,
    IPAddress,
    Scope,
    is_public,
    is_special,
    scope_of,
    site_of,
)
from .._wire.offer import Candidate, CandidateKind, Nat, Offer, Opening

MAX_DIALLED = 8  # endpoints of a peer, that which the broker sees it at included


def vet_untrusted(
    candidates: Iterable[Candidate], own: Endpoint, peer: Endpoint, broker: IPAddress
) -> tuple[Candidate, ...]:
    """Return the candidates that may be dialled, each endpoint once.

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
    """Return the candidates that no honest peer names, each once.

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
    port_guessing: bool = True,
    opening: Opening = Opening.RECEIVER_HOLDS,
) -> Offer:
    """Make the offer that a peer is told.

    Args:
        nat: what is known of our NATs.
        local: the endpoint that we dial from and accept at.
        mapped: the external endpoint that the router has mapped to it, if there is one.
        port_guessing: whether to take part in guessing ports.
        opening: how to begin, if we are the sender.
    """
    candidates = [] if is_special(local.address) else [Candidate(CandidateKind.HOST, local)]
    if mapped is not None:
        candidates.append(Candidate(CandidateKind.MAPPED, mapped))
    return Offer(nat, tuple(candidates), port_guessing, opening)


def _is_acceptable(candidate: Candidate, own: Endpoint, peer: Endpoint, broker: IPAddress) -> bool:
    address = candidate.endpoint.address
    if _is_forbidden(candidate.endpoint, peer, broker) or address == broker:
        return False
    if address == peer.address:  # from where it talks to the broker
        return candidate.kind is CandidateKind.MAPPED
    # Behind the same NAT, as far as the internet sees. A network that only looks like ours, such
    # as that of a proxy before the broker, does not count, nor do neighbours of one provider: they
    # are strangers.
    is_behind_one_nat = site_of(own.address) == site_of(peer.address)
    is_seen_from_outside = scope_of(own.address) is Scope.INTERNET
    return is_behind_one_nat and is_seen_from_outside and address.version == own.address.version


def _is_forbidden(endpoint: Endpoint, peer: Endpoint, broker: IPAddress) -> bool:
    """Whether an endpoint is a service's, unassigned, or a third party's, like the broker's."""
    if endpoint.port < MIN_PORT or is_special(endpoint.address):
        return True
    if endpoint.address == peer.address:
        return False
    return is_public(endpoint.address) or endpoint.address == broker
