"""What takes the bytes of a path in tests, and what stands in for a path."""

from typing import NamedTuple

import attrs

from trio_p2p._stream.frames import FrameParser, Kind
from trio_p2p._stream.sink import Sink


def feed(sink: Sink, data: bytes) -> bytes:
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


@attrs.define
class ByteSink:
    """Takes all bytes.

    Attributes:
        data: what came.
    """

    data: bytearray = attrs.field(factory=bytearray)
    _buffer: bytearray = attrs.field(factory=bytearray)

    def get_buffer(self, size: int) -> memoryview:
        self._buffer = bytearray(size)
        return memoryview(self._buffer)

    def buffer_updated(self, count: int) -> None:
        self.data += self._buffer[:count]


class Said(NamedTuple):
    """A frame, or as much of it as came, if that is DATA."""

    kind: Kind
    number: int
    payload: bytes


@attrs.define
class FrameSink:
    """Takes frames.

    Attributes:
        parser: what cuts them.
        said: what came.
    """

    parser: FrameParser = attrs.field(factory=FrameParser)
    said: list[Said] = attrs.field(factory=list)
    _buffer: bytearray = attrs.field(factory=bytearray)

    def get_buffer(self, size: int) -> memoryview:
        if not self.parser.missing:
            return self.parser.get_buffer()
        self._buffer = bytearray(min(size, self.parser.missing))
        return memoryview(self._buffer)

    def buffer_updated(self, count: int) -> None:
        if self.parser.missing:
            kind, number, payload = self.said[-1]
            assert self.parser.offset == number + len(payload)
            self.said[-1] = Said(kind, number, payload + self._buffer[:count])
            self.parser.pass_over(count)
        else:
            frame = self.parser.buffer_updated_untrusted(count)
            if frame is not None:
                self.said.append(Said(frame.kind, frame.number, frame.payload))


def frames_of(data: bytes) -> list[Said]:
    """What some bytes of a path say."""
    sink = FrameSink()
    assert not feed(sink, data)
    return sink.said
