"""What a peer tells the other one of how it can be reached. Pure.

The broker passes it on as it is; the peer that gets it believes none of it without need.
"""

from __future__ import annotations

import enum
from typing import Any

import attrs

from .._addresses import Endpoint
from .checks import check_endpoint, check_integer

MAX_CANDIDATES = 8
MAX_STEP = 4096  # between two ports of a NAT that allocates in sequence


class Behaviour(enum.StrEnum):
    """What a NAT's mapping or filtering depends on (RFC 4787 4.1 and 5, RFC 5382)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Allocation(enum.StrEnum):
    """How a NAT chooses the port of a new mapping."""

    PRESERVING = "port-preserving"
    SEQUENTIAL = "sequential"
    RANDOM = "random"


class CandidateKind(enum.StrEnum):
    """How a peer came by an endpoint of its own (RFC 8445 5.1.1)."""

    HOST = "host"
    """The address of a local interface."""
    MAPPED = "mapped"
    """A port that the router was asked to map."""


class Opening(enum.StrEnum):
    """Which of two peers opens the hole, and which one comes through it; the sender's choice."""

    RECEIVER_HOLDS = "receiver holds"
    """The receiver's SYN is guarded and held; the sender dials."""
    CROSSING = "crossing"
    """Both dial at the same time: the SYNs cross on the way, each behind the hole of the other."""
    SENDER_HOLDS = "sender holds"
    """The sender's SYN is guarded and held; the receiver dials."""


@attrs.frozen
class Candidate:
    """An endpoint that a peer may be reached at, besides the one that the broker sees.

    Attributes:
        kind: how the peer came by it.
        endpoint: the IP address and the port.
    """

    kind: CandidateKind
    endpoint: Endpoint


@attrs.frozen
class Nat:
    """What the NATs before a peer were seen to do, as one. None: not known.

    Attributes:
        mapping: what the port of a mapping depends on.
        filtering: whom a mapping lets in.
        allocation: how the port of a new mapping is chosen.
        step: between the ports of two mappings made one after the other, if that is sequential.
    """

    mapping: Behaviour | None = None
    filtering: Behaviour | None = None
    allocation: Allocation | None = None
    step: int = 0

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return self != Nat()

    @property
    def is_symmetric(self) -> bool:
        """Whether the port depends on whom it leads to, so that the broker sees another one."""
        return self.mapping not in (None, Behaviour.ENDPOINT_INDEPENDENT)

    @property
    def is_sequential(self) -> bool:
        """Whether the port of the next mapping can be told beforehand."""
        return self.allocation is Allocation.SEQUENTIAL

    @property
    def lets_other_ports_in(self) -> bool:
        """Whether a mapping lets in packets from another port than it leads to."""
        return self.filtering in (Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ADDRESS_DEPENDENT)


@attrs.frozen
class Offer:
    """What one peer tells the other one.

    Attributes:
        nat: what it knows of its NATs.
        candidates: where else it may be reached.
        port_guessing: whether it takes part in guessing ports.
        opening: how to begin; what a receiver says of it does not count.
    """

    nat: Nat = Nat()
    candidates: tuple[Candidate, ...] = ()
    port_guessing: bool = True
    opening: Opening = Opening.RECEIVER_HOLDS


NO_OFFER = Offer()


def encode_offer(offer: Offer) -> list[object] | None:
    """Turn an offer into what msgpack packs; None if there is nothing to say."""
    if offer is NO_OFFER or offer == NO_OFFER:  # mostly it is: quicker than to compare
        return None
    nat = offer.nat
    return [
        [nat.mapping, nat.filtering, nat.allocation, nat.step],
        [[c.kind, c.endpoint.address.packed, c.endpoint.port] for c in offer.candidates],
        offer.port_guessing,
        offer.opening,
    ]


def check_offer(value: Any) -> Offer:
    """The offer that was encoded; else ValueError says what is wrong with it."""
    match value:
        case [
            [mapping, filtering, allocation, step],
            [*candidates],
            bool(port_guessing),
            str(opening),
        ]:
            pass
        case _:
            raise ValueError("not an offer")
    if len(candidates) > MAX_CANDIDATES:
        raise ValueError(f"more than {MAX_CANDIDATES} candidates")
    nat = Nat(
        _check_known(Behaviour, mapping),
        _check_known(Behaviour, filtering),
        _check_known(Allocation, allocation),
        _check_step(step),
    )
    # Of a kind that only later versions know: not for us.
    known = tuple(c for c in map(_check_candidate, candidates) if c is not None)
    offer = Offer(nat, known, port_guessing, _KNOWN[Opening].get(opening, Opening.RECEIVER_HOLDS))
    return NO_OFFER if offer == NO_OFFER else offer  # the broker holds thousands of them


_check_step = check_integer(-MAX_STEP, MAX_STEP)


def _check_known(kind: Any, value: object) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("not a trait of a NAT")
    return _KNOWN[kind].get(value)


def _check_candidate(value: Any) -> Candidate | None:
    match value:
        case [str(kind), packed, port]:
            endpoint = check_endpoint([packed, port])
            known = _KNOWN[CandidateKind].get(kind)
            return None if known is None else Candidate(known, endpoint)
        case _:
            raise ValueError("not a candidate: kind, address and port")


_KNOWN: dict[Any, dict[object, Any]] = {
    kind: {str(each): each for each in kind}
    for kind in (Behaviour, Allocation, CandidateKind, Opening)
}
