"""UIDs whose receivers were lost: reserved for their keys, for a while, and not too many."""

from collections.abc import Callable

import pytest

from trio_p2p._broker.connection import Connection
from trio_p2p._broker.registrations import MAX_RESERVED, MAX_RESERVED_IN_ALL, RESERVED_TIME
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._wire.messages import Hello, Kill, RefusalCode, Registered

from ..kit.raw_client import identity_of
from .registries import NOW, Broker, broker as broker, refusal

MALLORY = identity_of("mallory")


def lose(broker: Broker, receiver: Connection) -> None:
    broker.registry.disconnected(receiver, NOW)


def expire(broker: Broker, receiver: Connection) -> None:
    broker.registry.expired(receiver, NOW)


def violate(broker: Broker, receiver: Connection) -> None:
    broker.registry.violated(receiver, RemoteProtocolError("garbage"), NOW)


def say_what_is_out_of_place(broker: Broker, receiver: Connection) -> None:
    broker.say(receiver, Hello())


def is_free(broker: Broker, uid: str = "alice", now: float = NOW) -> bool:
    """Whether another identity may register a UID; it gives it back."""
    client = broker.greeted()
    ((_, answer), *_) = broker.register(client, uid, MALLORY, now)
    broker.say(client, Kill())
    return isinstance(answer, Registered)


@pytest.mark.parametrize("end", [lose, expire, violate, say_what_is_out_of_place])
def test_lost_uid_is_reserved_for_its_key(
    broker: Broker, end: Callable[[Broker, Connection], None]
) -> None:
    end(broker, broker.receiver())
    assert broker.registry.uids == frozenset()
    thief = broker.greeted()
    refused = refusal(broker.register(thief, "alice", MALLORY, NOW + 60), thief)
    assert (refused.code, refused.number) == (RefusalCode.UID_TAKEN, 0)
    assert "reserved" in refused.reason
    assert "in 240 seconds" in refused.reason
    owner = broker.greeted()
    assert broker.register(owner, now=NOW + 61) == [(owner, Registered(0, owner.endpoint))]


def test_lost_uid_is_reserved_for_five_minutes(broker: Broker) -> None:
    lose(broker, broker.receiver())
    assert RESERVED_TIME == 300
    assert not is_free(broker, now=NOW + RESERVED_TIME - 0.1)
    assert is_free(broker, now=NOW + RESERVED_TIME)


def test_killed_registration_leaves_nothing(broker: Broker) -> None:
    broker.say(broker.receiver(), Kill())
    assert is_free(broker)
    assert broker.registry.reserved == 0


def test_registering_again_ends_the_reservation(broker: Broker) -> None:
    lose(broker, broker.receiver())
    again = broker.receiver()
    assert broker.registry.reserved == 0
    broker.say(again, Kill())
    assert is_free(broker)


def test_taking_over_reserves_nothing(broker: Broker) -> None:
    older, newer = broker.receiver(), broker.receiver()
    lose(broker, older)
    broker.say(newer, Kill())
    assert is_free(broker)


def test_peer_id_needs_no_reservation(broker: Broker) -> None:
    receiver = broker.greeted()
    broker.register(receiver, str(MALLORY.peer_id), MALLORY)
    lose(broker, receiver)
    assert broker.registry.reserved == 0


def test_one_source_reserves_so_many_and_only_at_its_own_expense(broker: Broker) -> None:
    other = broker.greeted(host="192.0.2.1")
    broker.register(other, "other")
    lose(broker, other)
    for number in range(MAX_RESERVED + 1):
        lose(broker, broker.receiver(f"name {number}"))
    assert broker.registry.reserved == MAX_RESERVED + 1
    assert is_free(broker, "name 0")
    assert not is_free(broker, "name 1")
    assert not is_free(broker, "other")


def test_addresses_of_one_ipv6_network_are_one_source(broker: Broker) -> None:
    for number in range(MAX_RESERVED + 1):
        receiver = broker.greeted(host=f"2001:db8::{number:x}")
        broker.register(receiver, f"name {number}")
        lose(broker, receiver)
    assert broker.registry.reserved == MAX_RESERVED


def test_all_sources_together_reserve_so_many(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_RESERVED_IN_ALL > 100 * MAX_RESERVED
    monkeypatch.setattr(broker.registry._registrations._reserved, "_total", 3)
    for number in range(4):
        receiver = broker.greeted(host=f"192.0.2.{number}")
        broker.register(receiver, f"name {number}")
        lose(broker, receiver)
    assert broker.registry.reserved == 3
    assert is_free(broker, "name 0")
    assert not is_free(broker, "name 1")


def test_what_has_run_out_is_forgotten(broker: Broker) -> None:
    lose(broker, broker.receiver())
    receiver = broker.receiver("bob")
    broker.registry.disconnected(receiver, NOW + RESERVED_TIME)
    assert broker.registry.reserved == 1
