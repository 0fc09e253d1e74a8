"""Feeds hostile bytes to all that a peer does with what comes over the paths of a connection.

Bytes to a hello, to frames, to transitions of a session, on either side. ``nox -s fuzz`` runs it;
the arguments are libFuzzer's.

The first byte of an input says which side this is. What follows is a number of pieces. The first
byte of a piece says how long it is; with a length of zero something happens on this side, and the
next byte says what.
"""

import sys

import atheris
from fuzzing import run

with atheris.instrument_imports(include=["trio_p2p"]):
    from trio_p2p._errors import PathLostError, RemoteProtocolError
    from trio_p2p._stream.byte_queue import Piece
    from trio_p2p._stream.frames import (
        MIN_WINDOW,
        SESSION_ID_BYTES,
        AbortCode,
        FrameParser,
        HelloReader,
        Kind,
        PathHello,
        abort,
        header,
    )
    from trio_p2p._stream.session import Session
    from trio_p2p._stream.session_sink import sink_of
    from trio_p2p._stream.sink import Sink
    from trio_p2p._stream.states import SessionRole, SessionState
    from trio_p2p._wire.messages import INSTANCE_BYTES

IDENTIFIER = bytes(SESSION_ID_BYTES)
INSTANCE = bytes(INSTANCE_BYTES)
WINDOW = MIN_WINDOW
HEADER_BYTES = len(header(Kind.ACK, 0))
MAX_PIECE_BYTES = 255


class Content:
    """Bytes to send, of which only the number matters, and what takes those that come."""

    def __init__(self) -> None:
        self.unsent = self.received = self.frames = 0
        self.is_closed = False

    @property
    def is_ready(self) -> bool:
        return self.unsent > 0

    def pull(self, room: int) -> list[Piece]:
        assert not self.is_closed
        count = min(room, self.unsent)
        self.unsent -= count
        return [bytes(count)] if count else []

    def get_buffer(self, size: int, /) -> memoryview:
        assert not self.is_closed
        return memoryview(bytearray(size))

    def buffer_updated(self, count: int, /) -> None:
        self.received += count


class Side:
    """A session with its content, and with paths that an attacker has at the other end."""

    def __init__(self, role: SessionRole) -> None:
        self.content = Content()
        self.session = Session(
            role, IDENTIFIER, INSTANCE, window=WINDOW, content=self.content, now=0.0
        )
        self.now = 0.0
        self.reader: HelloReader | None = None  # of a path that has not been greeted on
        self.open()

    def open(self) -> None:
        if self.session.role is SessionRole.ACCEPTOR:
            self.reader = HelloReader()
        elif not self.session.is_over:
            self.session.open_path(self.now)

    def receive(self, data: bytes) -> None:
        try:
            if self.reader is not None:
                self.begin(self.reader, data)
            elif self.is_carried:
                give(sink_of(self.session, self.now), data)
        except RemoteProtocolError as error:
            str(error)  # the log
            self.session.fail(error)

    def begin(self, reader: HelloReader, data: bytes) -> None:
        rest = give(reader, data)
        hello = reader.hello
        if hello is None:
            return
        self.reader = None
        repr(hello)  # the log
        if self.session.accept_path(hello, self.now):
            give(sink_of(self.session, self.now), rest)
        elif self.session.is_over:
            read(self.session.answer_late(hello))

    @property
    def is_carried(self) -> bool:
        return self.session.state in (SessionState.GREETING, SessionState.ATTACHED)

    def act(self, what: int) -> None:
        session = self.session
        match what % 8:
            case 0:
                self.open()
            case 1 if self.is_carried:
                session.lose_path(self.now)
            case 2:
                self.now += what
                if self.is_carried and self.now >= session.dead_at():
                    session.lose_path(self.now)
            case 3:
                while pieces := session.pieces_to_send(self.now):
                    read(b"".join(pieces))
            case 4 | 5 if not self.content.is_closed:
                self.content.unsent += 1 + what * what * (what % 8)
            case 6:
                session.outgoing.want_acknowledgement()
            case 7 if not session.is_over:
                self.content.unsent = 0
                self.content.is_closed = True
                session.close(self.now)

    def check(self) -> None:
        outgoing, incoming = self.session.outgoing, self.session.incoming
        assert outgoing.acked <= outgoing.sent <= outgoing.taken <= outgoing.acked + WINDOW
        assert 0 <= outgoing.room <= WINDOW
        assert self.content.received <= incoming.received


def give(sink: Sink, data: bytes) -> bytes:
    """Give a sink bytes as a path would; what it did not take any more."""
    rest = memoryview(data)
    while rest:
        with sink.get_buffer(len(rest)) as buffer:
            count = min(len(rest), len(buffer))
            if not count:
                break
            buffer[:count] = rest[:count]
        sink.buffer_updated(count)
        rest = rest[count:]
    return bytes(rest)


def read(data: bytes) -> None:
    """Check that these are whole frames."""
    parser = FrameParser()
    rest = memoryview(data)
    while rest:
        buffer = parser.get_buffer()
        count = min(len(rest), len(buffer))
        buffer[:count] = rest[:count]
        parser.buffer_updated_untrusted(count)
        rest = rest[count + parser.missing :]
        parser.pass_over(parser.missing)
    assert len(parser.get_buffer()) == HEADER_BYTES


def feed(data: bytes) -> None:
    """Run one input; whatever it raises is a bug."""
    side = Side(SessionRole.OPENER if data[:1] > b"\x7f" else SessionRole.ACCEPTOR)
    position = 1
    while position < len(data):
        length = data[position]
        position += 1
        if length:
            side.receive(data[position : position + length])
            position += length
        else:
            side.act(data[position] if position < len(data) else 0)
            position += 1
        side.check()
    side.session.fail(PathLostError("the input is over"))
    read(side.session.farewell())


def seeds() -> list[bytes]:
    """Inputs to begin with: every frame after a greeting, and both ways to an end."""
    hello, second = (
        _pieces(PathHello(0, IDENTIFIER, path, WINDOW, INSTANCE, is_new=path == 1).encode())
        for path in (1, 2)
    )
    frames = [
        header(Kind.DATA, 0, 5) + b"bytes",
        header(Kind.PING, 0),
        header(Kind.ACK, 0),
        header(Kind.ACK, 2),
        header(Kind.CLOSE, 0),
        abort(AbortCode.NOT_ADMITTED, "not you"),
    ]
    actions = b"".join(bytes((0, action)) for action in (4, 3, 5, 1, 0))
    return [
        role + hello + before + _pieces(frame) + after
        for role in (b"\x00", b"\xff")
        for frame in frames
        for before in (b"", b"\x00\x07\x00\x03")
        for after in (b"", actions + second, second)
    ]


def _pieces(data: bytes) -> bytes:
    cut = [data[at : at + MAX_PIECE_BYTES] for at in range(0, len(data), MAX_PIECE_BYTES)]
    return b"".join(bytes((len(piece),)) + piece for piece in cut)


if __name__ == "__main__":
    sys.exit(run(feed, seeds()))
