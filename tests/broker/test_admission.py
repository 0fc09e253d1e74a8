"""Who may do what at an open and at a closed broker."""

import secrets

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trio_p2p._broker.access_lists import parse_entries
from trio_p2p._broker.admission import AccessRules, Admission
from trio_p2p._broker.connection import Connection, State
from trio_p2p._identity.access_token import AccessToken, Use
from trio_p2p._identity.identity import Identity
from trio_p2p._wire.messages import (
    Hello,
    KeepAlive,
    Message,
    Probe,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Registered,
    RegisteredAgain,
    RelayRequest,
    Watch,
)

from ..kit.raw_client import BROKER, identification, identity_of, request
from .registries import ALICE, NOW, SENDER, Broker, refusal

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
PUBLIC = KEY.public_key().public_bytes_raw()
EXPIRY = 2_000_000_000
CLOSED = AccessRules(is_closed=True, keys=(PUBLIC,))


class Calendar:
    """A date that a test sets."""

    def __init__(self) -> None:
        self.time = EXPIRY - 1000.0

    def __call__(self) -> float:
        return self.time


class ClosedBroker(Broker):
    """A broker with rules that may change."""

    def __init__(self, rules: AccessRules = CLOSED) -> None:
        self.calendar = Calendar()
        self.admission = Admission(self.calendar, rules)
        super().__init__(admission=self.admission)

    def arrived(self, token: bytes | None = None, identity: Identity | None = None) -> Connection:
        """A client that has greeted with a token, and has proven an identity, if any."""
        connection = self.connect()
        self.say(connection, Hello(token=token))
        if identity is not None:
            self.say(connection, identification(identity, connection.challenge))
        return connection


def token(
    *uses: Use, peer: Identity | None = None, uid: str | None = None, key: Ed25519PrivateKey = KEY
) -> bytes:
    peer_id = None if peer is None else peer.peer_id
    said = AccessToken(secrets.token_bytes(8), frozenset(uses or Use), EXPIRY, peer_id, uid)
    return said.sign(key)


def code_of(outgoing: list[tuple[Connection, Message]]) -> RefusalCode | None:
    refused = [message for _, message in outgoing if isinstance(message, Refused)]
    return refused[0].code if refused else None


# Closed.


def test_a_closed_broker_admits_no_stranger() -> None:
    broker = ClosedBroker()
    stranger = broker.arrived()
    assert not broker.registry.uids
    for outgoing in (
        broker.register(stranger, "alice", number=3),
        broker.say(stranger, request(4, "alice", "fast")),
    ):
        refused = refusal(outgoing, stranger)
        assert refused.code is RefusalCode.NOT_ADMITTED
        assert "ask its operator for a token" in refused.reason
        assert refused.number in (3, 4)
    assert stranger.state is State.CONTROL  # refused that, and nothing else
    assert not broker.registry.uids


@pytest.mark.parametrize("technique", ["fast", "classic", "relay"])
def test_a_token_opens_it(technique: str) -> None:
    broker = ClosedBroker()
    receiver = broker.arrived(token())
    ((_, answer),) = broker.register(receiver, "alice")
    assert isinstance(answer, Registered)
    outgoing = broker.say(broker.arrived(token()), request(0, "alice", technique))
    assert code_of(outgoing) is None
    assert outgoing[0][0] is receiver


@pytest.mark.parametrize(
    ("uses", "allowed"),
    [
        ({Use.REGISTER}, {"register"}),
        ({Use.ASK}, {"fast", "classic"}),
        ({Use.RELAY}, {"relay"}),
        ({Use.ASK, Use.RELAY}, {"fast", "classic", "relay"}),
    ],
    ids=["register", "ask", "relay", "ask or relay"],
)
def test_a_token_is_for_its_uses_only(uses: set[Use], allowed: set[str]) -> None:
    broker = ClosedBroker()
    broker.register(broker.arrived(token()), "alice")
    found = set()
    if code_of(broker.register(broker.arrived(token(*uses)), "bob")) is None:
        found.add("register")
    for technique in ("fast", "classic", "relay"):
        client = broker.arrived(token(*uses))
        outgoing = broker.say(client, request(0, "alice", technique))
        if code_of(outgoing) is None:
            found.add(technique)
        else:
            assert "is not one to" in refusal(outgoing, client).reason
    assert found == allowed


