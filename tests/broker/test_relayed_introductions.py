"""Introductions that end in a circuit of the relay, and the limits of circuits."""

import pytest

from trio_p2p._broker.connection import State
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.registry import INTRODUCTION_TIME, SILENCE_TIME
from trio_p2p._wire.messages import (
    ID_BYTES,
    Acknowledge,
    HolePunched,
    JoinRelay,
    KeepAlive,
    Message,
    RefusalCode,
    Relayed,
    RelayRequest,
    StreamKind,
)

from ..kit.raw_client import request
from .registries import ALICE, FEW, NOW, SENDER, Broker, broker as broker, refusal


def test_relay_steps(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    # 1: the sender asks. 2: the receiver is told.
    outgoing = broker.say(sender, request(5, "alice", "relay"))
    identifier, circuit = broker.tokens[-2:]
    assert (len(identifier), len(circuit)) == (ID_BYTES, ID_BYTES)
    origin = broker.origin(sender)
    assert outgoing == [(receiver, RelayRequest(identifier, SENDER.certificate, 0, origin))]
    assert sender.state is State.WAITING
    assert sender.deadline == NOW + INTRODUCTION_TIME
    # 3: the receiver joins on another connection. 4: both are told.
    joining = broker.greeted()
    outgoing = broker.say(joining, JoinRelay(identifier))
    assert outgoing == [
        (sender, Relayed(circuit, ALICE.certificate, idle_time=60_000)),
        (joining, Relayed(circuit, idle_time=60_000)),
    ]
    assert {sender.state, joining.state} == {State.RELAYED}
    assert sender.introduction is not None
    assert joining.introduction is sender.introduction
    assert broker.registry.pending_introductions == 0
    assert broker.registry.circuits == 1
    # The shell takes the connections over; the registration goes on.
    for connection in (sender, joining):
        assert broker.registry.disconnected(connection, NOW) == []
    assert receiver.registration is not None
    assert broker.registry.circuits == 1
    assert sender.introduction.grant is not None
    broker.registry.circuit_ended(sender.introduction.grant)
    assert broker.registry.circuits == 0


def test_relayed_peers_are_told_the_limits() -> None:
    broker = Broker(relay=RelayLimits(bytes_per_second=1000, max_bytes=5000, idle_time=30))
    broker.receiver()
    _, identifier = broker.waiting(technique="relay")
    for _, message in broker.say(broker.greeted(), JoinRelay(identifier)):
        assert isinstance(message, Relayed)
        assert (message.bytes_per_second, message.max_bytes) == (1000, 5000)
        assert message.idle_time == 30_000


@pytest.mark.parametrize("technique", ["classic", "relay"])
def test_control_connection_asks_for_fast_introductions_only(
    broker: Broker, technique: str
) -> None:
    broker.receiver()
    sender = broker.greeted()
    broker.say(sender, request(0, "alice", "fast"))
    refused = refusal(broker.say(sender, request(1, "alice", technique)), sender)
    assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, 1)
    assert refused.reason == f"a {technique} introduction takes a connection of its own"
    assert len(broker.say(sender, request(2, "alice", "fast"))) == 2


def test_connection_may_ask_again_if_it_was_refused(broker: Broker) -> None:
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(0, "alice", "classic"), now=NOW + 5), sender)
    assert refused.code is RefusalCode.UNKNOWN_UID
    assert (sender.state, sender.deadline) == (State.READY, NOW + 5 + SILENCE_TIME)
    broker.receiver()
    ((_, asked),) = broker.say(sender, request(1, "alice", "relay"))
    assert isinstance(asked, RelayRequest)
    assert sender.state is State.WAITING


def test_only_sessions_are_relayed(broker: Broker) -> None:
    broker.receiver(stream=StreamKind.RAW)
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "alice", "relay", StreamKind.RAW)), sender)
    assert (refused.code, refused.number) == (RefusalCode.UNSUPPORTED_STREAM, 5)
    assert refused.reason == "only sessions are relayed, because they are encrypted"


