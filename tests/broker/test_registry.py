"""The registry: every state and message, introductions message for message, and its invariants."""

import itertools
from ipaddress import IPv4Address, ip_address
from typing import Any

import attrs
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from trio_p2p._addresses import Endpoint
from trio_p2p._attempt import Outcome, Technique
from trio_p2p._broker.connection import Connection, Outgoing, Probes, State
from trio_p2p._broker.prober import (
    CALLS_PER_WINDOW,
    MAX_CALLS,
    MAX_NETWORKS,
    PROBE_TIME,
    WINDOW_TIME,
    CallQuota,
)
from trio_p2p._broker.quota import Grant, RelayLimits
from trio_p2p._broker.registry import (
    INTRODUCTION_TIME,
    IPV6_TIME,
    OPENING_TIME,
    SILENCE_TIME,
    Registry,
)
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._identity.identity import Identity
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    CAPABILITIES,
    CHALLENGE_BYTES,
    ID_BYTES,
    MAX_ROUND_TRIP,
    MESSAGE_TYPES,
    NONCE_BYTES,
    SIGNATURE_BYTES,
    VERSION,
    Acknowledge,
    CallBack,
    Called,
    CalledBack,
    CallSource,
    ConnectionRequest,
    Hello,
    HolePunched,
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
    RegisterIPv6,
    Relayed,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
    Update,
    Watch,
)
from trio_p2p._wire.offer import NO_OFFER, Behaviour, Candidate, CandidateKind, Nat, Offer

from ..kit.message_strategies import message_strategy, offers
from ..kit.raw_client import identity_of, registration, request

NOW = 1000.0
ENDPOINT = Endpoint(IPv4Address("203.0.113.5"), 49152)
ALICE, SENDER = identity_of("alice"), identity_of("sender")
OFFER = Offer(Nat(Behaviour.ADDRESS_DEPENDENT), (Candidate(CandidateKind.HOST, ENDPOINT),))
PROBES = Probes({4: 4434, 6: 4436}, (Endpoint(IPv4Address("198.51.100.7"), 4433),))
FEW = RelayLimits(circuits_per_ip=3, circuits_per_identity=2)


class Broker:
    """A registry whose tokens count up, and whose clients come from consecutive ports."""

    def __init__(
        self,
        round_trip: int = 20_000,
        relay: RelayLimits | None = RelayLimits(),  # noqa: B008
        probes: Probes | None = PROBES,
    ) -> None:
        self.tokens: list[bytes] = []
        self.registry = Registry(
            token_bytes=self._token_bytes,
            round_trip=lambda _connection: round_trip,
            relay=relay,
            probes=probes,
        )
        self._ports = itertools.count(40001)

    def _token_bytes(self, length: int) -> bytes:
        self.tokens.append((len(self.tokens) + 1).to_bytes(length, "big"))
        return self.tokens[-1]

    def connect(self, host: str = "203.0.113.5") -> Connection:
        return self.registry.connected(Endpoint(ip_address(host), next(self._ports)), NOW)

    def say(self, connection: Connection, *messages: Message, now: float = NOW) -> Outgoing:
        """What the last of the messages leads to."""
        outgoing: Outgoing = []
        for message in messages:
            outgoing = self.registry.received(connection, message, now)
        return outgoing

    def greeted(self, *capabilities: str, host: str = "203.0.113.5") -> Connection:
        connection = self.connect(host)
        self.say(connection, Hello(VERSION, capabilities or CAPABILITIES))
        return connection

    def register(
        self,
        connection: Connection,
        uid: str = "alice",
        identity: Identity | None = None,
        now: float = NOW,
    ) -> Outgoing:
        return self.say(connection, registration(uid, connection.challenge, identity), now=now)

    def receiver(self, uid: str = "alice", *capabilities: str) -> Connection:
        connection = self.greeted(*capabilities)
        self.register(connection, uid)
        return connection

    def waiting(
        self,
        uid: str = "alice",
        number: int = 7,
        technique: str = "classic",
        host: str = "203.0.113.5",
    ) -> tuple[Connection, bytes]:
        """A sender that waits for the receiver, and the introduction's identifier."""
        sender = self.greeted(host=host)
        ((_, asked),) = self.say(sender, request(number, uid, technique))
        assert isinstance(asked, ConnectionRequest | RelayRequest)
        return sender, asked.introduction

    def called(self, host: str = "203.0.113.5", now: float = NOW) -> Connection:
        """A client that has asked to be called back."""
        client = self.greeted(host=host)
        self.say(client, Probe(), CallBack(), now=now)
        return client

    def relayed(self, uid: str = "alice", host: str = "203.0.113.5") -> list[Connection]:
        """Two connections that have become a circuit, the sender's first."""
        sender, introduction = self.waiting(uid, technique="relay", host=host)
        joining = self.greeted(host=host)
        self.say(joining, JoinRelay(introduction))
        return [sender, joining]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def refusal(outgoing: Outgoing, connection: Connection) -> Refused:
    """The refusal that is all there is to send, and to this connection."""
    ((addressee, message),) = outgoing
    assert addressee is connection
    assert isinstance(message, Refused)
    assert message.reason
    return message


