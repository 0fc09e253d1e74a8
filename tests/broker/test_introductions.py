"""Introductions, message for message: fast and classic ones, and the offers that they pass on."""

import attrs
import pytest

from trio_p2p._broker.connection import State
from trio_p2p._broker.registry import SILENCE_TIME
from trio_p2p._wire.messages import (
    ID_BYTES,
    MAX_ROUND_TRIP,
    NONCE_BYTES,
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    IntroductionRequest,
    JoinRelay,
    Kill,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    SenderEndpoint,
    StreamKind,
    Update,
)
from trio_p2p._wire.offer import NO_OFFER, Behaviour, Nat, Offer

from ..kit.raw_client import identity_of, request
from .registries import ALICE, NOW, OFFER, SENDER, Broker, broker as broker, refusal

# Offers.


def test_receiver_without_an_offer_costs_nothing(broker: Broker) -> None:
    receiver = broker.receiver()
    assert receiver.offer is NO_OFFER


def test_update_is_kept_and_counts_as_a_sign_of_life(broker: Broker) -> None:
    receiver = broker.receiver()
    assert broker.say(receiver, Update(OFFER), now=NOW + 40) == []
    assert receiver.offer == OFFER
    assert receiver.deadline == NOW + 40 + SILENCE_TIME
    broker.say(receiver, Update())
    assert receiver.offer is NO_OFFER


def offering(request: IntroductionRequest, offer: Offer) -> IntroductionRequest:
    return attrs.evolve(request, offer=offer)


OTHER_OFFER = Offer(Nat(filtering=Behaviour.ENDPOINT_INDEPENDENT), port_guessing=False)


def test_fast_introduction_passes_the_offers_on(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    broker.say(receiver, Update(OFFER))
    asking = offering(request(5, "alice", "fast"), OTHER_OFFER)
    (_, told_receiver), (_, told_sender) = broker.say(sender, asking)
    assert isinstance(told_receiver, SenderEndpoint)
    assert isinstance(told_sender, ReceiverEndpoint)
    assert (told_receiver.offer, told_sender.offer) == (OTHER_OFFER, OFFER)
    # And only those: the next request brings its own.
    (_, told_receiver), _ = broker.say(sender, request(6, "alice", "fast"))
    assert isinstance(told_receiver, SenderEndpoint)
    assert told_receiver.offer is NO_OFFER


@pytest.mark.parametrize("stored", [NO_OFFER, OFFER])
@pytest.mark.parametrize("acknowledged", [NO_OFFER, OTHER_OFFER])
def test_classic_introduction_passes_the_offers_on(
    broker: Broker, stored: Offer, acknowledged: Offer
) -> None:
    receiver, sender, punching = broker.receiver(), broker.greeted(), broker.greeted()
    broker.say(receiver, Update(stored))
    asking = offering(request(5, "alice", "classic"), OTHER_OFFER)
    ((_, asked),) = broker.say(sender, asking)
    assert isinstance(asked, ConnectionRequest)
    ((_, told_receiver),) = broker.say(punching, Acknowledge(asked.introduction, acknowledged))
    assert isinstance(told_receiver, SenderEndpoint)
    assert told_receiver.offer == OTHER_OFFER
    ((_, told_sender),) = broker.say(broker.greeted(), HolePunched(asked.introduction))
    assert isinstance(told_sender, ReceiverEndpoint)
    assert told_sender.offer == (stored if acknowledged == NO_OFFER else acknowledged)


# Fast introductions.


def test_fast_introduction(broker: Broker) -> None:
    receiver, sender = broker.receiver(number=3), broker.greeted()
    outgoing = broker.say(sender, request(5, "alice", "fast"))
    nonce = broker.tokens[-1]
    assert len(nonce) == NONCE_BYTES
    assert outgoing == [
        (
            receiver,
            SenderEndpoint(sender.endpoint, nonce, SENDER.certificate, 40_000, registration=3),
        ),
        (sender, ReceiverEndpoint(5, receiver.endpoint, nonce, ALICE.certificate, 40_000)),
    ]
    assert sender.state is State.CONTROL
    assert broker.registry.pending_introductions == 0
    # The same connection, the same receiver, once more: a nonce of its own.
    broker.say(sender, request(6, "alice", "fast"))
    assert broker.tokens[-1] != nonce


def test_certificates_of_a_kept_connection_may_differ(broker: Broker) -> None:
    broker.receiver()
    sender = broker.greeted()
    for name in ("sender", "another", "sender"):
        identity = identity_of(name)
        (_, told), _ = broker.say(sender, request(0, "alice", "fast", identity=identity))
        assert isinstance(told, SenderEndpoint)
        assert told.certificate == identity.certificate


def test_round_trip_is_bounded() -> None:
    broker = Broker(round_trip=2**31)
    broker.receiver()
    sender = broker.greeted()
    for _, message in broker.say(sender, request(5, "alice", "fast")):
        assert isinstance(message, SenderEndpoint | ReceiverEndpoint)
        assert message.round_trip == MAX_ROUND_TRIP


@pytest.mark.parametrize("technique", ["fast", "classic", "relay", "telepathy"])
def test_unknown_uid(broker: Broker, technique: str) -> None:
    sender = broker.greeted()
    outgoing = broker.say(sender, request(5, "nobody", technique))
    refused = refusal(outgoing, sender)
    assert (refused.code, refused.number) == (RefusalCode.UNKNOWN_UID, 5)
    # It may ask for another.
    assert sender.state is (State.READY if technique in ("classic", "relay") else State.CONTROL)


@pytest.mark.parametrize(
    ("capabilities", "technique", "named"),
    [
        (["fast"], "classic", "only by fast"),
        (["classic"], "fast", "only by classic"),
        (["fast", "classic"], "relay", "only by fast or classic"),
        (["fast", "relay"], "telepathy", "only by fast or relay"),
        (["telepathy"], "telepathy", "none that this broker knows"),
    ],
)
def test_unsupported_technique(
    broker: Broker, capabilities: list[str], technique: str, named: str
) -> None:
    broker.receiver("alice", *capabilities)
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "alice", technique)), sender)
    assert (refused.code, refused.number) == (RefusalCode.UNSUPPORTED_TECHNIQUE, 5)
    assert named in refused.reason
    assert not sender.is_closed