def test_a_token_is_for_its_uids_only() -> None:
    broker = ClosedBroker()
    client = broker.arrived(token(uid="team-*"))
    assert code_of(broker.register(client, "team-1")) is None
    refused = refusal(broker.register(client, "alice", number=1), client)
    assert refused.code is RefusalCode.NOT_ADMITTED
    assert "UIDs like team-* only" in refused.reason
    assert code_of(broker.say(client, request(2, "alice", "fast"))) is RefusalCode.NOT_ADMITTED
    assert code_of(broker.say(client, request(3, "team-1", "fast"))) is None


def test_a_bound_token_wants_a_proof_and_is_of_no_use_to_others() -> None:
    broker = ClosedBroker()
    broker.register(broker.arrived(token()), "alice")
    bound = token(peer=SENDER)

    unproven = broker.arrived(bound)
    outgoing = broker.say(unproven, request(0, "alice", "fast"))
    assert refusal(outgoing, unproven).code is RefusalCode.PROOF_WANTED
    # The same client, now that it has proven who it is, on the same connection.
    broker.say(unproven, identification(SENDER, unproven.challenge))
    assert code_of(broker.say(unproven, request(1, "alice", "fast"))) is None

    thief = broker.arrived(bound, ALICE)
    for identity in (ALICE, SENDER):  # its own, or the one that it claims without a proof
        outgoing = broker.say(thief, request(0, "alice", "fast", identity=identity))
        refused = refusal(outgoing, thief)
        assert refused.code is RefusalCode.NOT_ADMITTED
        assert "this is another one" in refused.reason
    registering = broker.arrived(bound)
    assert code_of(broker.register(registering, "bob")) is RefusalCode.NOT_ADMITTED
    assert code_of(broker.register(registering, "sender", SENDER, number=1)) is None


@pytest.mark.parametrize("is_garbage", [False, True], ids=["forged", "garbage"])
def test_a_forged_token_ends_the_connection(*, is_garbage: bool) -> None:
    broker = ClosedBroker()
    client = broker.connect()
    data = b"garbage" if is_garbage else token(key=OTHER_KEY)
    refused = refusal(broker.say(client, Hello(token=data)), client)
    assert refused.code is RefusalCode.NOT_ADMITTED
    assert refused.number is None
    assert client.is_closed


def test_a_token_expires() -> None:
    broker = ClosedBroker()
    receiver, sender = broker.arrived(token()), broker.arrived(token())
    broker.register(receiver, "alice")
    broker.calendar.time = EXPIRY
    late = broker.connect()
    refused = refusal(broker.say(late, Hello(token=token())), late)
    assert refused.code is RefusalCode.NOT_ADMITTED
    assert "has expired" in refused.reason
    outgoing = broker.say(sender, request(5, "alice", "fast"))
    assert "has expired" in refusal(outgoing, sender).reason
    # What is registered is, until its next keepalive; the connection stays.
    assert broker.registry.uids == {"alice"}
    refused = refusal(broker.say(receiver, KeepAlive()), receiver)
    assert (refused.code, refused.number) == (RefusalCode.NOT_ADMITTED, 0)
    assert not broker.registry.uids
    assert receiver.state is State.CONTROL


def test_a_token_is_revoked() -> None:
    broker = ClosedBroker()
    data = token()
    receiver = broker.arrived(data)
    other = broker.arrived(token())
    broker.register(receiver, "alice")
    broker.register(other, "bob")
    broker.admission.rules = attrs.evolve(CLOSED, revoked=frozenset({data[2:10]}))
    assert "was revoked" in refusal(broker.say(receiver, KeepAlive()), receiver).reason
    assert broker.say(other, KeepAlive()) == []
    assert broker.registry.uids == {"bob"}
    again = broker.connect()
    assert "was revoked" in refusal(broker.say(again, Hello(token=data)), again).reason


