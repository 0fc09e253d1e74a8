"""Feeds hostile bytes to all that a peer does with what a connection carries.

Bytes to frames of streams, to streams that an application uses, on either side. ``nox -s fuzz``
runs it; the arguments are libFuzzer's.

The first byte of an input says which side this is, and whether it accepts streams. What follows is
a number of pieces. The first byte of a piece says how long it is; with a length of zero something
happens on this side, and the next byte says what, and with which stream.
"""

import sys

import atheris
from fuzzing import run

with atheris.instrument_imports(include=["trio_p2p"]):
    from trio_p2p._errors import PathLostError, RemoteProtocolError
    from trio_p2p._stream.credit import EARLY_STREAMS, FIRST_CREDIT, reserved_memory
    from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES, MAX_PIECE_BYTES
    from trio_p2p._stream.multiplexer import Multiplexer
    from trio_p2p._stream.states import SessionRole
    from trio_p2p._stream.stream_frames import (
        DEFAULT_NAMES,
        EOF_FLAG,
        HEADER_BYTES,
        STOP_FLAG,
        ResetCode,
        StreamFrameKind,
        StreamNames,
        credit_frame,
        open_frame,
        parse_header_untrusted,
        reset_frame,
        stream_header,
    )
    from trio_p2p._stream.stream_states import Direction
    from trio_p2p._stream.substream import Substream

MEMORY = reserved_memory(EARLY_STREAMS) + (EARLY_STREAMS + 4) * FIRST_CREDIT
LARGEST = 4 * FIRST_CREDIT
MAX_PIECE = 255
ROOMS = (100, 2_000, MAX_PIECE_BYTES, MAX_PAYLOAD_BYTES)


class Side:
    """A multiplexer with an application, and with an attacker at the other end."""

    def __init__(self, role: SessionRole, *, is_accepting: bool) -> None:
        self.multiplexer = Multiplexer(
            role,
            streams=EARLY_STREAMS,
            memory=MEMORY,
            largest=LARGEST,
            is_accepting=is_accepting,
        )
        self.streams: list[Substream] = []  # in the order in which the application got them
        self.is_over = False

    def receive(self, data: bytes) -> None:
        if self.is_over:
            return
        try:
            self.give(data)
        except RemoteProtocolError as error:
            str(error)  # the log
            self.is_over = True
            self.multiplexer.fail(error)

    def give(self, data: bytes) -> None:
        """Give the multiplexer bytes as a session would."""
        rest = memoryview(data)
        while rest:
            with self.multiplexer.get_buffer(len(rest)) as buffer:
                count = min(len(rest), len(buffer))
                assert count
                buffer[:count] = rest[:count]
            self.multiplexer.buffer_updated(count)
            rest = rest[count:]

    def act(self, what: int) -> None:
        multiplexer = self.multiplexer
        which = what // 16
        match what % 16:
            case 0:
                self.receive(stream_header(0, which, 65_536) + bytes(65_536))
            case 1 if multiplexer.may_open and not multiplexer.has_opened_all:
                self.streams.append(multiplexer.open(StreamNames("uid", "protocol")))
            case 2:
                self.streams += multiplexer.opened
                multiplexer.opened.clear()
            case 3 | 4:
                read(multiplexer, ROOMS[which % len(ROOMS)])
            case 5:
                multiplexer.go_away()
            case 6:
                multiplexer.accept_streams()
            case 7:
                multiplexer.touched.clear()
            case _ if self.streams:
                self.use(self.streams[which % len(self.streams)], what % 16)

    def use(self, stream: Substream, what: int) -> None:
        multiplexer = self.multiplexer
        if stream.is_closed:
            return
        match what:
            case 8 | 9:
                is_open = stream.sending is Direction.OPEN and not stream.is_refused
                if is_open and stream.room:
                    multiplexer.write(stream, bytes(min(stream.room, 20 if what == 8 else 1 << 17)))
            case 10 | 11:
                multiplexer.read(stream, 20 if what == 10 else 1 << 20)
            case 12 if stream.error is None:
                multiplexer.finish(stream)
            case 13:
                multiplexer.close(stream)
            case 14:
                multiplexer.reset(stream, ResetCode.ABORTED, "it aborted the stream")
            case _:
                str(stream.error)

    def check(self) -> None:
        multiplexer = self.multiplexer
        streams = {*self.streams, *multiplexer.opened}
        held = sum(len(stream._inbox) for stream in streams if stream._inbox is not None)
        assert held <= MEMORY
        assert len(multiplexer) <= 2 * EARLY_STREAMS
        assert len(multiplexer._refusals) <= EARLY_STREAMS

    def end(self) -> None:
        multiplexer = self.multiplexer
        multiplexer.fail(PathLostError("the input is over"))
        self.streams += multiplexer.opened
        assert len(multiplexer) == 0
        assert not multiplexer.is_ready
        assert not multiplexer.pull(MAX_PAYLOAD_BYTES)
        for stream in self.streams:
            while multiplexer.read(stream, 1 << 20):
                pass
            multiplexer.close(stream)
            assert stream.is_over
        assert multiplexer._budget._own == multiplexer._budget._grown == 0


def read(multiplexer: Multiplexer, room: int) -> None:
    """Take what is to be sent, and check that these are whole frames."""
    data = memoryview(b"".join(multiplexer.pull(room)))
    assert len(data) <= room
    while data:
        _, _, length = parse_header_untrusted(data, 0)
        assert len(data) >= HEADER_BYTES + length
        data = data[HEADER_BYTES + length :]


def feed(data: bytes) -> None:
    """Run one input; whatever it raises is a bug."""
    first = data[0] if data else 0
    role = SessionRole.OPENER if first & 1 else SessionRole.ACCEPTOR
    side = Side(role, is_accepting=bool(first & 2))
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
    side.end()


def seeds() -> list[bytes]:
    """Inputs to begin with: every frame of a stream that is open, and all ways to an end."""
    seeds = []
    for first in (2, 3):  # the acceptor, and the opener
        theirs, ours = (0, 1) if first == 2 else (1, 0)
        opened = _pieces(open_frame(theirs, DEFAULT_NAMES, FIRST_CREDIT)) + _actions(2, 1, 3)
        named = open_frame(theirs + 2, StreamNames("alice", "echo"), 1000)
        for number in (theirs, ours):
            frames = [
                stream_header(StreamFrameKind.DATA, number, 5) + b"bytes",
                stream_header(StreamFrameKind.DATA | EOF_FLAG, number),
                stream_header(StreamFrameKind.DATA | STOP_FLAG, number),
                stream_header(StreamFrameKind.DATA | EOF_FLAG | STOP_FLAG, number, 1) + b".",
                credit_frame(number, 2 * FIRST_CREDIT),
                reset_frame(number, ResetCode.NOT_ADMITTED, "not you"),
                stream_header(StreamFrameKind.STREAMS, 100),
                stream_header(StreamFrameKind.GOAWAY, number),
                named,
            ]
            seeds += [
                bytes([first]) + opened + before + _pieces(frame) + after
                for frame in frames
                for before in (b"", _actions(8, 12, 3))
                for after in (b"", _actions(10, 13, 3), _actions(14, 3, 5, 3))
            ]
    return seeds


def _actions(*actions: int) -> bytes:
    return b"".join(bytes((0, action)) for action in actions)


def _pieces(data: bytes) -> bytes:
    cut = [data[at : at + MAX_PIECE] for at in range(0, len(data), MAX_PIECE)]
    return b"".join(bytes((len(piece),)) + piece for piece in cut)


if __name__ == "__main__":
    sys.exit(run(feed, seeds()))