@pytest.mark.parametrize("technique", ["fast", "classic", "relay"])
@pytest.mark.parametrize("wanted", StreamKind)
def test_unsupported_stream(broker: Broker, wanted: StreamKind, technique: str) -> None:
    (taken,) = set(StreamKind) - {wanted}
    receiver = broker.receiver(stream=taken)
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "alice", technique, wanted)), sender)
    assert (refused.code, refused.number) == (RefusalCode.UNSUPPORTED_STREAM, 5)
    assert f"wants a {wanted} stream" in refused.reason
    assert f"registered for {taken} streams" in refused.reason
    assert not sender.is_closed
    assert receiver.registration is not None


# Classic introductions.


def test_the_twelve_steps(broker: Broker) -> None:
    receiver = broker.receiver(number=3)
    # 1: the sender asks, and its connection stays open. 2: the receiver is told.
    sender = broker.greeted()
    outgoing = broker.say(sender, request(5, "alice", "classic"))
    identifier, nonce = broker.tokens[-2:]
    assert (len(nonce), len(identifier)) == (NONCE_BYTES, ID_BYTES)
    assert outgoing == [(receiver, ConnectionRequest(identifier, 3, broker.origin(sender)))]
    assert sender.state is State.WAITING
    assert broker.registry.pending_introductions == 1
    # 3: a second connection, from the port to punch from. 4: where the sender is.
    punching = broker.greeted()
    outgoing = broker.say(punching, Acknowledge(identifier))
    assert outgoing == [
        (punching, SenderEndpoint(sender.endpoint, nonce, SENDER.certificate, 40_000))
    ]
    # 5: the receiver closes that connection. 6 to 8: it punches and listens.
    assert broker.registry.disconnected(punching, NOW) == []
    assert broker.registry.pending_introductions == 1
    # 9: it says so, on a new connection. 10: where the receiver is. 11: the sender's is closed.
    reporting = broker.greeted()
    outgoing = broker.say(reporting, HolePunched(identifier))
    assert outgoing == [
        (sender, ReceiverEndpoint(5, punching.endpoint, nonce, ALICE.certificate, 40_000))
    ]
    assert sender.is_closed
    assert reporting.is_closed
    assert broker.registry.pending_introductions == 0
    assert receiver.registration is not None


def test_acknowledge_of_an_unknown_introduction(broker: Broker) -> None:
    broker.receiver()
    sender, _ = broker.waiting()
    for message in (Acknowledge(bytes(ID_BYTES)), HolePunched(bytes(ID_BYTES))):
        client = broker.greeted()
        refused = refusal(broker.say(client, message), client)
        assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, None)
        assert refused.reason == "there is no such introduction, or no more"
        assert client.is_closed
    assert sender.state is State.WAITING


