"""The registry's invariants: whatever clients say, in whatever order."""

from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_p2p._attempt import Outcome
from trio_p2p._broker.connection import Connection, Messages, State
from trio_p2p._broker.quota import CircuitGrant
from trio_p2p._broker.registrations import MAX_NAMES
from trio_p2p._broker.registry import SILENCE_TIME
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    CAPABILITIES,
    ID_BYTES,
    NONCE_BYTES,
    VERSION,
    Acknowledge,
    CallBack,
    CalledBack,
    Decline,
    Hello,
    HolePunched,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    Probe,
    Relayed,
    StreamKind,
    Unregister,
    Update,
    Watch,
)
from trio_p2p._wire.offer import Offer

from ..kit.message_strategies import message_strategy, offers
from ..kit.raw_client import identity_of, registration, request
from .registries import FEW, NOW, Broker, answers_to_introductions


class AnyClients(RuleBasedStateMachine):
    """Several connections that say valid, late, wrong and malicious things in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.broker = Broker(relay=FEW)
        self.circuits: set[CircuitGrant] = set()
        self.registry = self.broker.registry
        self.connections: list[Connection] = []
        self.told_last: set[Connection] = set()

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self.connect(["fast", "classic", "relay"], "a", 4)

    def take(self, outgoing: Messages) -> None:
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
    numbers = st.integers(0, 3)

    @rule(
        capabilities=st.lists(st.sampled_from([*CAPABILITIES, "telepathy"]), max_size=4),
        uid=st.none() | uids,
        ip_version=st.sampled_from([4, 6]),
    )
    def connect(self, capabilities: list[str], uid: str | None, ip_version: int) -> None:
        connection = self.broker.connect("203.0.113.5" if ip_version == 4 else "2001:db8::5")
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
    @rule(
        index=indices,
        uid=uids,
        name=uids,
        number=numbers,
        stream=st.sampled_from(StreamKind),
        instance=st.integers(0, 1),
    )
    def register(  # noqa: PLR0917
        self, index: int, uid: str, name: str, number: int, stream: StreamKind, instance: int
    ) -> None:
        connection = self.any_connection(index)
        message = registration(
            uid,
            connection.challenge,
            identity_of(name),
            number=number,
            stream=stream,
            instance=instance,
        )
        self.say(connection, message)

    @has_connections
    @rule(index=indices, number=numbers)
    def unregister(self, index: int, number: int) -> None:
        self.say(self.any_connection(index), Unregister(number))

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

    @has_connections
    @rule(index=indices, token=st.integers(0, 30), is_fast=st.booleans())
    def decline(self, index: int, token: int, is_fast: bool) -> None:
        asked, told = self.token(token), self.token(token, NONCE_BYTES)
        message = Decline(nonce=told) if is_fast else Decline(asked)
        self.say(self.any_connection(index), message)

    def token(self, back: int | None, length: int = ID_BYTES) -> bytes | None:
        known = [token for token in self.broker.tokens if len(token) == length]
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
    def only_control_connections_watch_and_register(self) -> None:
        assert all(each.state is State.CONTROL for each in self.registry._watches._watched)
        assert all(
            each.state is State.CONTROL
            for each in self.connections
            if each.registration is not None
        )

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
            self.take(
                self.registry.violated(connection, RemoteProtocolError("got garbage"), self.now)
            )

    @has_connections
    @rule(index=indices)
    def disconnect(self, index: int) -> None:
        connection = self.connections.pop(index % len(self.connections))
        self.take(self.registry.disconnected(connection, self.now))

    @rule(seconds=st.floats(0, 70))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for connection in self.connections:
            if connection.deadline <= self.now and not connection.is_closed:
                self.take(self.registry.expired(connection, self.now))
                assert connection.is_closed

    @invariant()
    def each_uid_has_one_holder(self) -> None:
        registrations = [each for c in self.connections for each in c.registrations]
        names = {each.name for each in registrations}
        assert len({name.uid for name in names}) == len(names)
        assert self.registry.uids == {name.uid for name in names}
        for name in names:
            assert set(name.registrations) == {each for each in registrations if each.name is name}
            for version in (4, 6):
                registration = name.over(version)
                assert registration is None or registration.connection.ip_version == version

    @invariant()
    def registrations_of_a_connection_have_their_numbers(self) -> None:
        for connection in self.connections:
            numbers = [each.number for each in connection.registrations]
            assert len(set(numbers)) == len(numbers) <= MAX_NAMES
            assert all(each.connection is connection for each in connection.registrations)

    @invariant()
    def what_was_told_is_remembered_of_registrations_only(self) -> None:
        for connection, told in self.registry._introductions._told._of_receiver.items():
            assert set(told) <= set(connection.registrations)

    @invariant()
    def introductions_are_for_registrations(self) -> None:
        for receiver in self.registry._introductions._pending._of_receiver:
            assert receiver in receiver.connection.registrations

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
        assert not self.registry._introductions._pending._of_receiver
        assert not self.registry._introductions._told._of_receiver


AnyClients.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_clients: Any = AnyClients.TestCase
