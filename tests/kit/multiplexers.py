"""Multiplexers without a session: what they say, what they are given, and pairs of them."""

from __future__ import annotations

from typing import NamedTuple

from trio_p2p._stream.credit import DEFAULT_MEMORY
from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES
from trio_p2p._stream.limits import DEFAULT_WINDOW
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._stream.states import SessionRole
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    HEADER_BYTES,
    StreamNames,
    parse_header_untrusted,
    stream_header,
)
from trio_p2p._stream.substream import Substream

from .sinks import feed

STREAMS = 64


class StreamFrame(NamedTuple):
    """A frame of a stream."""

    kind: int
    number: int
    payload: bytes = b""

    def encode(self) -> bytes:
        return stream_header(self.kind, self.number, len(self.payload)) + self.payload


def stream_frames_of(data: bytes) -> list[StreamFrame]:
    """What some bytes of a session say; fails unless they are whole frames."""
    frames, view = [], memoryview(data)
    while view:
        kind, number, length = parse_header_untrusted(view, 0)
        payload = bytes(view[HEADER_BYTES : HEADER_BYTES + length])
        assert len(payload) == length
        frames.append(StreamFrame(kind, number, payload))
        view = view[HEADER_BYTES + length :]
    return frames


def make_multiplexer(
    role: SessionRole,
    *,
    streams: int = STREAMS,
    memory: int = DEFAULT_MEMORY,
    largest: int = DEFAULT_WINDOW,
    is_accepting: bool = True,
) -> Multiplexer:
    return Multiplexer(
        role, streams=streams, memory=memory, largest=largest, is_accepting=is_accepting
    )


def pulled_from(multiplexer: Multiplexer, room: int = MAX_PAYLOAD_BYTES) -> bytes:
    """What a session gets when it asks once, which is no more than it has room for."""
    data = b"".join(multiplexer.pull(room))
    assert len(data) <= room
    return data


def said_by(multiplexer: Multiplexer) -> bytes:
    """All that it has to say until it waits for something."""
    said = b""
    while data := pulled_from(multiplexer):
        said += data
    return said


def take(multiplexer: Multiplexer, *frames: bytes | StreamFrame) -> None:
    """Give it frames, all at once."""
    data = b"".join(each if isinstance(each, bytes) else each.encode() for each in frames)
    assert not feed(multiplexer, data)


class MultiplexerPair:
    """Both sides of a session that has nothing on its way, unless the test holds it back."""

    def __init__(self, *, streams: int = STREAMS, memory: int = DEFAULT_MEMORY) -> None:
        self.opener, self.acceptor = (
            make_multiplexer(role, streams=streams, memory=memory) for role in SessionRole
        )
        self.settle()

    def may_open(self) -> bool:
        return self.opener.may_open

    def settle(self) -> None:
        """Let everything arrive until neither side has anything to say."""
        while self.opener.is_ready or self.acceptor.is_ready:
            said = said_by(self.opener), said_by(self.acceptor)
            take(self.acceptor, said[0])
            take(self.opener, said[1])
            if not any(said):
                break

    def open(self, names: StreamNames = DEFAULT_NAMES) -> tuple[Substream, Substream]:
        """Both ends of a new stream, the opener's first."""
        stream = self.opener.open(names)
        self.settle()
        return stream, self.acceptor.opened.popleft()


def read_all(multiplexer: Multiplexer, stream: Substream) -> bytes:
    """All that has come of a stream, and was not read yet."""
    data = b""
    while piece := multiplexer.read(stream, MAX_PAYLOAD_BYTES):
        data += piece
    return data