def test_acknowledge_twice(broker: Broker) -> None:
    broker.receiver()
    sender, identifier = broker.waiting()
    first, second = broker.greeted(), broker.greeted()
    broker.say(first, Acknowledge(identifier))
    refused = refusal(broker.say(second, Acknowledge(identifier)), second)
    assert refused.reason == "this introduction is acknowledged already"
    assert second.is_closed
    ((_, told),) = broker.say(broker.greeted(), HolePunched(identifier))
    assert isinstance(told, ReceiverEndpoint)
    assert told.endpoint == first.endpoint
    assert sender.is_closed


def test_punched_before_acknowledge(broker: Broker) -> None:
    broker.receiver()
    sender, identifier = broker.waiting()
    client = broker.greeted()
    refused = refusal(broker.say(client, HolePunched(identifier)), client)
    assert refused.reason == "this introduction is not acknowledged yet"
    assert client.is_closed
    assert sender.state is State.WAITING
    broker.say(broker.greeted(), Acknowledge(identifier))  # it can go on


def test_punched_twice(broker: Broker) -> None:
    broker.receiver()
    _, identifier = broker.waiting()
    broker.say(broker.greeted(), Acknowledge(identifier))
    broker.say(broker.greeted(), HolePunched(identifier))
    client = broker.greeted()
    refusal(broker.say(client, HolePunched(identifier)), client)


@pytest.mark.parametrize("is_acknowledged", [False, True])
@pytest.mark.parametrize("end", ["kill", "gone", "expired", "taken over"])
def test_receiver_lost_during_the_introduction(
    broker: Broker, end: str, is_acknowledged: bool
) -> None:
    receiver, other = broker.receiver(), broker.receiver("bob")
    techniques = ["classic", "relay", "classic"]
    senders = [
        broker.waiting(number=number, technique=technique)
        for number, technique in enumerate(techniques)
    ]
    unconcerned, _ = broker.waiting("bob")
    if is_acknowledged:
        broker.say(broker.greeted(), Acknowledge(senders[0][1]))
    resuming = broker.greeted()
    match end:
        case "kill":
            outgoing = broker.say(receiver, Kill())
        case "gone":
            outgoing = broker.registry.disconnected(receiver, NOW)
        case "expired":
            outgoing = broker.registry.expired(receiver, NOW)
        case _:
            outgoing = broker.register(resuming)
    told = dict(outgoing)
    for number, (sender, identifier) in enumerate(senders):
        message = told.pop(sender)
        assert isinstance(message, Refused)
        assert (message.code, message.number) == (RefusalCode.RECEIVER_LOST, number)
        assert sender.is_closed
        for answer in (Acknowledge(identifier), JoinRelay(identifier)):
            late = broker.greeted()
            refusal(broker.say(late, answer), late)
    assert unconcerned not in told
    assert unconcerned.state is State.WAITING
    assert other.registration is not None
    assert broker.registry.pending_introductions == 1
    assert broker.registry.circuits == 0


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_receiver_silent(broker: Broker, is_acknowledged: bool) -> None:
    receiver = broker.receiver()
    sender, identifier = broker.waiting(number=9)
    if is_acknowledged:
        broker.say(broker.greeted(), Acknowledge(identifier))
    refused = refusal(broker.registry.expired(sender, NOW), sender)
    assert (refused.code, refused.number) == (RefusalCode.RECEIVER_SILENT, 9)
    assert sender.is_closed
    assert receiver.registration is not None
    assert broker.registry.pending_introductions == 0


def test_sender_lost_during_the_introduction(broker: Broker) -> None:
    broker.receiver()
    sender, identifier = broker.waiting()
    punching, reporting = broker.greeted(), broker.greeted()
    broker.say(punching, Acknowledge(identifier))
    assert broker.registry.disconnected(sender, NOW) == []
    assert broker.registry.pending_introductions == 0
    refusal(broker.say(reporting, HolePunched(identifier)), reporting)


def test_two_senders_at_once_do_not_mix(broker: Broker) -> None:
    receiver = broker.receiver()
    (first, first_id), (second, second_id) = broker.waiting(number=1), broker.waiting(number=2)
    punching = [broker.greeted(), broker.greeted()]
    broker.say(punching[0], Acknowledge(first_id))
    broker.say(punching[1], Acknowledge(second_id))
    ((to_second, told_second),) = broker.say(broker.greeted(), HolePunched(second_id))
    ((to_first, told_first),) = broker.say(broker.greeted(), HolePunched(first_id))
    assert (to_first, to_second) == (first, second)
    assert isinstance(told_first, ReceiverEndpoint)
    assert isinstance(told_second, ReceiverEndpoint)
    assert (told_first.number, told_first.endpoint) == (1, punching[0].endpoint)
    assert (told_second.number, told_second.endpoint) == (2, punching[1].endpoint)
    assert told_first.nonce != told_second.nonce
    assert receiver.registration is not None
