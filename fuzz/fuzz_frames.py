"""Feeds hostile bytes to all that a broker does before it has reason to trust anybody.

Bytes to frames to messages to transitions of a registry, on four connections. ``nox -s fuzz`` runs
it; the arguments are libFuzzer's.

An input is a number of pieces. The first byte of a piece says which connection it comes over, and
how long it is; with a length of zero the connection's deadline passes, or it breaks.
"""

import itertools
import json
import os
import sys
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trio_p2p"]):
    from trio_p2p._broker.registry import Connection, Outgoing, Registry, State
    from trio_p2p._endpoint import Endpoint
    from trio_p2p._errors import RemoteProtocolError
    from trio_p2p._wire.codec import FrameReader, decode_untrusted, encode
    from trio_p2p._wire.messages import (
        ID_BYTES,
        Acknowledge,
        HolePunched,
        IntroductionRequest,
        Register,
    )

VECTORS = Path(__file__).parent.parent / "docs" / "vectors.json"
ENDPOINT = Endpoint(IPv4Address("203.0.113.5"), 49152)
CONNECTIONS = 4


class Clients:
    """Connections to one registry, like the broker's shell keeps them."""

    def __init__(self) -> None:
        tokens = itertools.count()  # that can be guessed, here
        self.registry = Registry(
            token_bytes=lambda length: next(tokens).to_bytes(length, "big"),
            round_trip=lambda _connection: 0,
        )
        self.connections = [self.registry.connected(ENDPOINT, 0.0) for _ in range(CONNECTIONS)]
        self.readers = [FrameReader() for _ in range(CONNECTIONS)]

    def receive(self, index: int, data: bytes) -> None:
        connection, reader = self.connections[index], self.readers[index]
        reader.feed(data)
        try:
            while connection.state is not State.CLOSED:
                payload = reader.next_untrusted()
                if payload is None:
                    break
                message = decode_untrusted(payload)
                self.check(self.registry.received(connection, message, 0.0))
                repr(message)  # the log
        except RemoteProtocolError as error:
            self.check(self.registry.violated(connection, error))
        if connection.state is State.CLOSED:
            self.end(index)

    def end(self, index: int) -> None:
        self.check(self.registry.disconnected(self.connections[index]))
        self.connections[index] = self.registry.connected(ENDPOINT, 0.0)
        self.readers[index] = FrameReader()

    def check(self, outgoing: Outgoing) -> None:
        for connection, message in outgoing:
            assert connection in self.connections
            reader = FrameReader()
            reader.feed(encode(message))
            payload = reader.next_untrusted()
            assert payload is not None
            assert decode_untrusted(payload) == message
            assert reader.is_empty

    def check_invariants(self) -> None:
        holders = [c for c in self.connections if c.state is State.RECEIVER]
        waiting = [c for c in self.connections if c.state is State.WAITING]
        assert self.registry.uids == {c.uid for c in holders}
        assert len(self.registry.uids) == len(holders)
        assert self.registry.pending_introductions == len(waiting)

    def end_all(self) -> None:
        for index in range(CONNECTIONS):
            self.end(index)
        assert not self.registry.uids
        assert not self.registry.pending_introductions


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
                clients.check(clients.registry.expired(connection))
            clients.end(index)
        clients.check_invariants()
    clients.end_all()


def seeds() -> list[bytes]:
    """Inputs to begin with: every vector, first or after a greeting, and the twelve steps."""
    vectors = json.loads(VECTORS.read_text("utf-8"))
    frames = [
        bytes.fromhex(vector["hex"])
        for section in ("messages", "also_accepted", "invalid")
        for vector in vectors[section]
    ]
    hello = _pieces(0, frames[0])
    first_token, second_token = (number.to_bytes(ID_BYTES, "big") for number in (2, 3))
    steps = [
        hello + _pieces(0, encode(Register("alice"))),
        _pieces(1, frames[0]) + _pieces(1, encode(IntroductionRequest(0, "alice", "classic"))),
        _pieces(2, frames[0]) + _pieces(2, encode(Acknowledge(first_token))),
        _pieces(3, frames[0]) + _pieces(3, encode(HolePunched(first_token))),
        _pieces(1, frames[0]) + _pieces(1, encode(IntroductionRequest(0, "alice", "fast"))),
        _pieces(2, frames[0]) + _pieces(2, encode(Register("alice", second_token))),
    ]
    twelve_steps = [b"".join(steps[:count]) for count in range(1, len(steps) + 1)]
    return twelve_steps + [
        greeting + _pieces(0, frame) for frame in frames for greeting in (b"", hello)
    ]


def _pieces(index: int, frame: bytes) -> bytes:
    cut = [frame[start : start + 63] for start in range(0, len(frame), 63)]
    return b"".join(bytes((len(piece) << 2 | index,)) + piece for piece in cut)


def main() -> int:
    """Let libFuzzer make up more, from the seeds and a corpus if one is given."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds()):
            Path(folder, str(number)).write_bytes(seed)
        child = os.fork()  # libFuzzer ends its process without cleaning up
        if not child:
            atheris.Setup([*sys.argv, folder], feed)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
