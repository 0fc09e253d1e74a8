"""What one source may ask for, so that the broker and receivers are there for others."""

import pytest

from trio_p2p._broker.source_limits import (
    DEFAULT_SOURCE_LIMITS,
    INTRODUCTIONS_TIME,
    MAX_SOURCES,
    UNKNOWN_TIME,
    SourceLimits,
    SourceQuota,
)
from trio_p2p._wire.messages import RefusalCode, Refused, SenderEndpoint

from ..kit.raw_client import request
from .registries import NOW, Broker, refusal

FEW = SourceLimits(introductions=3, unknown_uids=2, guessings=2)


@pytest.fixture
def broker() -> Broker:
    return Broker(source_limits=FEW)


# Introductions to one receiver.


@pytest.mark.parametrize("technique", ["fast", "classic", "relay"])
def test_one_source_gets_so_many_introductions_to_a_receiver(
    broker: Broker, technique: str
) -> None:
    broker.receiver()
    for number in range(3):
        broker.say(broker.greeted(), request(number, "alice", "fast"))
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "alice", technique), now=NOW + 5), sender)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, 5)
    assert refused.retry_after == 1000 * (INTRODUCTIONS_TIME - 5)
    assert "3 times in 15 seconds" in refused.reason
    assert not sender.is_closed
    later = NOW + INTRODUCTIONS_TIME
    assert len(broker.say(sender, request(6, "alice", "fast"), now=later)) == 2


def test_another_source_is_introduced_all_the_same(broker: Broker) -> None:
    receiver = broker.receiver()
    broker.receiver("bob")
    sender, other = broker.greeted(), broker.greeted(host="192.0.2.1")
    for number in range(50):
        broker.say(sender, request(number, "alice", "fast"))
    (to, told), _ = broker.say(other, request(0, "alice", "fast"))
    assert to is receiver
    assert isinstance(told, SenderEndpoint)
    # And so is the same one to another receiver.
    assert len(broker.say(sender, request(0, "bob", "fast"))) == 2


def test_limit_is_no_hindrance_to_programs_that_open_many_streams() -> None:
    assert DEFAULT_SOURCE_LIMITS.introductions >= 256


# Guesses at names.


def test_unknown_uids_are_limited(broker: Broker) -> None:
    broker.receiver()
    sender = broker.greeted()
    codes = []
    for number in range(5):
        ((_, refused),) = broker.say(sender, request(number, f"guess {number}", "fast"))
        assert isinstance(refused, Refused)
        codes.append((refused.code, refused.number))
    assert codes == [
        (RefusalCode.UNKNOWN_UID, 0),
        (RefusalCode.UNKNOWN_UID, 1),
        (RefusalCode.BUSY, 2),
        (RefusalCode.BUSY, 3),
        (RefusalCode.BUSY, None),
    ]
    assert sender.is_closed
    again = broker.greeted()
    refused = refusal(broker.say(again, request(7, "guess", "fast"), now=NOW + 20), again)
    assert refused.retry_after == 1000 * (UNKNOWN_TIME - 20)
    assert again.is_closed
    # Who knows the name is served, and so is another source.
    knowing, other = broker.greeted(), broker.greeted(host="192.0.2.1")
    assert len(broker.say(knowing, request(0, "alice", "fast"))) == 2
    assert refusal(broker.say(other, request(0, "x", "fast")), other).code is (
        RefusalCode.UNKNOWN_UID
    )


# Memory.


def test_so_many_sources_are_remembered() -> None:
    broker = Broker(source_limits=FEW)
    broker.receiver()
    name = broker.registry._registrations.holder("alice")
    assert name is not None
    quota = SourceQuota(FEW)
    assert MAX_SOURCES > 1000
    quota._introductions._total = 3
    for number in range(10):
        sender = broker.greeted(host=f"192.0.2.{number}")
        quota.check_introduction(sender, name, 0, NOW)
    assert len(quota._introductions._windows) == 3
