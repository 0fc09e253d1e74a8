"""Receivers without room decline: the sender is told at once, and no other connection."""

import attrs
import pytest

from trio_p2p._broker.connection import Connection, State
from trio_p2p._broker.registry import SILENCE_TIME
from trio_p2p._broker.told import MAX_TOLD, TOLD_TIME
from trio_p2p._wire.messages import (
    ID_BYTES,
    NONCE_BYTES,
    ORIGIN_BYTES,
    SIGNATURE_BYTES,
    Acknowledge,
    ConnectionRequest,
    Decline,
    KeepAlive,
    RefusalCode,
    Refused,
    RelayRequest,
    SenderEndpoint,
    Unregister,
)

from ..kit.raw_client import request
from .registries import NOW, Broker, broker as broker, refusal


def fast(broker: Broker, sender: Connection, number: int = 5, now: float = NOW) -> bytes:
    """Ask for alice; the nonce."""
    (_, told), _ = broker.say(sender, request(number, "alice", "fast"), now=now)
    assert isinstance(told, SenderEndpoint)
    return told.nonce


def test_sender_of_a_fast_introduction_is_told(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    nonce, other = fast(broker, sender, 5), fast(broker, sender, 6)
    refused = refusal(broker.say(receiver, Decline(nonce=nonce, retry_after=700)), sender)
    assert (refused.code, refused.number, refused.retry_after) == (RefusalCode.BUSY, 5, 700)
    assert sender.state is State.CONTROL  # its connection goes on
    assert refusal(broker.say(receiver, Decline(nonce=other)), sender).number == 6


@pytest.mark.parametrize("technique", ["classic", "relay"])
def test_sender_that_waits_is_told(broker: Broker, technique: str) -> None:
    receiver = broker.receiver()
    sender, introduction = broker.waiting(number=7, technique=technique)
    refused = refusal(broker.say(receiver, Decline(introduction, retry_after=700)), sender)
    assert (refused.code, refused.number, refused.retry_after) == (RefusalCode.BUSY, 7, 700)
    assert sender.is_closed
    assert broker.registry.pending_introductions == 0
    assert broker.registry.circuits == 0


def test_declining_counts_as_a_sign_of_life(broker: Broker) -> None:
    receiver = broker.receiver()
    broker.say(receiver, Decline(), now=NOW + 40)
    assert receiver.deadline == NOW + 40 + SILENCE_TIME


@pytest.mark.parametrize(
    "decline", [Decline(), Decline(bytes(ID_BYTES)), Decline(nonce=bytes(NONCE_BYTES))]
)
def test_unknown_introduction_is_ignored(broker: Broker, decline: Decline) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    fast(broker, sender)
    broker.waiting()
    assert broker.say(receiver, decline) == []
    assert broker.registry.pending_introductions == 1


def test_repeated_decline_is_ignored(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    nonce = fast(broker, sender)
    _, introduction = broker.waiting()
    for decline in (Decline(nonce=nonce), Decline(introduction)):
        assert len(broker.say(receiver, decline)) == 1
        assert broker.say(receiver, decline) == []


def test_another_receiver_cannot_decline(broker: Broker) -> None:
    broker.receiver()
    stranger = broker.receiver("bob")
    nonce = fast(broker, broker.greeted())
    _, introduction = broker.waiting()
    for decline in (Decline(nonce=nonce), Decline(introduction)):
        assert broker.say(stranger, decline) == []
    assert broker.registry.pending_introductions == 1


def test_sender_that_is_gone_is_not_told(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    nonce = fast(broker, sender)
    broker.registry.disconnected(sender, NOW)
    assert broker.say(receiver, Decline(nonce=nonce)) == []


def test_name_is_asked_for_at_no_other_one_s_expense(broker: Broker) -> None:
    """What is remembered of each name on a connection is bounded by itself."""
    receiver, sender = broker.receiver(), broker.greeted()
    broker.register(receiver, "bob", number=1)
    nonce = fast(broker, sender)
    for number in range(MAX_TOLD + 1):
        broker.say(broker.greeted(), request(number, "bob", "fast"))
    assert refusal(broker.say(receiver, Decline(nonce=nonce)), sender).number == 5


def test_what_a_name_was_told_ends_with_it(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    broker.register(receiver, "bob", number=1)
    alice = fast(broker, sender)
    (_, told), _ = broker.say(sender, request(6, "bob", "fast"))
    assert isinstance(told, SenderEndpoint)
    broker.say(receiver, Unregister(0))
    assert broker.say(receiver, Decline(nonce=alice)) == []
    assert refusal(broker.say(receiver, Decline(nonce=told.nonce)), sender).number == 6


def test_what_is_remembered_of_a_receiver_is_bounded(broker: Broker) -> None:
    receiver = broker.receiver()
    senders = [broker.greeted(host=f"192.0.2.{number}") for number in range(2)]
    nonces = [fast(broker, senders[number % 2], number) for number in range(MAX_TOLD + 1)]
    assert broker.say(receiver, Decline(nonce=nonces[0])) == []
    assert refusal(broker.say(receiver, Decline(nonce=nonces[1])), senders[1]).number == 1


def test_nothing_is_remembered_for_long(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    told = broker.registry._introductions._told
    assert not told._of_receiver  # an idle receiver costs nothing
    nonce = fast(broker, sender)
    later = NOW + TOLD_TIME + 1
    broker.say(receiver, KeepAlive(), now=later)
    assert not told._of_receiver
    assert broker.say(receiver, Decline(nonce=nonce), now=later) == []
    fast(broker, sender)
    broker.registry.disconnected(receiver, NOW)
    assert not told._of_receiver


# What a receiver can tell senders by.


def test_origin_is_of_the_sender_s_address(broker: Broker) -> None:
    broker.receiver()
    origins: dict[str, bytes] = {}
    for host in ("192.0.2.1", "192.0.2.2"):
        for technique in ("classic", "relay", "classic"):
            sender = broker.greeted(host=host)
            ((_, asked),) = broker.say(sender, request(0, "alice", technique))
            assert isinstance(asked, ConnectionRequest | RelayRequest)
            assert asked.origin is not None
            assert len(asked.origin) == ORIGIN_BYTES
            assert origins.setdefault(host, asked.origin) == asked.origin
    assert len(set(origins.values())) == 2


def test_origin_does_not_say_where_the_sender_is() -> None:
    """Another broker's is another one, so that it cannot be looked up in a table of addresses."""
    origins = set()
    for offset in range(2):
        broker = Broker(first_token=offset)
        broker.receiver()
        ((_, asked),) = broker.say(broker.greeted(), request(0, "alice", "classic"))
        assert isinstance(asked, ConnectionRequest)
        origins.add(asked.origin)
    assert len(origins) == 2


@pytest.mark.parametrize("proof", [None, bytes(range(SIGNATURE_BYTES))])
def test_proof_of_the_sender_is_passed_on(broker: Broker, proof: bytes | None) -> None:
    broker.receiver()
    asking = attrs.evolve(request(0, "alice", "fast"), proof=proof)
    (_, told), _ = broker.say(broker.greeted(), asking)
    assert isinstance(told, SenderEndpoint)
    assert told.proof == proof
    ((_, asked),) = broker.say(broker.greeted(), attrs.evolve(asking, technique="classic"))
    assert isinstance(asked, ConnectionRequest)
    ((_, told),) = broker.say(broker.greeted(), Acknowledge(asked.introduction))
    assert isinstance(told, SenderEndpoint)
    assert told.proof == proof


# What an end costs.


def test_end_of_a_receiver_ends_its_own_introductions_only(broker: Broker) -> None:
    receiver = broker.receiver()
    broker.receiver("bob")
    waiting = [broker.waiting("alice", number=number)[0] for number in range(3)]
    other, _ = broker.waiting("bob")
    told = dict(broker.registry.disconnected(receiver, NOW))
    assert set(told) == set(waiting)
    assert all(isinstance(each, Refused) for each in told.values())
    assert other.state is State.WAITING
    assert other.introduction is not None
    of_receiver = broker.registry._introductions._pending._of_receiver
    assert list(of_receiver) == [other.introduction.receiver]
