"""What both sides do, by what they know of each other's NATs."""

from ipaddress import IPv6Address
from itertools import product

import attrs
import pytest

from trio_p2p._addresses import Endpoint
from trio_p2p._attempt import Route
from trio_p2p._traversal.candidates import MAX_DIALLED
from trio_p2p._traversal.proofs import Role
from trio_p2p._traversal.strategy import (
    PREDICTIONS,
    Dial,
    PortGuessing,
    Side,
    Strategy,
    strategy_for,
)
from trio_p2p._wire.offer import Candidate, CandidateKind, Nat, Offer, Opening

from .kinds import ADDRESS, OPEN, PORT, RANDOM, RECEIVER, SENDER, SEQUENTIAL, UNKNOWN

FIXED = (OPEN, ADDRESS, PORT)
MOVING = (SEQUENTIAL, RANDOM)


def strategies(
    sender: Nat, receiver: Nat, *, port_guessing: bool = True, mapped: bool = False
) -> tuple[Strategy, Strategy]:
    """The sender's and the receiver's; perhaps with a port mapping of the receiver's."""
    candidates = (Candidate(CandidateKind.MAPPED, RECEIVER),) if mapped else ()
    one = Side(SENDER, Offer(sender, (), port_guessing))
    other = Side(RECEIVER, Offer(receiver, candidates))
    return strategy_for(Role.SENDER, one, other), strategy_for(Role.RECEIVER, other, one)


def ports(strategy: Strategy, route: Route) -> list[int]:
    return [dial.remote.port for dial in strategy.dials if dial.route is route]


@pytest.mark.parametrize(
    ("sender", "receiver"), list(product([UNKNOWN, *FIXED], repeat=2)), ids=str
)
def test_without_a_symmetric_nat_the_receiver_holds_and_the_sender_dials(
    sender: Nat, receiver: Nat
) -> None:
    senders, receivers = strategies(sender, receiver)
    assert senders == Strategy((Dial(RECEIVER, Route.REFLEXIVE, False, True),))
    assert receivers == Strategy((Dial(SENDER, Route.REFLEXIVE, True, True),))


@pytest.mark.parametrize(
    ("opening", "holds", "is_timed"),
    [
        (Opening.RECEIVER_HOLDS, (False, True), False),
        (Opening.CROSSING, (False, False), True),
        (Opening.SENDER_HOLDS, (True, False), False),
    ],
)
def test_the_sender_chooses_who_holds(
    opening: Opening, holds: tuple[bool, bool], is_timed: bool
) -> None:
    one = Side(SENDER, Offer(PORT, opening=opening))
    for said_by_receiver in Opening:
        other = Side(RECEIVER, Offer(PORT, opening=said_by_receiver))
        both = strategy_for(Role.SENDER, one, other), strategy_for(Role.RECEIVER, other, one)
        dials = [dial for strategy in both for dial in strategy.dials]
        assert tuple(dial.is_guarded for dial in dials) == holds
        assert [dial.is_timed for dial in dials] == [is_timed] * 2


@pytest.mark.parametrize(("fixed", "moving"), list(product([OPEN, ADDRESS], MOVING)), ids=str)
def test_a_symmetric_side_dials_where_any_of_its_ports_is_let_in(fixed: Nat, moving: Nat) -> None:
    for senders, receivers in (strategies(moving, fixed), strategies(fixed, moving)[::-1]):
        assert [dial.is_guarded for dial in senders.dials] == [False]
        assert [dial.is_guarded for dial in receivers.dials] == [True]
        assert senders.port_guessing is receivers.port_guessing is None
        assert not senders.needs_order
        assert not receivers.needs_order


def test_ports_that_come_in_sequence_are_held_by_the_other_side_before_they_come() -> None:
    # One of those that may be dialled is where the broker sees the other side.
    expected = [40_000 + 3 * number for number in range(1, MAX_DIALLED)]
    for moving, fixed in (strategies(SEQUENTIAL, PORT), strategies(PORT, SEQUENTIAL)[::-1]):
        assert ports(moving, Route.PREDICTED) == []
        assert not any(dial.is_guarded for dial in moving.dials)
        assert ports(fixed, Route.PREDICTED) == expected
        assert all(dial.is_guarded for dial in fixed.dials)
        assert moving.needs_order
        assert fixed.needs_order