# States and messages.

ALLOWED = {
    (State.GREETING, Hello),
    (State.READY, Register),
    (State.READY, RegisterIPv6),
    (State.READY, IntroductionRequest),
    (State.READY, KeepAlive),
    (State.READY, Acknowledge),
    (State.READY, HolePunched),
    (State.READY, JoinRelay),
    (State.RECEIVER, KeepAlive),
    (State.RECEIVER, Update),
    (State.RECEIVER, Kill),
    (State.READY, Probe),
    (State.PROBED, CallBack),
    (State.SENDER, IntroductionRequest),
    (State.SENDER, KeepAlive),
    (State.READY, Watch),
    (State.SENDER, Watch),
}
EXAMPLES: list[Message] = [
    Hello(),
    Register("bob", ALICE.certificate, bytes(SIGNATURE_BYTES)),
    Registered(ENDPOINT),
    RegisterIPv6("alice", ALICE.certificate, bytes(SIGNATURE_BYTES)),
    KeepAlive(),
    Update(OFFER),
    Probe(),
    Observed(ENDPOINT),
    CallBack(),
    Called(bytes(CHALLENGE_BYTES), CallSource.SAME_ADDRESS),
    CalledBack(Outcome.CONNECTED),
    Kill(),
    request(0, "alice", "fast"),
    ConnectionRequest(bytes(ID_BYTES), 4),
    Acknowledge(bytes(ID_BYTES)),
    SenderEndpoint(ENDPOINT, bytes(NONCE_BYTES), SENDER.certificate),
    HolePunched(bytes(ID_BYTES)),
    ReceiverEndpoint(0, ENDPOINT, bytes(NONCE_BYTES), ALICE.certificate),
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
        case State.RECEIVER:
            return broker.receiver("carol")
        case State.SENDER:
            sender = broker.greeted()
            broker.say(sender, request(0, "alice", "fast"))
            return sender
        case State.ACKNOWLEDGED:
            sender, introduction = broker.waiting()
            receiver = broker.greeted()
            broker.say(receiver, Acknowledge(introduction))
            broker.registry.disconnected(sender)
            return receiver
        case State.RELAYED:
            return broker.relayed()[0]
        case _:
            return broker.waiting()[0]


def test_the_table_is_what_these_tests_say() -> None:
    assert set(Registry.TRANSITIONS) == ALLOWED
    assert {type(message) for message in EXAMPLES} == set(MESSAGE_TYPES)


answers_to_introductions = (Acknowledge, HolePunched, JoinRelay)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: message.type)
@pytest.mark.parametrize("state", LIVE_STATES)
def test_message_in_a_state(broker: Broker, state: State, message: Message) -> None:
    bystander = broker.receiver("alice")
    connection = connection_in(broker, state)
    assert connection.state is state
    outgoing = broker.say(connection, message)
    if (state, type(message)) in ALLOWED and not isinstance(message, answers_to_introductions):
        if isinstance(message, Register):
            message = registration("bob", connection.challenge)
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
        assert broker.registry.disconnected(connection) == []
    assert bystander.state is State.RECEIVER


def test_violation_names_the_message_and_the_state(broker: Broker) -> None:
    client = broker.connect()
    refused = refusal(broker.say(client, Kill()), client)
    assert refused.reason == "a kill message is out of place here (connected, no hello yet)"


