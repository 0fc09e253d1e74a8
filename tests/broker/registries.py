"""A registry without sockets, and connections that speak to it."""

import hmac
import itertools
from ipaddress import IPv4Address, ip_address

import pytest

from trio_p2p._addresses import Endpoint
from trio_p2p._broker.admission import Admission
from trio_p2p._broker.connection import Connection, Messages, Probes
from trio_p2p._broker.limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from trio_p2p._broker.observer import Observer
from trio_p2p._broker.own_endpoints import OwnEndpoints
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.registry import Registry
from trio_p2p._identity.identity import Identity
from trio_p2p._wire.messages import (
    CAPABILITIES,
    VERSION,
    Acknowledge,
    CallBack,
    ConnectionRequest,
    Hello,
    HolePunched,
    JoinRelay,
    Message,
    Probe,
    Refused,
    RelayRequest,
    StreamKind,
)
from trio_p2p._wire.offer import Behaviour, Candidate, CandidateKind, Nat, Offer

from ..kit.raw_client import BROKER, identity_of, registration, request

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
        *,
        round_trip: int = 20_000,
        relay: RelayLimits | None = RelayLimits(),  # noqa: B008
        probes: Probes | None = PROBES,
        first_token: int = 0,
        limits: BrokerLimits = DEFAULT_BROKER_LIMITS,
        external: tuple[Endpoint, ...] = (),
        local: Endpoint = BROKER,
        observer: Observer | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.tokens: list[bytes] = [b""] * first_token
        self.registry = Registry(
            token_bytes=self._token_bytes,
            round_trip=lambda _connection, _now: round_trip,
            reads=lambda connection: connection not in self.clogged,
            relay=relay,
            probes=probes,
            limits=limits,
            own_endpoints=OwnEndpoints(external),
            observer=observer,
            admission=admission,
        )
        self.local = local
        self.clogged: set[Connection] = set()
        self._ports = itertools.count(40001)

    def _token_bytes(self, length: int) -> bytes:
        self.tokens.append((len(self.tokens) + 1).to_bytes(length, "big"))
        return self.tokens[-1]

    def connect(self, host: str = "203.0.113.5") -> Connection:
        endpoint = Endpoint(ip_address(host), next(self._ports))
        return self.registry.connected(endpoint, self.local, NOW)

    def say(self, connection: Connection, *messages: Message, now: float = NOW) -> Messages:
        """What the last of the messages leads to."""
        outgoing: Messages = []
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
        *,
        number: int = 0,
        stream: StreamKind = StreamKind.SESSION,
        instance: int = 0,
    ) -> Messages:
        message = registration(
            uid, connection.challenge, identity, number=number, stream=stream, instance=instance
        )
        return self.say(connection, message, now=now)

    def origin(self, sender: Connection) -> bytes:
        """What a receiver is told of where a sender comes from."""
        address = sender.endpoint.address
        source = address.packed if address.version == 4 else address.packed[:8]
        return hmac.digest(self.tokens[0], source, "sha256")[:8]

    def receiver(
        self,
        uid: str = "alice",
        *capabilities: str,
        host: str = "203.0.113.5",
        stream: StreamKind = StreamKind.SESSION,
        number: int = 0,
        instance: int = 0,
    ) -> Connection:
        connection = self.greeted(*capabilities, host=host)
        self.register(connection, uid, number=number, stream=stream, instance=instance)
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


def refusal(outgoing: Messages, connection: Connection) -> Refused:
    """The refusal that is all there is to send, and to this connection."""
    ((addressee, message),) = outgoing
    assert addressee is connection
    assert isinstance(message, Refused)
    assert message.reason
    return message


answers_to_introductions = (Acknowledge, HolePunched, JoinRelay)
