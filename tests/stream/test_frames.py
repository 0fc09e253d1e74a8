"""Frames on a path: msgpack, in chunks of any size, and hostile ones."""

import io
from collections.abc import Iterable
from itertools import pairwise

import msgpack
import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p._errors import RemoteProtocolError
from trio_p2p._stream.frames import (
    HELLO_BYTES,
    MAX_CONTROL_BYTES,
    MAX_NUMBER,
    MAX_PAYLOAD_BYTES,
    MAX_WINDOW,
    MIN_WINDOW,
    SESSION_ID_BYTES,
    AbortCode,
    HelloReader,
    Kind,
    PathHello,
    abort,
    header,
)
from trio_p2p._wire.messages import INSTANCE_BYTES

from ..kit.sinks import FrameSink, Said, feed, frames_of

HEADER_BYTES = len(header(Kind.ACK, 0))
NUMBERS = st.integers(0, MAX_NUMBER)
CONTROL_KINDS = st.sampled_from([kind for kind in Kind if kind is not Kind.DATA])
FRAMES = st.one_of(
    st.tuples(CONTROL_KINDS, NUMBERS, st.binary(max_size=40)),
    st.tuples(CONTROL_KINDS, NUMBERS, st.just(bytes(MAX_CONTROL_BYTES))),
    st.tuples(st.just(Kind.DATA), NUMBERS, st.binary(min_size=1, max_size=100)),
)
HELLOS = st.builds(
    PathHello,
    NUMBERS,
    st.binary(min_size=SESSION_ID_BYTES, max_size=SESSION_ID_BYTES),
    st.integers(0, 2**32 - 1),
    st.integers(0, MAX_WINDOW),
    st.binary(min_size=INSTANCE_BYTES, max_size=INSTANCE_BYTES),
    is_new=st.booleans(),
    is_only=st.booleans(),
)


def encode(kind: Kind, number: int, payload: bytes) -> bytes:
    return header(kind, number, len(payload)) + payload


def parse(chunks: Iterable[bytes]) -> list[Said]:
    """All frames in these chunks."""
    sink = FrameSink()
    for chunk in chunks:
        assert not feed(sink, chunk)
    return sink.said


def greeting(data: bytes) -> tuple[PathHello | None, bytes]:
    """The hello that these bytes begin with, and what is left of them."""
    reader = HelloReader()
    rest = feed(reader, data)
    return reader.hello, rest


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(FRAMES, max_size=10), st.lists(st.integers(0, 2000), max_size=20))
def test_frames_survive_any_chunks(frames: list[tuple[Kind, int, bytes]], cuts: list[int]) -> None:
    data = b"".join(encode(*frame) for frame in frames)
    assert parse(cut(data, cuts)) == frames


@given(st.lists(FRAMES, max_size=5))
def test_frames_are_msgpack(frames: list[tuple[Kind, int, bytes]]) -> None:
    stream = io.BytesIO(b"".join(encode(*frame) for frame in frames))
    assert [tuple(each) for each in msgpack.Unpacker(stream)] == frames


@given(HELLOS, st.binary(max_size=50))
def test_a_hello_survives_and_what_follows_it_stays(hello: PathHello, rest: bytes) -> None:
    data = hello.encode()
    assert len(data) == HELLO_BYTES
    assert greeting(data + rest) == (hello, rest)
    for length in range(HELLO_BYTES):
        assert greeting(data[:length]) == (None, b"")


@given(st.binary(max_size=2 * HELLO_BYTES))
def test_a_path_may_begin_with_any_bytes_and_raises_one_exception(data: bytes) -> None:
    try:
        hello, _ = greeting(data)
    except RemoteProtocolError:
        return
    assert hello is None