def test_bytes_that_are_no_message_close_just_that_connection(broker: Broker) -> None:
    receiver, other = broker.receiver("alice"), broker.receiver("bob")
    refused = refusal(
        broker.registry.violated(receiver, RemoteProtocolError("got bytes that are not a frame")),
        receiver,
    )
    assert refused.code is RefusalCode.PROTOCOL_VIOLATION
    assert refused.reason == "got bytes that are not a frame"
    assert receiver.is_closed
    assert broker.registry.uids == {"bob"}
    assert other.state is State.RECEIVER


@pytest.mark.parametrize("state", LIVE_STATES)
def test_closed_connection_has_said_its_last(broker: Broker, state: State) -> None:
    broker.receiver("alice")
    connection = connection_in(broker, state)
    broker.registry.disconnected(connection)
    for message in EXAMPLES:
        assert broker.say(connection, message) == []
    assert broker.registry.violated(connection, RemoteProtocolError("no")) == []
    assert broker.registry.expired(connection) == []
    assert broker.registry.disconnected(connection) == []


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
    assert client.streams == (StreamKind.SESSION, StreamKind.RAW)


def test_broker_without_a_relay_does_not_say_that_it_relays() -> None:
    broker = Broker(relay=None)
    client = broker.connect()
    ((_, hello),) = broker.say(client, Hello())
    assert isinstance(hello, Hello)
    assert hello.capabilities == ("classic", "fast", "raw", "session")


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
    assert broker.register(client) == [(client, Registered(client.endpoint))]
    assert broker.registry.uids == {"alice"}
    assert client.state is State.RECEIVER
    assert client.certificate == ALICE.certificate
    assert client.challenge == b""


def test_taken_uid_is_refused_to_another_identity(broker: Broker) -> None:
    holder, other = broker.receiver(), broker.greeted()
    refused = refusal(broker.register(other, "alice", identity_of("mallory")), other)
    assert (refused.code, refused.number) == (RefusalCode.UID_TAKEN, None)
    assert other.is_closed
    assert holder.state is State.RECEIVER


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
    assert told_newer == (newer, Registered(newer.endpoint))
    assert lost.is_closed
    # The end of the lost one does not end the new registration.
    assert broker.registry.disconnected(lost) == []
    assert broker.registry.uids == {"alice"}


def test_kept_certificate_of_another_does_not_help(broker: Broker) -> None:
    """The certificate is public: senders are told it."""
    holder, thief = broker.receiver(), broker.greeted()
    signed = registration("alice", thief.challenge, identity_of("mallory"))
    stolen = Register("alice", ALICE.certificate, signed.signature)
    refused = refusal(broker.say(thief, stolen), thief)
    assert (refused.code, refused.number) == (RefusalCode.IDENTITY_NOT_PROVEN, None)
    assert thief.is_closed
    assert holder.state is State.RECEIVER


def test_replayed_registration_is_refused(broker: Broker) -> None:
    first, second = broker.greeted(), broker.greeted()
    message = registration("alice", first.challenge)
    broker.say(first, message)
    refused = refusal(broker.say(second, message), second)
    assert refused.code is RefusalCode.IDENTITY_NOT_PROVEN
    assert first.state is State.RECEIVER
    broker.registry.disconnected(first)
    late = broker.greeted()
    refusal(broker.say(late, message), late)
    assert broker.registry.uids == frozenset()


def test_signature_for_another_uid_is_refused(broker: Broker) -> None:
    client = broker.greeted()
    signature = ALICE.sign_registration(client.challenge, "alice")
    refused = refusal(broker.say(client, Register("bob", ALICE.certificate, signature)), client)
    assert refused.code is RefusalCode.IDENTITY_NOT_PROVEN


@pytest.mark.parametrize("certificate", [b"x", ALICE.certificate[:-1], bytes(1024)])
def test_certificate_that_is_none_is_a_violation(broker: Broker, certificate: bytes) -> None:
    broker.receiver("bob")
    receiver, sender = broker.greeted(), broker.greeted()
    message = Register("alice", certificate, bytes(SIGNATURE_BYTES))
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
    assert thief.is_closed
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
    assert broker.registry.expired(client) == []
    assert client.is_closed


def test_silence_time(broker: Broker) -> None:
    receiver = broker.greeted()
    broker.register(receiver, now=NOW + 3)
    assert receiver.deadline == NOW + 3 + SILENCE_TIME == NOW + 68
    broker.say(receiver, KeepAlive(), now=NOW + 40)
    assert receiver.deadline == NOW + 105
    assert broker.registry.expired(receiver) == []
    assert receiver.is_closed
    assert broker.registry.uids == frozenset()