# Lists.


def allowing(*lines: str, is_closed: bool = True) -> AccessRules:
    return AccessRules(is_closed=is_closed, allowed=parse_entries(lines))


def test_an_allowed_peer_has_to_prove_that_it_is_the_one() -> None:
    broker = ClosedBroker(allowing(str(ALICE.peer_id), str(SENDER.peer_id)))
    receiver = broker.arrived()
    assert code_of(broker.register(receiver, "alice")) is None  # which proves it
    liar = broker.arrived()
    assert code_of(broker.say(liar, request(0, "alice", "fast"))) is RefusalCode.PROOF_WANTED
    liar = broker.arrived(None, identity_of("mallory"))
    assert code_of(broker.say(liar, request(0, "alice", "fast"))) is RefusalCode.NOT_ADMITTED
    assert code_of(broker.register(liar, "x", identity_of("mallory"))) is RefusalCode.NOT_ADMITTED
    sender = broker.arrived(None, SENDER)
    assert code_of(broker.say(sender, request(0, "alice", "fast"))) is None


@pytest.mark.parametrize("technique", ["fast", "classic", "relay"])
def test_a_request_may_be_repeated_after_the_proof(technique: str) -> None:
    broker = ClosedBroker(allowing(str(ALICE.peer_id), str(SENDER.peer_id)))
    broker.register(broker.arrived(), "alice")
    sender = broker.arrived()
    assert code_of(broker.say(sender, request(0, "alice", technique))) is RefusalCode.PROOF_WANTED
    outgoing = broker.say(
        sender,
        identification(SENDER, sender.challenge),
        request(1, "alice", technique),
    )
    assert code_of(outgoing) is None
    assert outgoing


def test_an_allowed_uid_is_for_all() -> None:
    broker = ClosedBroker(allowing("printer", "team-*"))
    for uid in ("printer", "team-1"):
        client = broker.arrived()
        assert code_of(broker.register(client, uid)) is None
        assert code_of(broker.say(client, request(9, uid, "fast"))) is None
    assert code_of(broker.register(broker.arrived(), "alice")) is RefusalCode.NOT_ADMITTED


def test_the_greeting_wants_a_proof_where_it_helps() -> None:
    def greeting_of(rules: AccessRules, token: bytes | None = None) -> Hello:
        broker = ClosedBroker(rules)
        ((_, hello),) = broker.say(broker.connect(), Hello(token=token))
        assert isinstance(hello, Hello)
        return hello

    assert greeting_of(AccessRules()).wants_proof is None
    assert greeting_of(CLOSED).wants_proof is None
    assert greeting_of(CLOSED, token()).wants_proof is None
    assert greeting_of(CLOSED, token(peer=SENDER)).wants_proof
    assert greeting_of(allowing(str(ALICE.peer_id))).wants_proof
    assert greeting_of(allowing("printer")).wants_proof is None


@pytest.mark.parametrize("is_closed", [False, True], ids=["open", "closed"])
def test_the_denied_are_not_admitted_with_any_token(*, is_closed: bool) -> None:
    mallory = identity_of("mallory")
    rules = AccessRules(
        is_closed=is_closed,
        keys=(PUBLIC,),
        allowed=parse_entries([str(mallory.peer_id), "secret"]),
        denied=parse_entries([str(mallory.peer_id), "secret"]),
    )
    broker = ClosedBroker(rules)
    receiver = broker.arrived(token())
    broker.register(receiver, "alice")
    denied = broker.arrived(token(), mallory)
    outgoing = broker.say(denied, request(0, "alice", "fast", identity=mallory))
    assert "has denied this peer" in refusal(outgoing, denied).reason
    outgoing = broker.register(denied, "bob", mallory, number=1)
    assert "has denied this peer" in refusal(outgoing, denied).reason
    outgoing = broker.register(receiver, "secret", number=1)
    assert "has denied the use of this UID" in refusal(outgoing, receiver).reason
    assert code_of(broker.say(receiver, request(2, "secret", "fast"))) is RefusalCode.NOT_ADMITTED
    assert code_of(broker.say(receiver, request(3, "alice", "fast"))) is None


