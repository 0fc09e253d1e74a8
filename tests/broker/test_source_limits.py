"""What one source may ask for, so that the broker and receivers are there for others."""

from typing import Any

import attrs
import pytest

from trio_p2p import LocalProtocolError
from trio_p2p._broker.budget import CONNECTION_BYTES, NAME_BYTES, Budget
from trio_p2p._broker.limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from trio_p2p._broker.observer import Observer
from trio_p2p._broker.refusals import RefusalError
from trio_p2p._broker.source_limits import (
    INTRODUCTIONS_TIME,
    MAX_SOURCES,
    REPORTS_TIME,
    UNKNOWN_TIME,
    SourceQuota,
)
from trio_p2p._wire.messages import (
    Kill,
    Probe,
    RefusalCode,
    Refused,
    Report,
    SenderEndpoint,
    Unregister,
    Update,
    Watch,
)
from trio_p2p._wire.offer import NO_OFFER

from ..kit.raw_client import request
from .registries import ENDPOINT, NOW, OFFER, Broker, refusal

FEW = BrokerLimits(introductions=3, unknown_uids=2, guessings=2, reports=3)


@pytest.fixture
def broker() -> Broker:
    return Broker(limits=FEW)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "9", 2**63])
def test_limits_that_make_no_sense_are_refused(value: Any) -> None:
    for limit in attrs.fields(BrokerLimits):
        with pytest.raises(LocalProtocolError, match=f"^{limit.name} of BrokerLimits must be"):
            BrokerLimits(**{limit.name: value})


# Connections.


def refused_connection(broker: Broker, host: str = "203.0.113.5") -> Refused:
    with pytest.raises(RefusalError) as caught:
        broker.connect(host)
    refused = caught.value.refused
    assert (refused.code, refused.number) == (RefusalCode.BUSY, None)
    assert refused.retry_after is not None
    return refused


def test_one_source_has_so_many_connections() -> None:
    broker = Broker(limits=BrokerLimits(connections=2))
    first, _ = broker.connect("2001:db8::1"), broker.connect("2001:db8::2")
    refused = refused_connection(broker, "2001:db8::3")
    assert "serves 2 connections of one IP address at a time" in refused.reason
    broker.connect("2001:db8:0:1::1")
    broker.registry.disconnected(first, NOW)
    broker.registry.disconnected(first, NOW)  # counts once
    broker.connect("2001:db8::3")
    refused_connection(broker, "2001:db8::4")


def test_one_source_comes_so_often() -> None:
    broker = Broker(limits=BrokerLimits(connections_per_second=1))
    for _ in range(11):  # what it may do at once, and one that is owed for
        broker.registry.disconnected(broker.connect(), NOW)
    refused = refused_connection(broker)
    assert refused.retry_after == 1000
    assert "takes 1 connections each second" in refused.reason
    broker.connect("192.0.2.1")
    broker.registry.connected(ENDPOINT, broker.local, NOW + 1)
    with pytest.raises(RefusalError):
        broker.registry.connected(ENDPOINT, broker.local, NOW + 1)


def test_nothing_is_held_of_connections_that_have_ended(broker: Broker) -> None:
    receiver = broker.receiver()
    sender = broker.greeted()
    broker.say(sender, Watch("bob"), Update(OFFER))
    assert broker.registry.held_bytes > 2 * CONNECTION_BYTES + NAME_BYTES
    for connection in (receiver, sender):
        broker.say(connection, Kill())
        broker.registry.disconnected(connection, NOW)
    assert broker.registry.held_bytes == 0
    assert not broker.registry._budget.sources


# Memory.


def test_a_network_leaves_half_of_the_memory_to_others() -> None:
    broker = Broker(limits=BrokerLimits(memory=100 * CONNECTION_BYTES))
    taken = 0
    for number in range(256):
        try:
            broker.connect(f"192.0.2.{number}")
        except RefusalError:
            continue
        taken += 1
    assert taken == 50
    refused = refused_connection(broker, "192.0.2.9")
    assert "no memory left" in refused.reason
    broker.receiver(host="198.51.100.7")
    assert broker.registry.uids == {"alice"}


