"""What a broker's message tells both peers, who have to draw the same conclusions from it."""

from ipaddress import IPv4Address
from itertools import product

import pytest

from trio_p2p._addresses import Endpoint, Vantage
from trio_p2p._attempt import Route, Technique
from trio_p2p._traversal.introduction import Introduction
from trio_p2p._traversal.strategy import Side
from trio_p2p._wire.messages import NONCE_BYTES, ReceiverEndpoint, SenderEndpoint
from trio_p2p._wire.offer import Candidate, CandidateKind, Nat, Offer

from ..kit.raw_client import identity_of
from .kinds import OPEN, PORT, RANDOM, RECEIVER, SENDER, SEQUENTIAL, UNKNOWN

BROKER = IPv4Address("198.51.100.1")
VANTAGE = Vantage(IPv4Address("192.168.1.2"), IPv4Address("203.0.113.1"), BROKER)
NONCE = b"n" * NONCE_BYTES
KINDS = [UNKNOWN, OPEN, PORT, SEQUENTIAL, RANDOM]
IN_ORDER = [(SEQUENTIAL, SEQUENTIAL), (SEQUENTIAL, PORT), (PORT, SEQUENTIAL)]


def introductions(
    technique: Technique, sender: Nat, receiver: Nat
) -> tuple[Introduction, Introduction]:
    """The sender's and the receiver's."""
    one, other = Side(SENDER, Offer(sender)), Side(RECEIVER, Offer(receiver))
    certificate = identity_of("peer").certificate

    def introduction(own: Side, message: SenderEndpoint | ReceiverEndpoint) -> Introduction:
        return Introduction.of(technique, message, own, vantage=VANTAGE, broker_round_trip=0.0)

    return (
        introduction(one, ReceiverEndpoint(0, RECEIVER, NONCE, certificate, offer=other.offer)),
        introduction(other, SenderEndpoint(SENDER, NONCE, certificate, offer=one.offer)),
    )


@pytest.mark.parametrize(("sender", "receiver"), list(product(KINDS, repeat=2)), ids=str)
def test_both_leave_the_same_to_the_classic_technique(sender: Nat, receiver: Nat) -> None:
    for each in introductions(Technique.FAST, sender, receiver):
        # What the receiver is like need not be known.
        assert each.needs_classic is (
            (sender, receiver) in IN_ORDER or (sender, receiver) == (SEQUENTIAL, UNKNOWN)
        )
    for each in introductions(Technique.CLASSIC, sender, receiver):
        assert not each.needs_classic


def test_neighbours_leave_nothing_to_it() -> None:
    neighbour = Endpoint(RECEIVER.address, 41_000)
    message = SenderEndpoint(
        neighbour, NONCE, identity_of("peer").certificate, offer=Offer(SEQUENTIAL)
    )
    own = Side(RECEIVER, Offer(SEQUENTIAL))
    introduction = Introduction.of(
        Technique.FAST, message, own, vantage=VANTAGE, broker_round_trip=0.0
    )
    assert not introduction.needs_classic


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    "told", ["127.0.0.1:25", "127.0.0.1:5000", "10.0.0.1:5000", "192.0.2.9:22"]
)
def test_what_the_broker_must_not_name_is_not_dialled(told: str, kind: Nat) -> None:
    host, _, port = told.rpartition(":")
    endpoint = Endpoint(IPv4Address(host), int(port))
    message = SenderEndpoint(endpoint, NONCE, identity_of("peer").certificate, offer=Offer(kind))
    for own in (Nat(), PORT):
        introduction = Introduction.of(
            Technique.FAST,
            message,
            Side(RECEIVER, Offer(own)),
            vantage=VANTAGE,
            broker_round_trip=0.0,
        )
        assert introduction.strategy.dials == ()
        assert introduction.strategy.port_guessing is None
        assert introduction.forbidden == ((Route.REFLEXIVE, endpoint),)


def test_proxy_before_the_broker_makes_no_neighbours() -> None:
    # The broker sees both peers at the address of its proxy, which is none of theirs.
    proxy, local = IPv4Address("172.17.0.1"), IPv4Address("192.168.1.2")
    candidate = Candidate(CandidateKind.HOST, Endpoint(IPv4Address("192.168.1.7"), 5000))
    message = SenderEndpoint(
        Endpoint(proxy, 50_000),
        NONCE,
        identity_of("peer").certificate,
        offer=Offer(candidates=(candidate,)),
    )
    introduction = Introduction.of(
        Technique.FAST,
        message,
        Side(Endpoint(proxy, 50_001), Offer()),
        vantage=Vantage(local, proxy, BROKER),
        broker_round_trip=0.0,
    )
    assert introduction.strategy.dials == ()