def test_kept_sender_has_silence_time(broker: Broker) -> None:
    sender = broker.greeted()
    broker.say(sender, KeepAlive(), now=NOW + 1)
    assert (sender.state, sender.deadline) == (State.READY, NOW + 66)
    broker.say(sender, request(0, "nobody", "fast"), now=NOW + 2)
    assert (sender.state, sender.deadline) == (State.SENDER, NOW + 67)
    broker.say(sender, KeepAlive(), now=NOW + 3)
    assert sender.deadline == NOW + 68


def test_introduction_time(broker: Broker) -> None:
    broker.receiver()
    sender, _ = broker.waiting(number=9)
    assert sender.deadline == NOW + INTRODUCTION_TIME == NOW + 10


# Probes.


def test_client_is_told_its_own_endpoint(broker: Broker) -> None:
    client = broker.greeted()
    assert broker.say(client, Probe(), now=NOW + 2) == [(client, Observed(client.endpoint))]
    assert client.state is State.PROBED
    assert client.deadline == NOW + 2 + PROBE_TIME
    assert broker.registry.expired(client) == []
    assert client.is_closed


@pytest.mark.parametrize(
    ("host", "probes", "port"),
    [
        ("203.0.113.5", PROBES, 4434),
        ("2001:db8::5", PROBES, 4436),
        ("2001:db8::5", Probes({4: 4434}), None),
        ("203.0.113.5", None, None),
    ],
)
def test_greeting_says_where_to_probe(host: str, probes: Probes | None, port: int | None) -> None:
    broker = Broker(probes=probes)
    ((_, hello),) = broker.say(broker.connect(host), Hello())
    assert isinstance(hello, Hello)
    assert hello.probe_port == port
    assert hello.probes == (() if probes is None else probes.endpoints)


def test_client_is_called_back_once(broker: Broker) -> None:
    client = broker.called(now=NOW + 1)
    assert (client.state, client.deadline) == (State.CALLED, NOW + 1 + PROBE_TIME)
    assert broker.registry.calls == 1
    result = CalledBack(Outcome.CONNECTED, Outcome.SILENT)
    assert broker.registry.called_back(client, result) == [(client, result)]
    assert client.is_closed
    assert broker.registry.calls == 0
    assert broker.registry.called_back(client, result) == []
    assert broker.registry.calls == 0


def test_broker_without_probes_calls_nobody() -> None:
    broker = Broker(probes=None)
    client = broker.greeted()
    broker.say(client, Probe())
    assert broker.say(client, CallBack()) == [(client, CalledBack())]
    assert client.is_closed
    assert broker.registry.calls == 0


@pytest.mark.parametrize("end", ["gone", "expired", "violates"])
def test_end_of_who_is_called_back(broker: Broker, end: str) -> None:
    client = broker.called()
    match end:
        case "gone":
            assert broker.registry.disconnected(client) == []
        case "expired":
            assert broker.registry.expired(client) == []
        case _:
            refusal(broker.say(client, CallBack()), client)
    assert client.is_closed
    assert broker.registry.calls == 0


def test_one_network_is_called_back_so_often(broker: Broker) -> None:
    for _ in range(CALLS_PER_WINDOW):
        assert broker.called(now=NOW).state is State.CALLED
    client = broker.greeted()
    broker.say(client, Probe())
    assert broker.say(client, CallBack(), now=NOW + 59) == [(client, CalledBack())]
    assert broker.called("203.0.113.6").state is State.CALLED
    assert broker.called(now=NOW + WINDOW_TIME).state is State.CALLED


def test_so_many_are_called_back_at_a_time(broker: Broker) -> None:
    clients = [broker.called(f"198.51.100.{number}") for number in range(MAX_CALLS)]
    assert broker.registry.calls == MAX_CALLS
    assert broker.called().is_closed
    broker.registry.disconnected(clients[0])
    assert broker.called().state is State.CALLED


def test_quota_of_calls_is_bounded() -> None:
    quota = CallQuota()
    for number in range(2 * MAX_NETWORKS):
        assert quota.take(IPv4Address(number), NOW)
        quota.give_back()
    assert len(quota._windows) == MAX_NETWORKS


