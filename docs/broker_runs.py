"""What a broker says, for drawings: runs that talk to its registry, without a network.

What a client says stands here, and what the broker makes of it comes of the code. A run that the
broker refuses, and a transition that no run comes by, fail the build.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from ipaddress import IPv4Address

from drawings import Arrow
from sphinx.errors import ExtensionError

from trio_p2p._addresses import Endpoint
from trio_p2p._broker.connection import Connection, Probes, State
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.registry import Registry
from trio_p2p._identity.identity import Identity
from trio_p2p._wire import messages as wire

RECEIVER, BROKER, SENDER = "receiver", "broker", "sender"
LOCAL = Endpoint(IPv4Address("198.51.100.4"), 4433)
UID = "my-uid"
NOW = 0.0
CONTROL = "control connection"


class Run:
    """A broker without a network, its clients, and what was seen of them.

    Attributes:
        arrows: what was said since :meth:`begin`.
        changes: what has led connections from one state to another.
        used: which transitions were come by.
    """

    def __init__(self, *, numbers_steps: bool = False) -> None:
        self.arrows: list[Arrow] = []
        self.changes: defaultdict[tuple[State, State], list[str]] = defaultdict(list)
        self.used: set[tuple[State, type[wire.Message]]] = set()
        self._numbers_steps = numbers_steps
        self._clients: dict[Connection, tuple[str, str]] = {}
        self._identity = Identity.generate()
        self.registry = Registry(
            token_bytes=secrets.token_bytes,
            round_trip=lambda _connection, _now: 0,
            reads=lambda _connection: True,
            relay=RelayLimits(),
            probes=Probes({4: 4434}),
        )

    def connect(self, client: str, over: str = "") -> Connection:
        """A client connects, and greets."""
        endpoint = Endpoint(IPv4Address("203.0.113.5"), 40000 + len(self._clients))
        connection = self.registry.connected(endpoint, LOCAL, NOW)
        self._clients[connection] = client, over
        self.say(connection, wire.Hello())
        return connection

    def begin(self) -> None:
        """Forget what was said so far, which is not to be drawn."""
        self.arrows.clear()

    def say(
        self, connection: Connection, message: wire.Message, closing: str = ""
    ) -> list[wire.Message]:
        """A client says something; what the broker says then, to whomever.

        Args:
            connection: over which it is said.
            message: what is said.
            closing: the number of the step in which the broker closes the other client's.
        """
        client, over = self._clients[connection]
        self.used.add((connection.state, type(message)))
        before = {each: each.state for each in self._clients}
        self._note(client, BROKER, message, over)
        outgoing = self.registry.received(connection, message, NOW)
        for addressee, said in outgoing:
            if isinstance(said, wire.Refused) and not isinstance(message, wire.Decline):
                raise ExtensionError(f"docs/broker_runs.py: the broker refuses this: {said}")
            name, over = self._clients[addressee]
            self._note(BROKER, name, said, over)
        technique = (
            f" ({message.technique})" if isinstance(message, wire.IntroductionRequest) else ""
        )
        for each, state in before.items():
            whose = "" if each is connection else f"the {client}’s "
            if each is connection or each.state is not state:
                self._note_change(state, each.state, f"{whose}{message.type}{technique}")
            if each.state is State.CLOSED and each is not connection and state is not each.state:
                self.arrows.append(
                    Arrow(BROKER, self._clients[each][0], f"{closing}closes the connection")
                )
        return [said for _, said in outgoing]

    def leave(self, connection: Connection, label: str) -> None:
        """A client closes a connection."""
        before = connection.state
        self.arrows.append(Arrow(self._clients[connection][0], BROKER, label))
        self.registry.disconnected(connection, NOW)
        self._note_change(before, connection.state, "the client closes it")

    def called_back(self, connection: Connection) -> None:
        """The broker has called a client back."""
        before = connection.state
        for _, said in self.registry.called_back(connection, wire.CalledBack()):
            self._note_change(before, connection.state, f"the broker says {said.type}")

    def registration(self, connection: Connection, number: int, uid: str = UID) -> wire.Register:
        """What registers a name of the receiver's."""
        identity = self._identity
        signature = identity.sign_registration(connection.challenge, LOCAL, uid)
        instance = bytes(wire.INSTANCE_BYTES)
        kind = wire.StreamKind.SESSION
        return wire.Register(number, uid, kind, instance, LOCAL, identity.certificate, signature)

    def identification(self, connection: Connection) -> wire.Identify:
        """What shows who the receiver is."""
        identity = self._identity
        signature = identity.sign_identification(connection.challenge, LOCAL)
        return wire.Identify(LOCAL, identity.certificate, signature)

    def request(self, number: int, technique: str) -> wire.IntroductionRequest:
        """What asks for it."""
        certificate = self._identity.certificate
        return wire.IntroductionRequest(
            number, UID, technique, wire.StreamKind.SESSION, certificate
        )

    def receiver(self) -> Connection:
        """The control connection of a receiver that is registered."""
        connection = self.connect(RECEIVER, CONTROL)
        self.say(connection, self.registration(connection, 0))
        return connection

    def ask(self, technique: str) -> tuple[Connection, bytes]:
        """A sender that waits for the receiver, and the introduction's identifier."""
        sender = self.connect(SENDER)
        self.begin()
        (asked,) = self.say(sender, self.request(1, technique))
        assert isinstance(asked, wire.ConnectionRequest | wire.RelayRequest)
        return sender, asked.introduction

    def _note(self, source: str, target: str, message: wire.Message, over: str) -> None:
        kind, _, number = message.step.partition(" ")
        label = f"{number}. " if self._numbers_steps and kind == "step" else ""
        label += message.type + (f", over the {over}" if over else "")
        self.arrows.append(Arrow(source, target, label))

    def _note_change(self, before: State, after: State, label: str) -> None:
        if label not in self.changes[before, after]:
            self.changes[before, after].append(label)


