"""Feeds hostile bytes to all that a broker does before it has reason to trust anybody.

Bytes to frames to messages to transitions of a registry, on four connections. ``nox -s fuzz`` runs
it; the arguments are libFuzzer's.

An input is a number of pieces. The first byte of a piece says which connection it comes over, and
how long it is; with a length of zero the connection's deadline passes, or it breaks.
"""

import itertools
import json
import sys
from ipaddress import IPv4Address
from pathlib import Path

import atheris
from fuzzing import run

with atheris.instrument_imports(include=["trio_p2p"]):
    from trio_p2p._addresses import Endpoint
    from trio_p2p._broker.connection import Connection, Messages, Probes, State
    from trio_p2p._broker.quota import RelayLimits
    from trio_p2p._broker.registry import Registry
    from trio_p2p._errors import RemoteProtocolError
    from trio_p2p._identity.identity import Identity
    from trio_p2p._wire.codec import FrameReader, decode_untrusted, encode
    from trio_p2p._wire.messages import (
        Acknowledge,
        CallBack,
        CalledBack,
        ConnectionRequest,
        Decline,
        Hello,
        HolePunched,
        IntroductionRequest,
        JoinRelay,
        Kill,
        Message,
        Probe,
        ReceiverEndpoint,
        Register,
        RelayRequest,
        StreamKind,
        Unregister,
        Update,
        Watch,
    )
    from trio_p2p._wire.offer import Offer

VECTORS = Path(__file__).parent.parent / "docs" / "vectors.json"
ENDPOINT = Endpoint(IPv4Address("203.0.113.5"), 49152)
CONNECTIONS = 4
OVER = (State.CLOSED, State.RELAYED)  # for the registry: what is relayed is not for it to read


class Clients:
    """Connections to one registry, like the broker's shell keeps them."""

    def __init__(self) -> None:
        tokens = itertools.count()  # that can be guessed, here
        self.registry = Registry(
            token_bytes=lambda length: next(tokens).to_bytes(length, "big"),
            round_trip=lambda _connection, _now: 0,
            reads=lambda _connection: True,
            relay=RelayLimits(),
            probes=Probes({4: 4434}, (ENDPOINT,)),
        )
        self.connections = [self.connect() for _ in range(CONNECTIONS)]
        self.readers = [FrameReader() for _ in range(CONNECTIONS)]

    def connect(self) -> Connection:
        return self.registry.connected(ENDPOINT, ENDPOINT, 0.0)

    def receive(self, index: int, data: bytes) -> None:
        connection, reader = self.connections[index], self.readers[index]
        reader.feed(data)
        try:
            while connection.state not in OVER:
                payload = reader.next_untrusted()
                if payload is None:
                    break
                message = decode_untrusted(payload)
                self.check(self.registry.received(connection, message, 0.0))
                repr(message)  # the log
                if connection.state is State.CALLED and reader.is_empty:
                    self.check(self.registry.called_back(connection, CalledBack()))
        except RemoteProtocolError as error:
            self.check(self.registry.violated(connection, error, 0.0))
        for number, other in enumerate(self.connections):
            if other.state is State.RELAYED or (number == index and other.state is State.CLOSED):
                self.end(number)

    def end(self, index: int) -> None:
        self.check(self.registry.disconnected(self.connections[index], 0.0))
        self.connections[index] = self.connect()
        self.readers[index] = FrameReader()

    def check(self, outgoing: Messages) -> None:
        for connection, message in outgoing:
            assert connection in self.connections
            reader = FrameReader()
            reader.feed(encode(message))
            payload = reader.next_untrusted()
            assert payload is not None
            assert decode_untrusted(payload) == message
            assert reader.is_empty

    def check_invariants(self) -> None:
        names = {each.name for c in self.connections for each in c.registrations}
        waiting = [c for c in self.connections if c.state is State.WAITING]
        assert self.registry.uids == {name.uid for name in names}
        assert len(self.registry.uids) == len(names)
        assert self.registry.pending_introductions == len(waiting)
        assert self.registry.calls == sum(c.state is State.CALLED for c in self.connections)

    def end_all(self) -> None:
        for index in range(CONNECTIONS):
            self.end(index)
        assert not self.registry.uids
        assert not self.registry.pending_introductions
        assert not self.registry.calls


