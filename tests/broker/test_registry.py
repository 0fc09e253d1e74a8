"""The registry: every state and message, greetings, registrations, and deadlines."""

import attrs
import pytest

from trio_p2p._attempt import Outcome, Technique
from trio_p2p._broker.connection import Connection, State
from trio_p2p._broker.ledger import OPENING_TIME
from trio_p2p._broker.registry import INTRODUCTION_TIME, SILENCE_TIME, Registry
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._wire.messages import (
    CAPABILITIES,
    CHALLENGE_BYTES,
    ID_BYTES,
    MESSAGE_TYPES,
    NONCE_BYTES,
    VERSION,
    Acknowledge,
    CallBack,
    Called,
    CalledBack,
    CallSource,
    ConnectionRequest,
    Decline,
    Draining,
    Hello,
    HolePunched,
    Identify,
    IntroductionRequest,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    Observed,
    Probe,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Register,
    Registered,
    RegisteredAgain,
    Relayed,
    RelayRequest,
    Report,
    SenderEndpoint,
    StreamKind,
    Unregister,
    Unwatch,
    Update,
    Watch,
)

from ..kit.raw_client import identification, identity_of, registration, request
from .registries import (
    ALICE,
    ENDPOINT,
    NOW,
    OFFER,
    PROBES,
    SENDER,
    Broker,
    answers_to_introductions,
    broker as broker,
    refusal,
)

# States and messages.

ALLOWED = {
    (State.GREETING, Hello),
    (State.READY, Identify),
    (State.READY, Register),
    (State.READY, IntroductionRequest),
    (State.READY, Watch),
    (State.READY, Report),
    (State.READY, KeepAlive),
    (State.READY, Acknowledge),
    (State.READY, HolePunched),
    (State.READY, JoinRelay),
    (State.READY, Probe),
    (State.CONTROL, Identify),
    (State.CONTROL, Register),
    (State.CONTROL, Unregister),
    (State.CONTROL, IntroductionRequest),
    (State.CONTROL, Watch),
    (State.CONTROL, Unwatch),
    (State.CONTROL, Report),
    (State.CONTROL, KeepAlive),
    (State.CONTROL, Update),
    (State.CONTROL, Decline),
    (State.CONTROL, Kill),
    (State.PROBED, CallBack),
}
EXAMPLES: list[Message] = [
    Hello(),
    identification(ALICE, bytes(CHALLENGE_BYTES)),
    registration("bob", bytes(CHALLENGE_BYTES)),
    Registered(0, ENDPOINT),
    Unregister(0),
    KeepAlive(),
    Update(OFFER),
    Probe(),
    Observed(ENDPOINT),
    CallBack(),
    Called(bytes(CHALLENGE_BYTES), CallSource.SAME_ADDRESS),
    CalledBack(Outcome.CONNECTED),
    Kill(),
    request(0, "alice", "fast"),
    ConnectionRequest(bytes(ID_BYTES), 0),
    Acknowledge(bytes(ID_BYTES)),
    Decline(nonce=bytes(NONCE_BYTES)),
    SenderEndpoint(ENDPOINT, bytes(NONCE_BYTES), SENDER.certificate),
    HolePunched(bytes(ID_BYTES)),
    ReceiverEndpoint(0, ENDPOINT, bytes(NONCE_BYTES), ALICE.certificate),
    Unwatch("alice"),
    Report(120),
    Draining(5000),
    Watch("alice"),
    RegisteredAgain("alice"),
    RelayRequest(bytes(ID_BYTES), SENDER.certificate),
    JoinRelay(bytes(ID_BYTES)),
    Relayed(bytes(ID_BYTES)),
    Refused(RefusalCode.UNKNOWN_UID, "no"),
]
LIVE_STATES = [state for state in State if state is not State.CLOSED]


def connection_in(broker: Broker, state: State) -> Connection:  # noqa: PLR0911
    match state:
        case State.PROBED:
            client = broker.greeted()
            broker.say(client, Probe())
            return client
        case State.CALLED:
            return broker.called()
        case State.GREETING:
            return broker.connect()
        case State.READY:
            return broker.greeted()
        case State.CONTROL:
            return broker.receiver("carol")
        case State.ACKNOWLEDGED:
            sender, introduction = broker.waiting()
            receiver = broker.greeted()
            broker.say(receiver, Acknowledge(introduction))
            broker.registry.disconnected(sender, NOW)
            return receiver
        case State.RELAYED:
            return broker.relayed()[0]
        case _:
            return broker.waiting()[0]


def test_the_table_is_what_these_tests_say() -> None:
    assert set(Registry.TRANSITIONS) == ALLOWED
    assert {type(message) for message in EXAMPLES} == set(MESSAGE_TYPES)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: message.type)