def test_an_offer_that_has_no_room_is_not_taken_and_nothing_else_happens() -> None:
    broker = Broker(limits=BrokerLimits(memory=2 * (CONNECTION_BYTES + NAME_BYTES + 500)))
    receiver = broker.receiver()
    for number in range(1000):
        broker.registry._budget.set_shared("test", number * 100)
        if not broker.registry._budget.has_room(receiver.source, 1):
            break
    assert broker.say(receiver, Update(OFFER)) == []
    assert receiver.offer == NO_OFFER
    broker.registry._budget.set_shared("test", 0)
    broker.say(receiver, Update(OFFER))
    assert receiver.offer == OFFER
    assert broker.registry.uids == {"alice"}


# Registrations.


def test_one_source_registers_so_many_names() -> None:
    broker = Broker(limits=BrokerLimits(registrations=2))
    first = broker.receiver("a")
    broker.receiver("b")
    third = broker.greeted()
    refused = refusal(broker.register(third, "c", number=3), third)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, 3)
    assert refused.retry_after == 60_000
    assert "registers 2 UIDs at a time for one IP address" in refused.reason
    assert not third.is_closed
    broker.receiver("d", host="192.0.2.1")
    # A receiver whose old connection is not lost yet takes its place.
    again = broker.receiver("b")
    assert broker.registry.uids == {"a", "b", "d"}
    assert again.registration is not None
    broker.say(first, Unregister(0))
    broker.register(third, "c", number=3)
    assert broker.registry.uids == {"b", "c", "d"}


def test_registrations_beyond_the_memory_are_refused() -> None:
    broker = Broker(limits=BrokerLimits(memory=2 * CONNECTION_BYTES + NAME_BYTES))
    receiver = broker.greeted()
    refused = refusal(broker.register(receiver, number=4), receiver)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, 4)
    assert "no memory left" in refused.reason


# Probes.


def test_one_source_probes_so_often() -> None:
    broker = Broker(limits=BrokerLimits(probes=2))
    for _ in range(2):
        assert broker.say(broker.greeted(), Probe())
    client = broker.greeted()
    refused = refusal(broker.say(client, Probe(), now=NOW + 5), client)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, None)
    assert refused.retry_after == 55_000
    assert client.is_closed
    assert broker.say(broker.greeted(host="192.0.2.1"), Probe())


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
    assert DEFAULT_BROKER_LIMITS.introductions >= 256


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


# Sources.


def test_so_many_sources_are_remembered() -> None:
    broker = Broker(limits=FEW)
    broker.receiver()
    name = broker.registry._registrations.holder("alice")
    assert name is not None
    quota = SourceQuota(FEW, Budget(1 << 30))
    assert MAX_SOURCES > 1000
    quota._introductions._of_network._total = 3
    for number in range(10):
        sender = broker.greeted(host=f"192.0.2.{number}")
        quota.check_introduction(sender, name, 0, NOW)
    assert len(quota._introductions._of_network._windows) == 3


# Reports.


def test_reports_of_one_source_are_counted_up_to_a_limit() -> None:
    told: list[Report] = []

    class Recorder(Observer):
        def reported(self, report: Report) -> None:
            told.append(report)

    broker = Broker(limits=FEW, observer=Recorder())
    sender, other = broker.greeted(), broker.greeted(host="192.0.2.1")
    for number in range(5):
        assert broker.say(sender, Report(number)) == []
    assert [report.duration for report in told] == [0, 1, 2]
    broker.say(other, Report(7))
    broker.say(sender, Report(8), now=NOW + REPORTS_TIME)
    assert [report.duration for report in told[3:]] == [7, 8]
    assert not sender.is_closed