def test_a_peer_that_is_denied_later_loses_its_names_with_the_next_keepalive() -> None:
    broker = ClosedBroker(AccessRules())
    receiver = broker.receiver("alice")
    broker.register(receiver, "other", ALICE, number=1)
    sender, _ = broker.waiting("alice")
    broker.admission.rules = AccessRules(denied=parse_entries(["alice"]))
    told = dict(broker.say(receiver, KeepAlive()))
    lost = told[receiver]
    assert isinstance(lost, Refused)
    assert (lost.code, lost.number) == (RefusalCode.NOT_ADMITTED, 0)
    waiting = told[sender]
    assert isinstance(waiting, Refused)
    assert waiting.code is RefusalCode.RECEIVER_LOST
    assert broker.registry.uids == {"other"}


# Others.


def test_watching_tells_those_that_may_ask() -> None:
    broker = ClosedBroker()
    stranger, friend = broker.arrived(), broker.arrived(token())
    for watcher in (stranger, friend):
        assert broker.say(watcher, Watch("alice", 0)) == []
    outgoing = broker.register(broker.arrived(token()), "alice")
    assert [(to, type(said)) for to, said in outgoing[1:]] == [(friend, RegisteredAgain)]


def test_probes_are_for_all() -> None:
    broker = ClosedBroker()
    assert code_of(broker.say(broker.arrived(), Probe())) is None


def test_an_open_broker_looks_at_no_token() -> None:
    broker = ClosedBroker(AccessRules())
    client = broker.arrived(b"garbage", SENDER)
    assert not client.is_closed
    broker.register(client, "alice")
    outgoing = broker.say(client, request(1, "alice", "fast"))
    assert [type(said) for _, said in outgoing][1:] == [ReceiverEndpoint]


@pytest.mark.parametrize("what", ["signature", "broker", "challenge", "certificate"])
def test_a_false_proof_ends_the_connection(what: str) -> None:
    broker = ClosedBroker()
    client = broker.arrived()
    proof = identification(SENDER, client.challenge)
    changed = {
        "signature": attrs.evolve(proof, signature=bytes(64)),
        "broker": identification(SENDER, client.challenge, attrs.evolve(BROKER, port=1)),
        "challenge": identification(SENDER, bytes(32)),
        "certificate": attrs.evolve(proof, certificate=b"none"),
    }[what]
    outgoing = broker.say(client, changed)
    if what == "broker":  # which a broker at a loopback address cannot know
        assert outgoing == []
        return
    expected = (
        RefusalCode.PROTOCOL_VIOLATION if what == "certificate" else RefusalCode.IDENTITY_NOT_PROVEN
    )
    assert refusal(outgoing, client).code is expected
    assert client.is_closed
    assert client.proven == b""


def test_a_registration_proves_an_identity_and_no_other_one() -> None:
    broker = ClosedBroker(allowing(str(ALICE.peer_id), str(SENDER.peer_id)))
    client = broker.arrived()
    broker.register(client, "alice")
    assert code_of(broker.say(client, request(1, "alice", "fast"))) is RefusalCode.NOT_ADMITTED
    mine = request(2, "alice", "fast", identity=ALICE)
    assert code_of(broker.say(client, mine)) is None


def test_a_relayed_introduction_is_joined_without_a_token() -> None:
    broker = ClosedBroker()
    broker.register(broker.arrived(token()), "alice")
    sender = broker.arrived(token())
    ((_, asked),) = broker.say(sender, request(0, "alice", "relay"), now=NOW)
    assert isinstance(asked, RelayRequest)