@pytest.mark.parametrize("state", LIVE_STATES)
def test_message_in_a_state(broker: Broker, state: State, message: Message) -> None:
    bystander = broker.receiver("alice")
    connection = connection_in(broker, state)
    assert connection.state is state
    if isinstance(message, Register):
        message = registration("bob", connection.challenge, number=1)
    outgoing = broker.say(connection, message)
    if (state, type(message)) in ALLOWED and not isinstance(message, answers_to_introductions):
        assert not any(
            isinstance(told, Refused) and told.code is RefusalCode.PROTOCOL_VIOLATION
            for _, told in outgoing
        )
    else:
        refused = refusal(outgoing, connection)
        assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, None)
        assert connection.is_closed
        # Just that connection, and nothing of it is left.
        assert broker.registry.uids == {"alice"}
        assert broker.registry.pending_introductions == 0
        assert broker.registry.disconnected(connection, NOW) == []
    assert bystander.registration is not None


def test_violation_names_the_message_and_the_state(broker: Broker) -> None:
    client = broker.connect()
    refused = refusal(broker.say(client, Kill()), client)
    assert refused.reason == "a kill message is out of place here (connected, no hello yet)"


def test_bytes_that_are_no_message_close_just_that_connection(broker: Broker) -> None:
    receiver, other = broker.receiver("alice"), broker.receiver("bob")
    refused = refusal(
        broker.registry.violated(
            receiver, RemoteProtocolError("got bytes that are not a frame"), NOW
        ),
        receiver,
    )
    assert refused.code is RefusalCode.PROTOCOL_VIOLATION
    assert refused.reason == "got bytes that are not a frame"
    assert receiver.is_closed
    assert broker.registry.uids == {"bob"}
    assert other.registration is not None


@pytest.mark.parametrize("state", LIVE_STATES)
def test_closed_connection_has_said_its_last(broker: Broker, state: State) -> None:
    broker.receiver("alice")
    connection = connection_in(broker, state)
    broker.registry.disconnected(connection, NOW)
    for message in EXAMPLES:
        assert broker.say(connection, message) == []
    assert broker.registry.violated(connection, RemoteProtocolError("no"), NOW) == []
    assert broker.registry.expired(connection, NOW) == []
    assert broker.registry.disconnected(connection, NOW) == []


# The greeting.


def test_hello_is_answered(broker: Broker) -> None:
    client = broker.connect()
    outgoing = broker.say(client, Hello())
    hello = Hello(
        VERSION,
        CAPABILITIES,
        challenge=broker.tokens[-1],
        endpoint=client.endpoint,
        probe_port=4434,
        probes=PROBES.endpoints,
    )
    assert outgoing == [(client, hello)]
    assert len(broker.tokens[-1]) == CHALLENGE_BYTES
    assert client.techniques == (Technique.FAST, Technique.CLASSIC, Technique.RELAY)


def test_broker_without_a_relay_does_not_say_that_it_relays() -> None:
    broker = Broker(relay=None)
    client = broker.connect()
    ((_, hello),) = broker.say(client, Hello())
    assert isinstance(hello, Hello)
    assert hello.capabilities == ("classic", "fast")


@pytest.mark.parametrize("version", [0, VERSION + 1, 65535])
def test_unknown_version_is_refused_with_a_sentence(broker: Broker, version: int) -> None:
    client = broker.connect()
    refused = refusal(broker.say(client, Hello(version)), client)
    assert refused.code is RefusalCode.UNSUPPORTED_VERSION
    assert refused.reason == f"this broker speaks version 1 of the protocol, not {version}"
    assert client.is_closed


def test_unknown_capabilities_are_ignored(broker: Broker) -> None:
    assert broker.greeted("telepathy", "fast").techniques == (Technique.FAST,)


# Registrations.


def test_registration(broker: Broker) -> None:
    client = broker.greeted()
    assert broker.register(client, number=7) == [(client, Registered(7, client.endpoint))]
    assert broker.registry.uids == {"alice"}
    assert client.registration is not None
    assert client.certificate == ALICE.certificate


def test_taken_uid_is_refused_to_another_identity(broker: Broker) -> None:
    holder, other = broker.receiver(), broker.greeted()
    refused = refusal(broker.register(other, "alice", identity_of("mallory")), other)
    assert (refused.code, refused.number) == (RefusalCode.UID_TAKEN, 0)
    assert other.state is State.CONTROL
    assert holder.registration is not None


def test_uids_are_compared_exactly(broker: Broker) -> None:
    for uid in ("alice", "Alice", "alicé", "alicé"):
        broker.receiver(uid)
    assert len(broker.registry.uids) == 4


def test_same_identity_takes_its_uid_over_at_once(broker: Broker) -> None:
    lost, newer = broker.receiver(), broker.greeted()
    told_lost, told_newer = broker.register(newer)
    assert told_lost[0] is lost
    assert isinstance(told_lost[1], Refused)
    assert told_lost[1].code is RefusalCode.UID_TAKEN
    assert told_lost[1].reason == "the UID was registered again by the same identity elsewhere"
    assert told_lost[1].number == 0
    assert told_newer == (newer, Registered(0, newer.endpoint))
    assert lost.registration is None
    assert lost.state is State.CONTROL
    # The end of the lost one does not end the new registration.
    assert broker.registry.disconnected(lost, NOW) == []
    assert broker.registry.uids == {"alice"}