def fast() -> Run:
    """A fast introduction, and the connection that comes of it."""
    run = Run()
    run.receiver()
    sender = run.connect(SENDER)
    run.begin()
    run.say(sender, run.request(1, "fast"))
    run.arrows += [
        Arrow(RECEIVER, SENDER, "SYN, held and guarded: it opens the hole", is_lost=True),
        Arrow(SENDER, RECEIVER, "SYN, through the hole"),
        Arrow(RECEIVER, SENDER, "SYN and ACK, of the socket that is held"),
        Arrow(SENDER, RECEIVER, "ACK, and the first word of the connectivity check"),
    ]
    return run


def classic() -> Run:
    """A classic introduction: the twelve steps."""
    run = Run(numbers_steps=True)
    run.receiver()
    _, introduction = run.ask("classic")
    second = run.connect(RECEIVER, "second connection")
    del run.arrows[-2:]  # both greetings
    run.say(second, wire.Acknowledge(introduction))
    run.leave(second, "5. closes the second connection")
    run.arrows += [
        Arrow(RECEIVER, SENDER, "6. SYN from the same port, guarded", is_lost=True),
        Arrow(RECEIVER, RECEIVER, "7. nothing comes of it: the socket is held"),
        Arrow(RECEIVER, RECEIVER, "8. listens on that port, too"),
    ]
    third = run.connect(RECEIVER, "third connection")
    del run.arrows[-2:]
    run.say(third, wire.HolePunched(introduction), closing="11. ")
    run.arrows.append(Arrow(SENDER, RECEIVER, "12. SYN from the port of step 1"))
    return run


def everything() -> Run:
    """All that a client may say in each state."""
    run = Run()
    receiver = run.receiver()
    for message in (
        wire.KeepAlive(),
        wire.Update(),
        run.identification(receiver),
        run.registration(receiver, 1, "another-uid"),
        run.request(2, "fast"),
        wire.Watch("third-uid", 3),
        wire.Unwatch("third-uid"),
        wire.Report(120),
        wire.Unregister(1),
    ):
        run.say(receiver, message)
    for first in (
        run.request(0, "fast"),
        wire.Watch(UID, 0),
        wire.Report(120),
        wire.KeepAlive(),
    ):
        run.say(run.connect(SENDER), first)
    _, introduction = run.ask("classic")
    run.say(receiver, wire.Decline(introduction))
    _, introduction = run.ask("classic")
    second = run.connect(RECEIVER)
    run.say(second, wire.Acknowledge(introduction))
    run.leave(second, "")
    run.say(run.connect(RECEIVER), wire.HolePunched(introduction))
    _, introduction = run.ask("relay")
    run.say(run.connect(RECEIVER), wire.JoinRelay(introduction))
    client = run.connect(SENDER)
    run.say(client, run.identification(client))
    run.say(client, wire.Probe())
    run.say(client, wire.CallBack())
    run.called_back(client)
    run.say(receiver, wire.Kill())
    for state, cls in Registry.TRANSITIONS.keys() - run.used:
        text = f"docs/broker_runs.py: let a client say {cls.type} in {state.name} in everything()"
        raise ExtensionError(text)
    return run
