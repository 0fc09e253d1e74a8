"""Introductions of peers that reach the broker by both versions of IP, or by one."""

import attrs
import pytest

from trio_p2p._broker.connection import Connection, State
from trio_p2p._broker.registry import IPV6_TIME
from trio_p2p._wire.messages import (
    ID_BYTES,
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    Kill,
    ReceiverEndpoint,
    RefusalCode,
    Registered,
    RegisterIPv6,
    RelayRequest,
    SenderEndpoint,
    Update,
)
from trio_p2p._wire.offer import NO_OFFER

from ..kit.raw_client import BROKER, identity_of, registration, request
from .registries import ALICE, NOW, OFFER, Broker, broker as broker, refusal

IPV6_HOST = "2001:db8::5"


def found_over_ipv6(broker: Broker, uid: str = "alice", now: float = NOW) -> Connection:
    """A connection by which a registered receiver has told where it is over IPv6."""
    telling = broker.greeted(host=IPV6_HOST)
    proof = registration(uid, telling.challenge)
    told = RegisterIPv6(uid, BROKER, proof.certificate, proof.signature)
    assert broker.say(telling, told, now=now) == [(telling, Registered(telling.endpoint))]
    assert telling.is_closed
    return telling


def test_sender_is_introduced_by_the_version_of_ip_that_it_comes_by(broker: Broker) -> None:
    receiver = broker.receiver()
    broker.say(receiver, Update(OFFER))
    endpoint = found_over_ipv6(broker).endpoint
    for host, expected, offer in (
        ("203.0.113.7", receiver.endpoint, OFFER),
        ("2001:db8::7", endpoint, NO_OFFER),  # the offer is about IPv4
    ):
        sender = broker.greeted(host=host)
        asked = attrs.evolve(request(5, "alice", "fast"), search=bytes(range(ID_BYTES)))
        (_, told), (_, answer) = broker.say(sender, asked)
        assert isinstance(told, SenderEndpoint)
        assert (told.endpoint, told.search) == (sender.endpoint, asked.search)
        assert isinstance(answer, ReceiverEndpoint)
        assert (answer.endpoint, answer.offer) == (expected, offer)


def test_the_twelve_steps_over_ipv6(broker: Broker) -> None:
    receiver = broker.receiver()
    found_over_ipv6(broker)
    sender = broker.greeted(host="2001:db8::7")
    asked = attrs.evolve(request(5, "alice", "classic"), search=bytes(range(ID_BYTES)))
    outgoing = broker.say(sender, asked)
    identifier = broker.tokens[-2]
    assert outgoing == [(receiver, ConnectionRequest(identifier, 6, broker.origin(sender)))]
    wrong = broker.greeted()
    assert refusal(broker.say(wrong, Acknowledge(identifier)), wrong).reason == (
        "this comes by another version of IP"
    )
    punching = broker.greeted(host=IPV6_HOST)
    ((_, told),) = broker.say(punching, Acknowledge(identifier))
    assert isinstance(told, SenderEndpoint)
    assert told.search == asked.search
    ((_, answer),) = broker.say(broker.greeted(), HolePunched(identifier))
    assert isinstance(answer, ReceiverEndpoint)
    assert answer.endpoint == punching.endpoint


@pytest.mark.parametrize("technique", ["fast", "classic"])
@pytest.mark.parametrize("hosts", [("203.0.113.5", IPV6_HOST), (IPV6_HOST, "203.0.113.5")])
def test_peers_that_have_no_version_of_ip_in_common(
    broker: Broker, hosts: tuple[str, str], technique: str
) -> None:
    receiver, sender = (broker.greeted(host=host) for host in hosts)
    broker.register(receiver)
    refused = refusal(broker.say(sender, request(5, "alice", technique)), sender)
    assert (refused.code, refused.number) == (RefusalCode.OTHER_IP_VERSION, 5)
    assert broker.registry.pending_introductions == 0
    assert sender.state is State.SENDER
    ((_, asked),) = broker.say(sender, request(6, "alice", "relay"))
    assert isinstance(asked, RelayRequest)


def test_ipv6_endpoint_is_forgotten_unless_it_is_told_again(broker: Broker) -> None:
    receiver = broker.receiver()
    found_over_ipv6(broker)
    again = found_over_ipv6(broker, now=NOW + 1)
    assert receiver.reach(6, NOW + IPV6_TIME) == (again.endpoint, NO_OFFER)
    assert receiver.reach(6, NOW + 1 + IPV6_TIME) is None


def test_ipv6_endpoint_ends_with_the_registration(broker: Broker) -> None:
    broker.say(broker.receiver(), Kill())
    telling = broker.greeted(host=IPV6_HOST)
    proof = registration("alice", telling.challenge)
    told = RegisterIPv6("alice", BROKER, proof.certificate, proof.signature)
    assert refusal(broker.say(telling, told), telling).code is RefusalCode.UNKNOWN_UID


def test_nobody_else_tells_where_a_receiver_is(broker: Broker) -> None:
    receiver = broker.receiver()
    other = identity_of("mallory")
    recorded = broker.greeted(host=IPV6_HOST).challenge
    for identity, challenge, code in (
        (other, None, RefusalCode.UID_TAKEN),
        (ALICE, recorded, RefusalCode.IDENTITY_NOT_PROVEN),
    ):
        telling = broker.greeted(host=IPV6_HOST)
        signature = identity.sign_registration(challenge or telling.challenge, BROKER, "alice")
        told = RegisterIPv6("alice", BROKER, identity.certificate, signature)
        assert refusal(broker.say(telling, told), telling).code is code
        assert receiver.ipv6 is None


def test_ipv4_endpoint_is_told_by_the_registration_only(broker: Broker) -> None:
    receiver = broker.receiver()
    telling = broker.greeted()
    proof = registration("alice", telling.challenge)
    told = RegisterIPv6("alice", BROKER, proof.certificate, proof.signature)
    refused = refusal(broker.say(telling, told), telling)
    assert refused.reason == "this does not come over IPv6"
    assert receiver.ipv6 is None