def test_ipv6_addresses_of_one_host_count_together(broker: Broker) -> None:
    for number in range(CALLS_PER_WINDOW):
        assert broker.called(f"2001:db8::{number:x}").state is State.CALLED
    assert broker.called("2001:db8::ffff").is_closed
    assert broker.called("2001:db8:0:1::1").state is State.CALLED


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
    receiver, sender = broker.receiver(), broker.greeted()
    outgoing = broker.say(sender, request(5, "alice", "fast"))
    nonce = broker.tokens[-1]
    assert len(nonce) == NONCE_BYTES
    assert outgoing == [
        (receiver, SenderEndpoint(sender.endpoint, nonce, SENDER.certificate, 40_000)),
        (sender, ReceiverEndpoint(5, receiver.endpoint, nonce, ALICE.certificate, 40_000)),
    ]
    assert sender.state is State.SENDER
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
    assert sender.state is State.SENDER  # and may ask for another


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
    broker.receiver("alice", "session", *capabilities)
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "alice", technique)), sender)
    assert (refused.code, refused.number) == (RefusalCode.UNSUPPORTED_TECHNIQUE, 5)
    assert named in refused.reason
    assert sender.state is State.SENDER


@pytest.mark.parametrize("technique", ["fast", "classic", "relay"])
@pytest.mark.parametrize(
    ("taken", "wanted", "named"),
    [
        (["session"], StreamKind.RAW, "wants a raw stream, and the receiver takes only session"),
        (["raw"], StreamKind.SESSION, "wants a session stream, and the receiver takes only raw"),
        (["dance"], StreamKind.SESSION, "takes only what this broker does not know"),
    ],
)
def test_unsupported_stream(
    broker: Broker, taken: list[str], wanted: StreamKind, named: str, technique: str
) -> None:
    receiver = broker.receiver("alice", "fast", "classic", "relay", *taken)
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(5, "alice", technique, wanted)), sender)
    assert (refused.code, refused.number) == (RefusalCode.UNSUPPORTED_STREAM, 5)
    assert named in refused.reason
    assert sender.state is State.SENDER
    assert receiver.state is State.RECEIVER


# Classic introductions.


def test_the_twelve_steps(broker: Broker) -> None:
    receiver = broker.receiver()
    # 1: the sender asks, and its connection stays open. 2: the receiver is told.
    sender = broker.greeted()
    outgoing = broker.say(sender, request(5, "alice", "classic"))
    identifier, nonce = broker.tokens[-2:]
    assert (len(nonce), len(identifier)) == (NONCE_BYTES, ID_BYTES)
    assert outgoing == [(receiver, ConnectionRequest(identifier, 4))]
    assert sender.state is State.WAITING
    assert broker.registry.pending_introductions == 1
    # 3: a second connection, from the port to punch from. 4: where the sender is.
    punching = broker.greeted()
    outgoing = broker.say(punching, Acknowledge(identifier))
    assert outgoing == [
        (punching, SenderEndpoint(sender.endpoint, nonce, SENDER.certificate, 40_000))
    ]
    # 5: the receiver closes that connection. 6 to 8: it punches and listens.
    assert broker.registry.disconnected(punching) == []
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
    assert receiver.state is State.RECEIVER


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
            outgoing = broker.registry.disconnected(receiver)
        case "expired":
            outgoing = broker.registry.expired(receiver)
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
    assert other.state is State.RECEIVER
    assert broker.registry.pending_introductions == 1
    assert broker.registry.circuits == 0


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_receiver_silent(broker: Broker, is_acknowledged: bool) -> None:
    receiver = broker.receiver()
    sender, identifier = broker.waiting(number=9)
    if is_acknowledged:
        broker.say(broker.greeted(), Acknowledge(identifier))
    refused = refusal(broker.registry.expired(sender), sender)
    assert (refused.code, refused.number) == (RefusalCode.RECEIVER_SILENT, 9)
    assert sender.is_closed
    assert receiver.state is State.RECEIVER
    assert broker.registry.pending_introductions == 0


def test_sender_lost_during_the_introduction(broker: Broker) -> None:
    broker.receiver()
    sender, identifier = broker.waiting()
    punching, reporting = broker.greeted(), broker.greeted()
    broker.say(punching, Acknowledge(identifier))
    assert broker.registry.disconnected(sender) == []
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
    assert receiver.state is State.RECEIVER


# Both versions of IP.

IPV6_HOST = "2001:db8::5"