def feed(data: bytes) -> None:
    """Run one input; whatever it raises is a bug."""
    clients = Clients()
    position = 0
    while position < len(data):
        index, length = data[position] & 3, data[position] >> 2
        position += 1
        connection: Connection = clients.connections[index]
        if length:
            clients.receive(index, data[position : position + length])
            position += length
        else:
            if connection.state is State.WAITING:
                clients.check(clients.registry.expired(connection, 0.0))
            clients.end(index)
        clients.check_invariants()
    clients.end_all()


class Script(Clients):
    """Clients that say what makes sense, and remember it as an input."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Message] = []
        self.inputs = [b""]

    def check(self, outgoing: Messages) -> None:
        self.told += [message for _, message in outgoing]
        super().check(outgoing)

    def say(self, index: int, *messages: Message) -> None:
        pieces = _pieces(index, b"".join(map(encode, messages)))
        self.inputs.append(self.inputs[-1] + pieces)
        self.receive(index, b"".join(map(encode, messages)))

    def last(self, message_type: type[Message]) -> Message:
        """The last message of a type that anybody was told."""
        return next(message for message in reversed(self.told) if isinstance(message, message_type))


def seeds() -> list[bytes]:
    """Inputs to begin with: every vector, first or after a greeting, and all introductions."""
    vectors = json.loads(VECTORS.read_text("utf-8"))
    frames = [
        bytes.fromhex(vector["hex"])
        for section in ("messages", "also_accepted", "invalid")
        for vector in vectors[section]
    ]
    hello = _pieces(0, frames[0])
    return introductions() + [
        greeting + _pieces(0, frame) for frame in frames for greeting in (b"", hello)
    ]


def introductions() -> list[bytes]:
    """A registration, and an introduction by each technique; each cut off after every step."""
    script, identity = Script(), Identity.generate()
    certificate = identity.certificate

    def request(technique: str) -> IntroductionRequest:
        return IntroductionRequest(0, "alice", technique, StreamKind.SESSION, certificate)

    script.say(0, Hello())
    challenge = script.last(Hello).challenge
    signature = identity.sign_registration(challenge, ENDPOINT, "alice")
    session = StreamKind.SESSION
    script.say(0, Register(0, "alice", session, bytes(16), ENDPOINT, certificate, signature))
    script.say(0, Update(Offer(port_guessing=False)))
    script.say(3, Hello(), Probe(), CallBack())
    script.say(1, Hello(), request("classic"))
    identifier = script.last(ConnectionRequest).introduction
    script.say(2, Hello(), Acknowledge(identifier))
    script.say(3, Hello(), HolePunched(identifier))
    script.say(1, Hello(), request("fast"))
    script.say(0, Decline(nonce=script.last(ReceiverEndpoint).nonce))
    script.say(3, Hello(), request("relay"))
    script.say(2, Hello(), JoinRelay(script.last(RelayRequest).introduction))
    signature = identity.sign_registration(challenge, ENDPOINT, "bob")
    script.say(0, Register(1, "bob", StreamKind.RAW, bytes(16), ENDPOINT, certificate, signature))
    script.say(0, Unregister(0), Watch("alice"), Kill())
    return script.inputs[1:]


def _pieces(index: int, frame: bytes) -> bytes:
    cut = [frame[start : start + 63] for start in range(0, len(frame), 63)]
    return b"".join(bytes((len(piece) << 2 | index,)) + piece for piece in cut)


if __name__ == "__main__":
    sys.exit(run(feed, seeds()))