@pytest.mark.parametrize(
    "data",
    [
        header(Kind.ACK, 0) + bytes(HELLO_BYTES),
        header(Kind.DATA, 0, 1) + bytes(HELLO_BYTES),
        header(Kind.HELLO, 0) + bytes(HELLO_BYTES),
        encode(Kind.HELLO, 0, bytes(HELLO_BYTES - HEADER_BYTES + 1)),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    ],
    ids=["another frame", "data", "too short", "too long", "another protocol"],
)
def test_a_path_that_does_not_begin_with_a_hello_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        greeting(data)


@pytest.mark.parametrize("flags", [4, 7, 255])
def test_a_hello_whose_flags_are_no_flags_is_refused(flags: int) -> None:
    data = PathHello(0, bytes(SESSION_ID_BYTES), 1, MIN_WINDOW, bytes(INSTANCE_BYTES)).encode()
    with pytest.raises(RemoteProtocolError, match="malformed hello"):
        greeting(data[:-1] + bytes([flags]))


def test_the_session_does_not_show_in_logs() -> None:
    session, instance = b"secret".ljust(SESSION_ID_BYTES), b"secret".ljust(INSTANCE_BYTES)
    assert "secret" not in repr(PathHello(0, session, 1, MIN_WINDOW, instance))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x92" + header(Kind.ACK, 0)[1:], "no frame"),
        (header(Kind.ACK, 0)[:2] + b"\xce" + header(Kind.ACK, 0)[3:], "no frame"),
        (header(Kind.ACK, 0)[:11] + b"\xc5" + header(Kind.ACK, 0)[12:], "no frame"),
        (header(Kind.ACK, MAX_NUMBER + 1), "no frame"),
        (b"\x93\x08" + header(Kind.ACK, 0)[2:], "unknown kind 8"),
        (header(Kind.DATA, 0, 0), "data frame of 0 bytes"),
        (
            header(Kind.DATA, 0, MAX_PAYLOAD_BYTES + 1),
            f"of {MAX_PAYLOAD_BYTES + 1} bytes",
        ),
        (header(Kind.ABORT, 0, MAX_CONTROL_BYTES + 1), "control frame of 513 bytes"),
    ],
    ids=["array", "number", "payload", "too high", "kind", "empty", "long", "long control"],
)
def test_what_is_no_frame_is_refused_as_soon_as_its_header_is_there(
    data: bytes, complaint: str
) -> None:
    sink = FrameSink()
    feed(sink, data[: HEADER_BYTES - 1])
    assert not sink.said
    with pytest.raises(RemoteProtocolError, match=complaint):
        feed(sink, data[HEADER_BYTES - 1 :])


def test_data_arrives_in_pieces_that_know_where_they_belong() -> None:
    sink = FrameSink()
    data = encode(Kind.DATA, 7, b"pieces")
    feed(sink, data[: HEADER_BYTES + 3])
    assert sink.said == [Said(Kind.DATA, 7, b"pie")]
    assert (sink.parser.offset, sink.parser.missing) == (10, 3)
    feed(sink, data[HEADER_BYTES + 3 :])
    assert sink.said == [Said(Kind.DATA, 7, b"pieces")]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=600) | FRAMES.map(lambda frame: encode(*frame)), max_size=8))
def test_hostile_bytes_raise_one_exception_and_cost_no_memory(chunks: list[bytes]) -> None:
    sink = FrameSink()
    for chunk in chunks:
        try:
            assert not feed(sink, chunk)
        except RemoteProtocolError:
            return
        assert len(sink.parser.get_buffer()) <= HEADER_BYTES + MAX_CONTROL_BYTES


@pytest.mark.parametrize("reason", ["words", "ü" * 1000, "\udcff", ""])
def test_a_reason_for_the_end_always_fits(reason: str) -> None:
    (frame,) = frames_of(abort(AbortCode.GIVEN_UP, reason))
    assert (frame.kind, frame.number) == (Kind.ABORT, AbortCode.GIVEN_UP)
    assert len(frame.payload) <= MAX_CONTROL_BYTES