def found_over_ipv6(broker: Broker, uid: str = "alice", now: float = NOW) -> Connection:
    """A connection by which a registered receiver has told where it is over IPv6."""
    telling = broker.greeted(host=IPV6_HOST)
    proof = registration(uid, telling.challenge)
    told = RegisterIPv6(uid, proof.certificate, proof.signature)
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
        asked = attrs.evolve(request(5, "alice", "fast"), errand=bytes(range(ID_BYTES)))
        (_, told), (_, answer) = broker.say(sender, asked)
        assert isinstance(told, SenderEndpoint)
        assert (told.endpoint, told.errand) == (sender.endpoint, asked.errand)
        assert isinstance(answer, ReceiverEndpoint)
        assert (answer.endpoint, answer.offer) == (expected, offer)


def test_the_twelve_steps_over_ipv6(broker: Broker) -> None:
    receiver = broker.receiver()
    found_over_ipv6(broker)
    sender = broker.greeted(host="2001:db8::7")
    asked = attrs.evolve(request(5, "alice", "classic"), errand=bytes(range(ID_BYTES)))
    outgoing = broker.say(sender, asked)
    identifier = broker.tokens[-2]
    assert outgoing == [(receiver, ConnectionRequest(identifier, 6))]
    wrong = broker.greeted()
    assert refusal(broker.say(wrong, Acknowledge(identifier)), wrong).reason == (
        "this comes by another version of IP"
    )
    punching = broker.greeted(host=IPV6_HOST)
    ((_, told),) = broker.say(punching, Acknowledge(identifier))
    assert isinstance(told, SenderEndpoint)
    assert told.errand == asked.errand
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
    told = RegisterIPv6("alice", proof.certificate, proof.signature)
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
        signature = identity.sign_registration(challenge or telling.challenge, "alice")
        told = RegisterIPv6("alice", identity.certificate, signature)
        assert refusal(broker.say(telling, told), telling).code is code
        assert receiver.ipv6 is None


def test_ipv4_endpoint_is_told_by_the_registration_only(broker: Broker) -> None:
    receiver = broker.receiver()
    telling = broker.greeted()
    proof = registration("alice", telling.challenge)
    told = RegisterIPv6("alice", proof.certificate, proof.signature)
    refused = refusal(broker.say(telling, told), telling)
    assert refused.reason == "this does not come over IPv6"
    assert receiver.ipv6 is None


# Relayed introductions.


def test_relay_steps(broker: Broker) -> None:
    receiver, sender = broker.receiver(), broker.greeted()
    # 1: the sender asks. 2: the receiver is told.
    outgoing = broker.say(sender, request(5, "alice", "relay"))
    identifier, circuit = broker.tokens[-2:]
    assert (len(identifier), len(circuit)) == (ID_BYTES, ID_BYTES)
    assert outgoing == [(receiver, RelayRequest(identifier, SENDER.certificate))]
    assert sender.state is State.WAITING
    assert sender.deadline == NOW + INTRODUCTION_TIME
    # 3: the receiver joins on another connection. 4: both are told.
    joining = broker.greeted()
    outgoing = broker.say(joining, JoinRelay(identifier))
    assert outgoing == [
        (sender, Relayed(circuit, ALICE.certificate)),
        (joining, Relayed(circuit)),
    ]
    assert {sender.state, joining.state} == {State.RELAYED}
    assert sender.introduction is not None
    assert joining.introduction is sender.introduction
    assert broker.registry.pending_introductions == 0
    assert broker.registry.circuits == 1
    # The shell takes the connections over; the registration goes on.
    for connection in (sender, joining):
        assert broker.registry.disconnected(connection) == []
    assert receiver.state is State.RECEIVER
    assert broker.registry.circuits == 1
    assert sender.introduction.grant is not None
    broker.registry.circuit_ended(sender.introduction.grant)
    assert broker.registry.circuits == 0


def test_relayed_peers_are_told_the_limits() -> None:
    broker = Broker(relay=RelayLimits(bytes_per_second=1000, max_bytes=5000))
    broker.receiver()
    _, identifier = broker.waiting(technique="relay")
    for _, message in broker.say(broker.greeted(), JoinRelay(identifier)):
        assert isinstance(message, Relayed)
        assert (message.bytes_per_second, message.max_bytes) == (1000, 5000)


