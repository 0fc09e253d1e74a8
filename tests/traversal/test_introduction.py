"""What a broker's message tells both peers, who have to draw the same conclusions from it."""

from ipaddress import IPv4Address
from itertools import product

import pytest

from trio_p2p._addresses import Endpoint
from trio_p2p._attempt import Technique
from trio_p2p._traversal.introduction import Introduction
from trio_p2p._traversal.strategy import Side
from trio_p2p._wire.messages import NONCE_BYTES, ReceiverEndpoint, SenderEndpoint
from trio_p2p._wire.offer import Nat, Offer

from ..kit.raw_client import identity_of
from .kinds import OPEN, PORT, RANDOM, RECEIVER, SENDER, SEQUENTIAL, UNKNOWN

BROKER = IPv4Address("198.51.100.1")
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
        return Introduction.of(technique, message, own, broker=BROKER, broker_round_trip=0.0)

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
        Technique.FAST, message, own, broker=BROKER, broker_round_trip=0.0
    )
    assert not introduction.needs_classic