def test_two_sequential_nats_meet_port_by_port() -> None:
    senders, receivers = strategies(SEQUENTIAL, attrs.evolve(SEQUENTIAL, step=-1))
    assert ports(senders, Route.PREDICTED) == list(range(39_999, 39_999 - PREDICTIONS, -1))
    assert ports(receivers, Route.PREDICTED) == list(range(40_003, 40_003 + 3 * PREDICTIONS, 3))
    assert not any(dial.is_guarded for dial in senders.dials)
    assert all(dial.is_guarded for dial in receivers.dials)
    assert senders.needs_order


def test_ports_at_random_are_guessed_by_the_other_side() -> None:
    for moving, fixed in (strategies(RANDOM, PORT), strategies(PORT, RANDOM)[::-1]):
        assert moving.port_guessing is PortGuessing.HOLD
        assert fixed.port_guessing is PortGuessing.GUESS
        assert not moving.is_hopeless


def test_nothing_is_guessed_unless_both_sides_allow_it_and_know_themselves() -> None:
    for strategy in (*strategies(PORT, RANDOM, port_guessing=False), *strategies(UNKNOWN, RANDOM)):
        assert strategy.port_guessing is None
        assert strategy.dials


@pytest.mark.parametrize(
    ("sender", "receiver"), [(RANDOM, RANDOM), (RANDOM, SEQUENTIAL), (SEQUENTIAL, RANDOM)]
)
def test_two_symmetric_nats_need_the_relay_or_a_port_mapping(sender: Nat, receiver: Nat) -> None:
    assert all(
        strategy == Strategy((), is_hopeless=True) for strategy in strategies(sender, receiver)
    )
    senders, receivers = strategies(sender, receiver, mapped=True)
    assert ports(senders, Route.MAPPED) == [RECEIVER.port]
    assert not senders.is_hopeless
    assert not receivers.is_hopeless


@pytest.mark.parametrize("own", [PORT, RANDOM])
def test_what_is_best_is_dialled_first_unless_our_nat_may_count_it(own: Nat) -> None:
    mapped, host = (
        Candidate(kind, Endpoint(RECEIVER.address, port))
        for port, kind in enumerate((CandidateKind.MAPPED, CandidateKind.HOST), start=5000)
    )
    peer = Side(RECEIVER, Offer(OPEN, (mapped, host)))
    strategy = strategy_for(Role.SENDER, Side(SENDER, Offer(own)), peer)
    best = [Route.HOST, Route.MAPPED]
    expected = [*best, Route.REFLEXIVE] if own is PORT else [Route.REFLEXIVE, *best]
    assert [dial.route for dial in strategy.dials] == expected


def test_ipv6_is_a_route_of_its_own_and_nothing_is_guessed_there() -> None:
    one, other = (Endpoint(IPv6Address(f"2001:db8::{n}"), 40_000) for n in (1, 2))
    strategy = strategy_for(Role.SENDER, Side(one, Offer(RANDOM)), Side(other, Offer(PORT)))
    assert strategy == Strategy((Dial(other, Route.IPV6, False, True),))


def test_no_port_is_predicted_that_there_is_not() -> None:
    edge = Side(Endpoint(SENDER.address, 65_530), Offer(SEQUENTIAL))
    strategy = strategy_for(Role.RECEIVER, Side(RECEIVER, Offer(PORT)), edge)
    assert ports(strategy, Route.PREDICTED) == [65_533]


def test_no_service_is_predicted() -> None:
    sequential = attrs.evolve(SEQUENTIAL, step=-1000)
    edge = Side(Endpoint(SENDER.address, 3_500), Offer(sequential))
    strategy = strategy_for(Role.RECEIVER, Side(RECEIVER, Offer(PORT)), edge)
    assert ports(strategy, Route.PREDICTED) == [2_500, 1_500]


@pytest.mark.parametrize("own", [UNKNOWN, *FIXED, *MOVING], ids=str)
@pytest.mark.parametrize("peer", [UNKNOWN, *FIXED, *MOVING], ids=str)
def test_no_more_than_eight_endpoints_are_dialled(own: Nat, peer: Nat) -> None:
    for role, named in product(Role, range(MAX_DIALLED)):
        candidates = tuple(
            Candidate(CandidateKind.MAPPED, Endpoint(SENDER.address, 5_000 + number))
            for number in range(named)
        )
        other = Side(SENDER, Offer(peer, candidates))
        dials = strategy_for(role, Side(RECEIVER, Offer(own)), other).dials
        assert {each.endpoint for each in candidates} <= {dial.remote for dial in dials}
        assert len(dials) <= MAX_DIALLED
        if not (own.is_symmetric or peer.is_symmetric):
            assert SENDER in {dial.remote for dial in dials}
