"""The parser of streams' frames: bytes cut anywhere, straight to the stream that they are for."""

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeAlias

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p._errors import RemoteProtocolError
from trio_p2p._stream.credit import FIRST_CREDIT, Budget
from trio_p2p._stream.frames import MAX_PIECE_BYTES
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    HEADER_BYTES,
    MAX_CONTROL_BYTES,
    StreamFrameKind,
    stream_header,
)
from trio_p2p._stream.stream_parser import SCRATCH_BYTES, StreamFrameParser
from trio_p2p._stream.substream import Substream

from ..kit.multiplexers import StreamFrame
from ..kit.sinks import feed

Event: TypeAlias = tuple[int, int, bytes]

UNKNOWN = 99  # the number of a stream whose bytes are dropped
LENGTHS = st.integers(0, 40) | st.sampled_from([SCRATCH_BYTES, SCRATCH_BYTES + 1, 20_000])
DATA = st.builds(
    StreamFrame,
    st.integers(0, 3),
    st.sampled_from([0, 1, UNKNOWN]),
    LENGTHS.map(lambda length: bytes(range(250)) * (length // 250) + bytes(length % 250)),
)
CONTROL = st.builds(
    StreamFrame,
    st.integers(StreamFrameKind.OPEN, StreamFrameKind.GOAWAY),
    st.integers(0, 5),
    st.binary(max_size=20) | st.just(bytes(MAX_CONTROL_BYTES)),
)


@attrs.define
class Handler:
    """Notes what comes.

    Attributes:
        streams: those whose bytes are wanted.
        events: kind or flags, number, and payload of each frame that has come as a whole.
        announced: how many bytes of each stream.
    """

    streams: dict[int, Substream] = attrs.field(
        factory=lambda: {
            number: Substream(
                number, DEFAULT_NAMES, is_ours=False, window=1 << 30, limit=FIRST_CREDIT
            )
            for number in (0, 1)
        }
    )
    events: list[Event] = attrs.field(factory=list)
    announced: list[tuple[int, int]] = attrs.field(factory=list)

    def announced_untrusted(self, number: int, length: int) -> Substream | None:
        self.announced.append((number, length))
        stream = self.streams.get(number)
        if stream is not None:
            stream.announced(length)
        return stream

    def passed_untrusted(self, stream: Substream, flags: int) -> None:
        assert stream is self.streams[stream.number]
        if flags:
            self.events.append((flags, stream.number, b""))

    def control_untrusted(self, kind: int, number: int, payload: bytes) -> None:
        self.events.append((kind, number, payload))


class Sink:
    """A parser, as a session sees it."""

    def __init__(self) -> None:
        self.handler = Handler()
        self.parser = StreamFrameParser(self.handler)

    def get_buffer(self, size: int, /) -> memoryview:
        buffer = self.parser.get_buffer(size)
        assert len(buffer) > 0
        return buffer

    def buffer_updated(self, count: int, /) -> None:
        self.parser.buffer_updated_untrusted(count)

    def taken_of(self, number: int) -> bytes:
        inbox, data = self.handler.streams[number]._inbox, b""
        while inbox is not None and (piece := inbox.take(1 << 30)):
            data += piece
        return data


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@settings(deadline=None)
@given(st.lists(DATA | CONTROL, max_size=12), st.lists(st.integers(0, 100_000), max_size=30))
def test_frames_survive_any_cuts(frames: list[StreamFrame], cuts: list[int]) -> None:
    sink = Sink()
    for chunk in cut(b"".join(frame.encode() for frame in frames), cuts):
        assert not feed(sink, chunk)
    data = [frame for frame in frames if frame.kind <= 3]
    assert sink.handler.announced == [(frame.number, len(frame.payload)) for frame in data]
    assert sink.handler.events == [
        (frame.kind, frame.number, b"" if frame.kind <= 3 else frame.payload)
        for frame in frames
        if frame.kind and (frame.kind > 3 or frame.number != UNKNOWN)
    ]
    for number in (0, 1):
        expected = b"".join(frame.payload for frame in data if frame.number == number)
        assert sink.taken_of(number) == expected


def test_a_long_payload_is_not_copied_but_for_its_beginning() -> None:
    sink = Sink()
    data = StreamFrame(0, 0, bytes(MAX_PIECE_BYTES)).encode()
    copied = 0
    rest = memoryview(data)
    while rest:
        with sink.get_buffer(len(rest)) as buffer:
            count = min(len(rest), len(buffer))
            is_scratch = buffer.obj is sink.parser._scratch.obj
            buffer[:count] = rest[:count]
        copied += count * is_scratch
        sink.buffer_updated(count)
        rest = rest[count:]
    assert copied <= SCRATCH_BYTES
    assert len(sink.taken_of(0)) == MAX_PIECE_BYTES


def test_bytes_of_a_stream_that_is_over_take_no_more_memory_than_there_are() -> None:
    sink = Sink()
    assert not feed(sink, stream_header(0, UNKNOWN, MAX_PIECE_BYTES))
    assert len(sink.get_buffer(10)) == 10
    assert len(sink.get_buffer(1 << 30)) == MAX_PIECE_BYTES


@pytest.mark.parametrize("cut_at", [0, 1, 5_000])
def test_bytes_of_a_stream_that_ends_in_their_midst_are_dropped(cut_at: int) -> None:
    sink = Sink()
    data = StreamFrame(1, 0, bytes(20_000)).encode() + StreamFrame(2, 1).encode()
    assert not feed(sink, data[: HEADER_BYTES + cut_at])
    sink.handler.streams[0].cut(RemoteProtocolError("over"), Budget(0))
    assert not feed(sink, data[HEADER_BYTES + cut_at :])
    assert sink.handler.events == [(1, 0, b""), (2, 1, b"")]
    assert sink.taken_of(0) == bytes(cut_at)


@pytest.mark.parametrize("before", [0, 1, 100])
def test_what_is_no_frame_is_refused_behind_others(before: int) -> None:
    sink = Sink()
    data = before * StreamFrame(0, 0, b"good").encode() + b"GET / HTTP/1.1\r\n"
    with pytest.raises(RemoteProtocolError, match="no frame"):
        feed(sink, data)
    assert sink.taken_of(0) == before * b"good"


@settings(deadline=None)
@given(st.lists(st.binary(max_size=600) | (DATA | CONTROL).map(StreamFrame.encode), max_size=8))
def test_any_bytes_raise_one_exception(chunks: list[bytes]) -> None:
    sink = Sink()
    for chunk in chunks:
        try:
            assert not feed(sink, chunk)
        except RemoteProtocolError:
            return