def test_kept_certificate_of_another_does_not_help(broker: Broker) -> None:
    """The certificate is public: senders are told it."""
    holder, thief = broker.receiver(), broker.greeted()
    signed = registration("alice", thief.challenge, identity_of("mallory"))
    stolen = attrs.evolve(signed, certificate=ALICE.certificate)
    refused = refusal(broker.say(thief, stolen), thief)
    assert (refused.code, refused.number) == (RefusalCode.IDENTITY_NOT_PROVEN, 0)
    assert thief.registration is None
    assert holder.registration is not None


def test_replayed_registration_is_refused(broker: Broker) -> None:
    first, second = broker.greeted(), broker.greeted()
    message = registration("alice", first.challenge)
    broker.say(first, message)
    refused = refusal(broker.say(second, message), second)
    assert refused.code is RefusalCode.IDENTITY_NOT_PROVEN
    assert first.registration is not None
    broker.registry.disconnected(first, NOW)
    late = broker.greeted()
    refusal(broker.say(late, message), late)
    assert broker.registry.uids == frozenset()


def test_signature_for_another_uid_is_refused(broker: Broker) -> None:
    client = broker.greeted()
    message = attrs.evolve(registration("alice", client.challenge), uid="bob")
    refused = refusal(broker.say(client, message), client)
    assert refused.code is RefusalCode.IDENTITY_NOT_PROVEN


@pytest.mark.parametrize("certificate", [b"x", ALICE.certificate[:-1], bytes(1024)])
def test_certificate_that_is_none_is_a_violation(broker: Broker, certificate: bytes) -> None:
    broker.receiver("bob")
    receiver, sender = broker.greeted(), broker.greeted()
    message = attrs.evolve(registration("alice", receiver.challenge), certificate=certificate)
    asking = IntroductionRequest(0, "bob", "fast", StreamKind.SESSION, certificate)
    for outgoing, client in (
        (broker.say(receiver, message), receiver),
        (broker.say(sender, asking), sender),
    ):
        refused = refusal(outgoing, client)
        assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, None)
        assert client.is_closed


def test_peer_id_as_uid_is_for_its_own_key(broker: Broker) -> None:
    uid = str(ALICE.peer_id)
    thief = broker.greeted()
    refused = refusal(broker.register(thief, uid, identity_of("mallory")), thief)
    assert refused.code is RefusalCode.IDENTITY_NOT_PROVEN
    assert "peer id" in refused.reason
    assert thief.registration is None
    broker.register(broker.greeted(), uid, ALICE)
    assert broker.registry.uids == {uid}


def test_peer_id_with_a_typo_is_nobody_s(broker: Broker) -> None:
    uid = str(ALICE.peer_id)
    client = broker.greeted()
    typo = uid[:-1] + ("a" if uid[-1] != "a" else "b")
    refused = refusal(broker.register(client, typo, ALICE), client)
    assert refused.code is RefusalCode.IDENTITY_NOT_PROVEN


def test_one_identity_may_hold_many_uids(broker: Broker) -> None:
    for uid in ("alice", "al", str(ALICE.peer_id)):
        broker.register(broker.greeted(), uid, ALICE)
    assert len(broker.registry.uids) == 3


def test_kill_ends_the_registration(broker: Broker) -> None:
    receiver = broker.receiver()
    assert broker.say(receiver, Kill()) == []
    assert receiver.is_closed
    assert broker.registry.uids == frozenset()
    broker.receiver("alice")


# Time.


def test_opening_time(broker: Broker) -> None:
    client = broker.connect()
    assert client.deadline == NOW + OPENING_TIME == NOW + 10
    broker.say(client, Hello(), now=NOW + 5)
    assert client.deadline == NOW + 10
    assert broker.registry.expired(client, NOW) == []
    assert client.is_closed


def test_silence_time(broker: Broker) -> None:
    receiver = broker.greeted()
    broker.register(receiver, now=NOW + 3)
    assert receiver.deadline == NOW + 3 + SILENCE_TIME == NOW + 68
    broker.say(receiver, KeepAlive(), now=NOW + 40)
    assert receiver.deadline == NOW + 105
    assert broker.registry.expired(receiver, NOW) == []
    assert receiver.is_closed
    assert broker.registry.uids == frozenset()


def test_kept_sender_has_silence_time(broker: Broker) -> None:
    sender = broker.greeted()
    broker.say(sender, KeepAlive(), now=NOW + 1)
    assert (sender.state, sender.deadline) == (State.CONTROL, NOW + 66)
    broker.say(sender, request(0, "nobody", "fast"), now=NOW + 2)
    assert (sender.state, sender.deadline) == (State.CONTROL, NOW + 67)
    broker.say(sender, KeepAlive(), now=NOW + 3)
    assert sender.deadline == NOW + 68


def test_introduction_time(broker: Broker) -> None:
    broker.receiver()
    sender, _ = broker.waiting(number=9)
    assert sender.deadline == NOW + INTRODUCTION_TIME == NOW + 10