def test_kept_connection_may_ask_for_the_relay_in_the_end(broker: Broker) -> None:
    broker.receiver()
    sender = broker.greeted()
    broker.say(sender, request(0, "alice", "fast"))
    ((_, asked),) = broker.say(sender, request(1, "alice", "relay"))
    assert isinstance(asked, RelayRequest)
    assert sender.state is State.WAITING


def test_only_sessions_are_relayed(broker: Broker) -> None:
    broker.receiver()
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
    assert sender.state is State.SENDER
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
            assert broker.registry.disconnected(sender) == []
        case "expired":
            refused = refusal(broker.registry.expired(sender), sender)
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
    assert "at most 3 circuits at a time for one IP address" in refused.reason
    assert "the sender's" in refused.reason


def test_receiver_s_address_has_limited_circuits() -> None:
    broker = Broker(relay=RelayLimits(circuits_per_ip=1))
    broker.receiver()
    broker.relayed(host="192.0.2.1")
    sender, identifier = broker.waiting(technique="relay", host="198.51.100.1")
    joining = broker.greeted(host="192.0.2.1")
    told = dict(broker.say(joining, JoinRelay(identifier)))
    for connection, number in ((sender, 7), (joining, None)):
        refused = told[connection]
        assert isinstance(refused, Refused)
        assert (refused.code, refused.number) == (RefusalCode.RELAY_REFUSED, number)
        assert "the receiver's" in refused.reason
        assert connection.is_closed
    assert broker.registry.circuits == 1
    assert broker.registry.pending_introductions == 0


# Whatever comes, in whatever order.


