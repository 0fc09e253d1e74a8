"""Introductions of peers that reach the broker by both versions of IP, or by one."""

import attrs
import pytest

from trio_p2p._broker.connection import Connection, State
from trio_p2p._wire.messages import (
    ID_BYTES,
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    Kill,
    ReceiverEndpoint,
    RefusalCode,
    RelayRequest,
    SenderEndpoint,
    Unregister,
    Update,
)
from trio_p2p._wire.offer import NO_OFFER

from ..kit.raw_client import request
from .registries import NOW, OFFER, Broker, broker as broker, refusal

IPV4_HOST, IPV6_HOST = "203.0.113.5", "2001:db8::5"


def receiver_over_both(broker: Broker) -> tuple[Connection, Connection]:
    """The connections that a receiver is registered on, over IPv4 and over IPv6."""
    return broker.receiver(number=3), broker.receiver(number=4, host=IPV6_HOST)


def test_sender_is_introduced_by_the_version_of_ip_that_it_comes_by(broker: Broker) -> None:
    over_ipv4, over_ipv6 = receiver_over_both(broker)
    broker.say(over_ipv4, Update(OFFER))
    for host, receiver, number, offer in (
        ("203.0.113.7", over_ipv4, 3, OFFER),
        ("2001:db8::7", over_ipv6, 4, NO_OFFER),  # the offer is of the other connection
    ):
        sender = broker.greeted(host=host)
        asked = attrs.evolve(request(5, "alice", "fast"), search=bytes(range(ID_BYTES)))
        (to, told), (_, answer) = broker.say(sender, asked)
        assert to is receiver
        assert isinstance(told, SenderEndpoint)
        assert (told.endpoint, told.search) == (sender.endpoint, asked.search)
        assert told.registration == number
        assert isinstance(answer, ReceiverEndpoint)
        assert (answer.endpoint, answer.offer) == (receiver.endpoint, offer)


def test_the_twelve_steps_over_ipv6(broker: Broker) -> None:
    _, receiver = receiver_over_both(broker)
    sender = broker.greeted(host="2001:db8::7")
    asked = attrs.evolve(request(5, "alice", "classic"), search=bytes(range(ID_BYTES)))
    outgoing = broker.say(sender, asked)
    identifier = broker.tokens[-2]
    assert outgoing == [(receiver, ConnectionRequest(identifier, 4, broker.origin(sender)))]
    wrong = broker.greeted()
    assert refusal(broker.say(wrong, Acknowledge(identifier)), wrong).reason == (
        "this comes by another version of IP"
    )
    punching = broker.greeted(host=IPV6_HOST)
    ((_, told),) = broker.say(punching, Acknowledge(identifier))
    assert isinstance(told, SenderEndpoint)
    assert (told.search, told.registration) == (asked.search, None)
    ((_, answer),) = broker.say(broker.greeted(), HolePunched(identifier))
    assert isinstance(answer, ReceiverEndpoint)
    assert answer.endpoint == punching.endpoint


@pytest.mark.parametrize("technique", ["fast", "classic"])
@pytest.mark.parametrize("hosts", [(IPV4_HOST, IPV6_HOST), (IPV6_HOST, IPV4_HOST)])
def test_peers_that_have_no_version_of_ip_in_common(
    broker: Broker, hosts: tuple[str, str], technique: str
) -> None:
    receiver, sender, asking = (broker.greeted(host=host) for host in (*hosts, hosts[1]))
    broker.register(receiver)
    refused = refusal(broker.say(sender, request(5, "alice", technique)), sender)
    assert (refused.code, refused.number) == (RefusalCode.OTHER_IP_VERSION, 5)
    assert broker.registry.pending_introductions == 0
    assert not sender.is_closed
    ((_, asked),) = broker.say(asking, request(6, "alice", "relay"))
    assert isinstance(asked, RelayRequest)


@pytest.mark.parametrize("host", [IPV4_HOST, IPV6_HOST])
def test_relay_is_asked_for_over_ipv4_as_long_as_there_is_one(broker: Broker, host: str) -> None:
    over_ipv4, over_ipv6 = receiver_over_both(broker)
    for receiver, number in ((over_ipv4, 3), (over_ipv6, 4)):
        ((to, asked),) = broker.say(broker.greeted(host=host), request(5, "alice", "relay"))
        assert to is receiver
        assert isinstance(asked, RelayRequest)
        assert asked.registration == number
        broker.registry.disconnected(over_ipv4, NOW)


@pytest.mark.parametrize("is_ipv4_lost", [False, True])
def test_loss_of_one_version_leaves_the_other(broker: Broker, is_ipv4_lost: bool) -> None:
    connections = receiver_over_both(broker)
    lost, kept = connections if is_ipv4_lost else connections[::-1]
    (waiting_for_lost, _), (waiting_for_kept, _) = (
        broker.waiting(host=host)
        for host in ((IPV4_HOST, IPV6_HOST) if is_ipv4_lost else (IPV6_HOST, IPV4_HOST))
    )
    refused = refusal(broker.registry.disconnected(lost, NOW), waiting_for_lost)
    assert refused.code is RefusalCode.RECEIVER_LOST
    assert waiting_for_kept.state is State.WAITING
    assert broker.registry.uids == {"alice"}
    assert broker.registry.reserved == 0
    sender = broker.greeted(host=IPV4_HOST if is_ipv4_lost else IPV6_HOST)
    refused = refusal(broker.say(sender, request(5, "alice", "fast")), sender)
    assert refused.code is RefusalCode.OTHER_IP_VERSION
    # It is reserved when the other one is lost, too.
    broker.registry.disconnected(kept, NOW)
    assert broker.registry.uids == frozenset()
    assert broker.registry.reserved == 1


def test_name_is_given_back_over_each_version(broker: Broker) -> None:
    over_ipv4, over_ipv6 = receiver_over_both(broker)
    broker.say(over_ipv4, Unregister(3))
    assert broker.registry.uids == {"alice"}
    broker.say(over_ipv6, Kill())
    assert broker.registry.uids == frozenset()
    assert broker.registry.reserved == 0


def test_another_instance_takes_both_over(broker: Broker) -> None:
    over_ipv4, over_ipv6 = receiver_over_both(broker)
    newer = broker.greeted()
    *refusals, _ = broker.register(newer, instance=1)
    assert [(to, getattr(told, "number", None)) for to, told in refusals] == [
        (over_ipv4, 3),
        (over_ipv6, 4),
    ]
    assert over_ipv4.registration is over_ipv6.registration is None
    sender = broker.greeted(host=IPV6_HOST)
    refused = refusal(broker.say(sender, request(5, "alice", "fast")), sender)
    assert refused.code is RefusalCode.OTHER_IP_VERSION


def test_same_instance_takes_over_what_comes_by_the_same_version(broker: Broker) -> None:
    over_ipv4, over_ipv6 = receiver_over_both(broker)
    newer = broker.greeted(host=IPV6_HOST)
    (to, refused), (_, _) = broker.register(newer)
    assert (to, getattr(refused, "number", None)) == (over_ipv6, 4)
    assert over_ipv4.registration is not None
    # What is lost late is not the newer one.
    broker.registry.disconnected(over_ipv6, NOW)
    (to, _), _ = broker.say(broker.greeted(host=IPV6_HOST), request(5, "alice", "fast"))
    assert to is newer
