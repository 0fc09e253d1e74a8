"""Introductions in which ports are guessed: the rule is the peers', and a source gets only some."""

import itertools
from ipaddress import ip_address

import attrs
import pytest

from trio_p2p._addresses import Endpoint
from trio_p2p._broker.guessing import would_guess
from trio_p2p._broker.limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from trio_p2p._broker.source_limits import (
    GUESSING_TIME,
)
from trio_p2p._traversal.proofs import Role
from trio_p2p._traversal.strategy import Side, strategy_for
from trio_p2p._wire.messages import (
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    ReceiverEndpoint,
    SenderEndpoint,
    Update,
)
from trio_p2p._wire.offer import Allocation, Behaviour, Nat, Offer

from ..kit.raw_client import request
from .registries import NOW, Broker

SYMMETRIC = Offer(Nat(Behaviour.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation.RANDOM))
FIXED = Offer(Nat(Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ADDRESS_AND_PORT_DEPENDENT))
FEW = BrokerLimits(guessings=2)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_rule_is_that_of_the_peers(host: str) -> None:
    offers = [
        Offer(Nat(mapping, filtering, allocation), port_guessing=port_guessing)
        for mapping in (None, *Behaviour)
        for filtering in (None, *Behaviour)
        for allocation in (None, *Allocation)
        for port_guessing in (False, True)
    ]
    endpoint = Endpoint(ip_address(host), 40000)
    seen = set()
    for one, other in itertools.product(offers, repeat=2):
        strategies = [
            strategy_for(role, Side(endpoint, own), Side(endpoint, peer))
            for role, own, peer in ((Role.SENDER, one, other), (Role.RECEIVER, other, one))
        ]
        expected = any(strategy.port_guessing is not None for strategy in strategies)
        assert would_guess(endpoint, one, other) is expected
        seen.add(expected)
    assert seen == ({False, True} if endpoint.address.version == 4 else {False})


def guesses(
    broker: Broker, uid: str = "alice", host: str = "192.0.2.1", now: float = NOW
) -> list[bool]:
    """Whether the peers of a fast introduction are told that the other one guesses."""
    asking = attrs.evolve(request(0, uid, "fast"), offer=SYMMETRIC)
    (_, told_receiver), (_, told_sender) = broker.say(broker.greeted(host=host), asking, now=now)
    assert isinstance(told_receiver, SenderEndpoint)
    assert isinstance(told_sender, ReceiverEndpoint)
    assert told_receiver.offer.nat == SYMMETRIC.nat
    assert told_sender.offer.nat == FIXED.nat
    return [told_receiver.offer.port_guessing, told_sender.offer.port_guessing]


@pytest.fixture
def broker() -> Broker:
    broker = Broker(limits=FEW)
    for uid in ("alice", "bob"):
        broker.say(broker.receiver(uid), Update(FIXED))
    return broker


def test_one_source_guesses_a_few_times_a_minute_over_all_uids(broker: Broker) -> None:
    assert guesses(broker, "alice") == guesses(broker, "bob") == [True, True]
    assert guesses(broker, "alice") == guesses(broker, "bob") == [False, False]
    assert guesses(broker, "alice", "192.0.2.2") == [True, True]
    assert guesses(broker, "alice", now=NOW + GUESSING_TIME) == [True, True]


def test_other_introductions_do_not_count(broker: Broker) -> None:
    for number in range(10):
        (_, told), _ = broker.say(broker.greeted(host="192.0.2.1"), request(number, "bob", "fast"))
        assert isinstance(told, SenderEndpoint)
        assert told.offer.port_guessing
    assert guesses(broker) == [True, True]


def test_classic_introductions_count_as_well(broker: Broker) -> None:
    asking = attrs.evolve(request(0, "alice", "classic"), offer=FIXED)
    told = []
    for _ in range(3):
        ((_, asked),) = broker.say(broker.greeted(host="192.0.2.1"), asking)
        assert isinstance(asked, ConnectionRequest)
        acknowledging = Acknowledge(asked.introduction, SYMMETRIC)
        ((_, told_receiver),) = broker.say(broker.greeted(), acknowledging)
        assert isinstance(told_receiver, SenderEndpoint)
        ((_, told_sender),) = broker.say(broker.greeted(), HolePunched(asked.introduction))
        assert isinstance(told_sender, ReceiverEndpoint)
        told.append((told_receiver.offer.port_guessing, told_sender.offer.port_guessing))
    assert told == [(True, True), (True, True), (False, False)]


def test_limit_is_a_few() -> None:
    assert 3 <= DEFAULT_BROKER_LIMITS.guessings <= 10
