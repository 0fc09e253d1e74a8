"""Where to dial a peer, and how, by what is known of both sides' NATs. Pure.

All that may work is tried at once, from one local port, and the first connection that leads to the
peer wins. What cannot work is not tried: a SYN too many may close a hole.
"""

from __future__ import annotations

import enum

import attrs

from .._addresses import MIN_PORT, Endpoint
from .._attempt import Route
from .._wire.offer import CandidateKind, Nat, Offer, Opening
from .candidates import MAX_DIALLED
from .proofs import Role

PREDICTIONS = 8  # ports that a sequential NAT may give next


@attrs.frozen
class Side:
    """One of the two peers.

    Attributes:
        endpoint: where the broker sees the peer.
        offer: what it says of itself.
    """

    endpoint: Endpoint
    offer: Offer

    @property
    def nat(self) -> Nat:
        """What it knows of its NATs."""
        return self.offer.nat


@attrs.frozen
class Dial:
    """An endpoint to dial from our port.

    Attributes:
        remote: the endpoint.
        route: how we came by the endpoint.
        is_guarded: whether the SYN is held, and dies on the way; else it goes all the way.
        is_told: whether the broker has told us of it: no other host is going to answer there.
        is_timed: whether the SYN leaves when the peer's does, so that they cross.
    """

    remote: Endpoint
    route: Route
    is_guarded: bool
    is_told: bool
    is_timed: bool = False


class PortGuessing(enum.Enum):
    """What a side does when one of the two NATs gives ports at random."""

    HOLD = "hold"
    """The own NAT gives ports at random: open many holes."""
    GUESS = "guess"
    """The peer's NAT gives ports at random: dial very many of them."""


@attrs.frozen
class Strategy:
    """What to do to connect to a peer.

    Attributes:
        dials: where to dial.
        port_guessing: what to do besides.
        is_hopeless: whether nothing of it can lead to the peer.
        needs_order: whether it can only work if the receiver punches first, and both have just
            been told where the other one is: in the classic technique.
    """

    dials: tuple[Dial, ...]
    port_guessing: PortGuessing | None = None
    is_hopeless: bool = False
    needs_order: bool = False

    def without_told(self) -> Strategy:
        """Return what is left if nothing leads to where the broker says that the peer is."""
        is_besides = (Route.HOST, Route.MAPPED)
        dials = tuple(dial for dial in self.dials if dial.route in is_besides)
        return attrs.evolve(self, dials=dials, port_guessing=None)


def reflexive_route(ip_version: int) -> Route:
    """The route to where the broker sees a peer by that version of IP."""
    return Route.REFLEXIVE if ip_version == 4 else Route.IPV6


def strategy_for(role: Role, own: Side, peer: Side) -> Strategy:
    """How to connect.

    Args:
        role: ours.
        own: what is known of us.
        peer: what is known of the peer; its candidates have been vetted.
    """
    besides = tuple(
        Dial(candidate.endpoint, ROUTES[candidate.kind], is_guarded=False, is_told=False)
        for candidate in sorted(peer.offer.candidates, key=lambda each: _ORDER.index(each.kind))
    )
    mapped = [
        candidate
        for candidate in (*own.offer.candidates, *peer.offer.candidates)
        if candidate.kind is CandidateKind.MAPPED
    ]
    dials: tuple[Dial, ...]
    port_guessing: PortGuessing | None
    if own.nat.is_symmetric and peer.nat.is_symmetric:
        dials, port_guessing = _between_two_symmetric(role, own.nat, peer), None
    elif own.nat.is_symmetric or peer.nat.is_symmetric:
        dials, port_guessing = _with_one_symmetric(own, peer)
    else:
        opening = (own if role is Role.SENDER else peer).offer.opening
        dials, port_guessing = (_opened(role, opening, peer),), None
    dials = dials[: MAX_DIALLED - len(besides)]
    # What is best comes first; but our own NAT may count ports, and so give what is predicted to
    # another dial.
    return Strategy(
        dials + besides if own.nat.is_symmetric else besides + dials,
        port_guessing,
        is_hopeless=not (besides or dials or port_guessing or mapped),
        needs_order=_is_predicted(own, peer)
        and not mapped
        and own.endpoint.address != peer.endpoint.address,  # else it may be a neighbour
    )


def _opened(role: Role, opening: Opening, peer: Side) -> Dial:
    """The side that does not hold dials: one SYN opens a hole, the other one finds it."""
    is_timed = opening is Opening.CROSSING
    return attrs.evolve(_reflexive(peer, is_guarded=_HOLDS[opening] is role), is_timed=is_timed)


def _between_two_symmetric(role: Role, own: Nat, peer: Side) -> tuple[Dial, ...]:
    """Each side's n-th connection comes from the n-th port to come, and goes to the other's."""
    if not own.is_sequential or not peer.nat.is_sequential:
        return ()
    return _predicted(peer, is_guarded=role is Role.RECEIVER)


def _with_one_symmetric(own: Side, peer: Side) -> tuple[tuple[Dial, ...], PortGuessing | None]:
    """The side whose ports move dials; the other one, whose port stays, makes the holes."""
    if own.nat.is_symmetric:
        port_guessing = PortGuessing.HOLD if _needs_guessing(own, peer) else None
        return (_reflexive(peer, is_guarded=False),), port_guessing
    predicted = _predicted(peer, is_guarded=True) if _is_predicted(own, peer) else ()
    dials = (_reflexive(peer, is_guarded=True), *predicted)
    return dials, PortGuessing.GUESS if _needs_guessing(peer, own) else None


def _is_predicted(own: Side, peer: Side) -> bool:
    """Whether a port has to be told beforehand that a NAT is going to give."""
    moving = [side.nat for side in (own, peer) if side.nat.is_symmetric]
    fixed = [side.nat for side in (own, peer) if not side.nat.is_symmetric]
    return (
        bool(moving)
        and all(nat.is_sequential for nat in moving)
        and not any(nat.lets_other_ports_in for nat in fixed)
    )


def _needs_guessing(moving: Side, fixed: Side) -> bool:
    """Whether a port has to be guessed that a NAT gives at random, and both sides know so."""
    if fixed.endpoint.address.version == 6:
        return False  # there are no such NATs, and a guarded SYN there needs more care
    allows = (
        moving.offer.port_guessing and fixed.offer.port_guessing and fixed.nat.mapping is not None
    )
    return allows and not moving.nat.is_sequential and not fixed.nat.lets_other_ports_in


def _reflexive(peer: Side, *, is_guarded: bool) -> Dial:
    route = reflexive_route(peer.endpoint.address.version)
    return Dial(peer.endpoint, route, is_guarded, is_told=True)


def _predicted(peer: Side, *, is_guarded: bool) -> tuple[Dial, ...]:
    address, port, step = peer.endpoint.address, peer.endpoint.port, peer.nat.step or 1
    ports = range(port + step, port + step * (PREDICTIONS + 1), step)
    return tuple(
        Dial(Endpoint(address, each), Route.PREDICTED, is_guarded, is_told=False)
        for each in ports
        if MIN_PORT <= each < 65536
    )


_HOLDS = {
    Opening.RECEIVER_HOLDS: Role.RECEIVER,
    Opening.CROSSING: None,
    Opening.SENDER_HOLDS: Role.SENDER,
}
# By RFC 8445 5.1.2.2 and RFC 6544 4.2, where these are preferred by 126 and 105, what is reflexive
# by 100.
_ORDER = (CandidateKind.HOST, CandidateKind.MAPPED)
ROUTES = {CandidateKind.HOST: Route.HOST, CandidateKind.MAPPED: Route.MAPPED}