class AnyClients(RuleBasedStateMachine):
    """Several connections that say valid, late, wrong and malicious things in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.broker = Broker(relay=FEW)
        self.circuits: set[Grant] = set()
        self.registry = self.broker.registry
        self.connections: list[Connection] = []
        self.told_last: set[Connection] = set()

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self.connect(["fast", "classic", "relay", "session"], "a")

    def take(self, outgoing: Outgoing) -> None:
        """What the shell does, and what may be expected of what it is told to send."""
        for connection, message in outgoing:
            assert connection in self.connections
            assert connection not in self.told_last, "it had said its last"
            encode(message)
            if isinstance(message, Relayed):
                assert connection.introduction is not None
                assert connection.introduction.grant is not None
                self.circuits.add(connection.introduction.grant)
        self.told_last |= {to for to, _ in outgoing if to.is_closed or to.state is State.RELAYED}

    def say(self, connection: Connection, message: Message) -> None:
        # The shell hands nothing on from a connection that the registry has done with.
        if not connection.is_closed and connection.state is not State.RELAYED:
            self.take(self.registry.received(connection, message, self.now))

    def any_connection(self, index: int) -> Connection:
        return self.connections[index % len(self.connections)]

    has_connections = precondition(lambda self: bool(self.connections))
    indices = st.integers(0, 15)
    uids = st.sampled_from("abc")

    @rule(
        capabilities=st.lists(st.sampled_from([*CAPABILITIES, "telepathy"]), max_size=4),
        uid=st.none() | uids,
    )
    def connect(self, capabilities: list[str], uid: str | None) -> None:
        connection = self.broker.connect()
        connection.deadline += self.now - NOW
        self.connections.append(connection)
        self.say(connection, Hello(VERSION, tuple(capabilities)))
        if uid is not None:
            self.say(connection, registration(uid, connection.challenge))

    @rule()
    def connect_silently(self) -> None:
        connection = self.broker.connect()
        connection.deadline += self.now - NOW
        self.connections.append(connection)

    @has_connections
    @rule(index=indices, uid=uids, name=uids)
    def register(self, index: int, uid: str, name: str) -> None:
        connection = self.any_connection(index)
        self.say(connection, registration(uid, connection.challenge, identity_of(name)))

    @has_connections
    @rule(index=indices, uid=uids, other=indices)
    def register_with_what_another_signed(self, index: int, uid: str, other: int) -> None:
        message = registration(uid, self.any_connection(other).challenge)
        self.say(self.any_connection(index), message)

    @has_connections
    @rule(
        index=indices,
        uid=uids,
        technique=st.sampled_from(["fast", "classic", "relay", "telepathy"]),
    )
    def ask(self, index: int, uid: str, technique: str) -> None:
        connection = self.any_connection(index)
        self.say(connection, request(index, uid, technique))

    @has_connections
    @rule(index=indices, token=st.integers(0, 30), kind=st.sampled_from(answers_to_introductions))
    def answer(
        self, index: int, token: int, kind: type[Acknowledge | HolePunched | JoinRelay]
    ) -> None:
        self.say(self.any_connection(index), kind(self.token(token) or bytes(ID_BYTES)))

    def token(self, back: int | None) -> bytes | None:
        known = [token for token in self.broker.tokens if len(token) == ID_BYTES]
        if back is None or back >= len(known):
            return None
        return known[-1 - back]

    @has_connections
    @rule(index=indices, message=st.sampled_from([KeepAlive(), Kill(), Hello(9)]))
    def say_simple(self, index: int, message: Message) -> None:
        self.say(self.any_connection(index), message)

    @has_connections
    @rule(index=indices, offer=offers)
    def update(self, index: int, offer: Offer) -> None:
        self.say(self.any_connection(index), Update(offer))

    @has_connections
    @rule(index=indices, uid=uids)
    def watch(self, index: int, uid: str) -> None:
        self.say(self.any_connection(index), Watch(uid))

    @invariant()
    def only_senders_watch(self) -> None:
        assert all(each.state is State.SENDER for each in self.registry._watches._watched)

    @rule(port=st.integers(0, 3))
    def probe(self, port: int) -> None:
        connection = self.broker.connect(f"203.0.113.{port}")
        connection.deadline += self.now - NOW
        self.connections.append(connection)
        for message in (Hello(), Probe(), CallBack()):
            self.say(connection, message)

    @has_connections
    @rule(index=indices, outcome=st.none() | st.sampled_from(Outcome))
    def end_a_call(self, index: int, outcome: Outcome | None) -> None:
        connection = self.any_connection(index)
        if connection.state is State.CALLED:  # else the shell does not make one
            self.take(self.registry.called_back(connection, CalledBack(outcome)))

    @invariant()
    def calls_are_those_asked_for(self) -> None:
        assert self.registry.calls == sum(c.state is State.CALLED for c in self.connections)

    @has_connections
    @rule(index=indices, message=message_strategy())
    def say_anything(self, index: int, message: Message) -> None:
        self.say(self.any_connection(index), message)

    @has_connections
    @rule(index=indices)
    def say_garbage(self, index: int) -> None:
        connection = self.any_connection(index)
        if not connection.is_closed:
            self.take(self.registry.violated(connection, RemoteProtocolError("got garbage")))

    @has_connections
    @rule(index=indices)
    def disconnect(self, index: int) -> None:
        connection = self.connections.pop(index % len(self.connections))
        self.take(self.registry.disconnected(connection))

    @rule(seconds=st.floats(0, 70))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for connection in self.connections:
            if connection.deadline <= self.now and not connection.is_closed:
                self.take(self.registry.expired(connection))
                assert connection.is_closed

    @invariant()
    def each_uid_has_one_holder(self) -> None:
        holders = [c.uid for c in self.connections if c.state is State.RECEIVER]
        assert len(set(holders)) == len(holders)
        assert self.registry.uids == set(holders)

    @invariant()
    def introductions_are_those_waited_for(self) -> None:
        waiting = [c for c in self.connections if c.state is State.WAITING]
        assert self.registry.pending_introductions == len(waiting)
        assert len({c.introduction for c in waiting}) == len(waiting)

    @precondition(lambda self: bool(self.circuits))
    @rule()
    def end_a_circuit(self) -> None:
        self.registry.circuit_ended(self.circuits.pop())

    @invariant()
    def circuits_are_those_granted(self) -> None:
        waiting = [
            c.introduction.grant
            for c in self.connections
            if c.state is State.WAITING and c.introduction is not None
        ]
        assert self.registry.circuits == len(self.circuits) + len(waiting) - waiting.count(None)

    @invariant()
    def every_live_connection_has_a_deadline(self) -> None:
        assert all(c.deadline <= self.now + SILENCE_TIME for c in self.connections)

    def teardown(self) -> None:
        while self.connections:
            self.disconnect(0)
        while self.circuits:
            self.end_a_circuit()
        assert self.registry.uids == frozenset()
        assert self.registry.pending_introductions == 0
        assert self.registry.circuits == 0
        assert self.registry.calls == 0
        assert self.registry.watches == 0


AnyClients.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_clients: Any = AnyClients.TestCase