def test_broker_without_a_relay_says_so() -> None:
    broker = Broker(relay=None)
    broker.receiver()
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "alice", "relay")), sender)
    assert (refused.code, refused.number) == (RefusalCode.RELAY_REFUSED, 5)
    assert refused.reason == "this broker does not relay"
    assert sender.state is State.READY
    assert broker.registry.circuits == 0


@pytest.mark.parametrize("technique", ["classic", "relay"])
def test_answer_to_the_other_kind_of_introduction(broker: Broker, technique: str) -> None:
    broker.receiver()
    sender, identifier = broker.waiting(technique=technique)
    wrong: list[Message] = [Acknowledge(identifier), HolePunched(identifier)]
    for message in [JoinRelay(identifier)] if technique == "classic" else wrong:
        client = broker.greeted()
        refused = refusal(broker.say(client, message), client)
        assert refused.code is RefusalCode.PROTOCOL_VIOLATION
        assert client.is_closed
    assert sender.state is State.WAITING


def test_relay_is_joined_once(broker: Broker) -> None:
    broker.receiver()
    _, identifier = broker.waiting(technique="relay")
    broker.say(broker.greeted(), JoinRelay(identifier))
    client = broker.greeted()
    refused = refusal(broker.say(client, JoinRelay(identifier)), client)
    assert refused.reason == "there is no such introduction, or no more"
    assert broker.registry.circuits == 1


@pytest.mark.parametrize("end", ["gone", "expired", "violates"])
def test_sender_that_stops_waiting_gives_its_circuit_back(broker: Broker, end: str) -> None:
    broker.receiver()
    sender, identifier = broker.waiting(technique="relay", number=9)
    assert broker.registry.circuits == 1
    match end:
        case "gone":
            assert broker.registry.disconnected(sender, NOW) == []
        case "expired":
            refused = refusal(broker.registry.expired(sender, NOW), sender)
            assert (refused.code, refused.number) == (RefusalCode.RECEIVER_SILENT, 9)
        case _:
            refusal(broker.say(sender, KeepAlive()), sender)
    assert broker.registry.circuits == 0
    client = broker.greeted()
    refusal(broker.say(client, JoinRelay(identifier)), client)


def test_receiver_s_circuits_are_limited() -> None:
    broker = Broker(relay=FEW)
    broker.receiver()
    broker.receiver("bob")
    for number in range(2):  # those that are only asked for count as well
        broker.waiting(technique="relay", host=f"198.51.100.{number}")
    sender = broker.greeted(host="198.51.100.9")
    refused = refusal(broker.say(sender, request(5, "alice", "relay")), sender)
    assert (refused.code, refused.number) == (RefusalCode.RELAY_REFUSED, 5)
    assert "at most 2 circuits at a time for one receiver" in refused.reason
    broker.say(sender, request(6, "bob", "relay"))
    assert sender.state is State.WAITING


def test_sender_s_address_has_limited_circuits() -> None:
    broker = Broker(relay=FEW)
    for uid in ("alice", "bob"):
        broker.receiver(uid)
    broker.relayed("alice")
    broker.relayed("bob")
    broker.waiting("alice", technique="relay")
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "bob", "relay")), sender)
    assert (refused.code, refused.number) == (RefusalCode.RELAY_REFUSED, 5)
    assert "at most 3 circuits at a time for senders of one IP address" in refused.reason
    other = broker.greeted(host="192.0.2.1")
    broker.say(other, request(5, "bob", "relay"))
    assert other.state is State.WAITING


def test_circuits_do_not_count_for_the_receiver_s_address() -> None:
    """Others ask for them; and other receivers may have the same address."""
    broker = Broker(relay=RelayLimits(circuits_per_ip=1))
    broker.receiver()
    for number in range(3):
        _, identifier = broker.waiting(technique="relay", host=f"198.51.100.{number}")
        joining = broker.greeted(host="192.0.2.1")
        broker.say(joining, JoinRelay(identifier))
        assert joining.state is State.RELAYED
