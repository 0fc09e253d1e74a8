"""Frames of streams: msgpack with fixed headers, and hostile ones."""

import io

import msgpack
import pytest
from hypothesis import given, strategies as st

from trio_p2p._errors import (
    NotAdmittedError,
    RemoteProtocolError,
    StreamAbortedError,
    UnknownProtocolError,
    UnknownUIDError,
)
from trio_p2p._stream.credit import FIRST_CREDIT
from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES, MAX_PIECE_BYTES
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    EOF_FLAG,
    HEADER_BYTES,
    MAX_CONTROL_BYTES,
    MAX_OFFSET,
    MAX_STREAM_NUMBER,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
    credit_frame,
    limit_of_untrusted,
    open_frame,
    opening_of_untrusted,
    parse_header_untrusted,
    reset_error_of_untrusted,
    reset_frame,
    stream_header,
)
from trio_p2p._wire.fields import MAX_UID_BYTES
from trio_p2p._wire.uids import MAX_PROTOCOL_BYTES

from ..kit.multiplexers import StreamFrame, stream_frames_of

NUMBERS = st.integers(0, MAX_STREAM_NUMBER)
KINDS = st.integers(StreamFrameKind.DATA, StreamFrameKind.GOAWAY)
FRAMES = st.builds(StreamFrame, KINDS, NUMBERS, st.binary(max_size=MAX_CONTROL_BYTES))
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=30)
NAMES = st.builds(StreamNames, TEXTS, TEXTS)
CREDITS = st.integers(0, MAX_OFFSET) | st.just(FIRST_CREDIT)


def payload_of(frame: bytes) -> bytes:
    (parsed,) = stream_frames_of(frame)
    return parsed.payload


@given(st.lists(FRAMES, max_size=5))
def test_frames_are_msgpack(frames: list[StreamFrame]) -> None:
    data = b"".join(frame.encode() for frame in frames)
    assert stream_frames_of(data) == frames
    assert [StreamFrame(*each) for each in msgpack.Unpacker(io.BytesIO(data))] == frames


def test_a_piece_fits_a_frame_of_the_session_together_with_what_precedes_it() -> None:
    assert HEADER_BYTES + MAX_PIECE_BYTES <= MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x92" + stream_header(0, 0)[1:], "no frame"),
        (stream_header(0, 0)[:2] + b"\xcf" + stream_header(0, 0)[3:], "no frame"),
        (stream_header(0, 0)[:7] + b"\xc5" + stream_header(0, 0)[8:], "no frame"),
        (stream_header(StreamFrameKind.GOAWAY + 1, 0), "unknown kind 9"),
        (stream_header(255, 0), "unknown kind 255"),
        (stream_header(EOF_FLAG | STOP_FLAG, 0, MAX_PIECE_BYTES + 1), "262145 bytes"),
        (stream_header(StreamFrameKind.OPEN, 0, MAX_CONTROL_BYTES + 1), "frame of 513 bytes"),
        (stream_header(StreamFrameKind.GOAWAY, 0, 2**32 - 1), "control frame of 4294967295"),
    ],
    ids=["array", "number", "payload", "kind", "last kind", "long", "long control", "longest"],
)
def test_what_is_no_header_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        parse_header_untrusted(memoryview(data), 0)


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_any_bytes_are_a_header_or_raise_one_exception(data: bytes) -> None:
    try:
        kind, number, length = parse_header_untrusted(memoryview(data), 0)
    except RemoteProtocolError:
        return
    assert stream_header(kind, number, length) == data


# OPEN


@given(NUMBERS, NAMES, CREDITS)
def test_an_opening_survives(number: int, names: StreamNames, credit: int) -> None:
    frame = open_frame(number, names, credit)
    assert stream_frames_of(frame)[0][:2] == (StreamFrameKind.OPEN, number)
    assert opening_of_untrusted(payload_of(frame)) == (names, credit)


def test_the_usual_opening_is_as_short_as_it_can_be() -> None:
    assert payload_of(open_frame(0, DEFAULT_NAMES, FIRST_CREDIT)) == b""
    assert msgpack.unpackb(payload_of(open_frame(0, StreamNames("a"), FIRST_CREDIT))) == ["a", ""]


def test_the_longest_opening_fits() -> None:
    names = StreamNames("u" * MAX_UID_BYTES, "ü" * (MAX_PROTOCOL_BYTES // 2))
    assert len(payload_of(open_frame(0, names, MAX_OFFSET))) <= MAX_CONTROL_BYTES


@pytest.mark.parametrize(
    "opening",
    [
        [],
        ["uid"],
        ["uid", "protocol", 1, 2],
        ["uid", b"protocol"],
        [None, "protocol"],
        [1, 2],
        ["uid", "protocol", -1],
        ["uid", "protocol", MAX_OFFSET + 1],
        ["uid", "protocol", 1.0],
        ["uid", "protocol", None],
        ["uid", ["protocol"]],
        "uid",
        7,
        {"uid": "protocol"},
    ],
    ids=repr,
)
def test_a_malformed_opening_is_refused(opening: object) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed opening"):
        opening_of_untrusted(msgpack.packb(opening))


@pytest.mark.parametrize(
    "payload",
    [b"\xc1", b"\x92\xa1", msgpack.packb(["a", "b"]) + b"\x00", b"\x92\xa1\xff\xa0", b"\x91" * 9],
    ids=["reserved", "cut off", "more behind it", "no UTF-8", "deep"],
)
def test_what_is_not_msgpack_is_no_opening(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed opening"):
        opening_of_untrusted(payload)


@pytest.mark.parametrize(
    "names",
    [
        ["u" * (MAX_UID_BYTES + 1), ""],
        ["line\nbreak", ""],
        ["", "p" * (MAX_PROTOCOL_BYTES + 1)],
        ["", "line\nbreak"],
    ],
    ids=["long UID", "UID of two lines", "long protocol", "protocol of two lines"],
)
def test_names_that_cannot_be_are_refused(names: list[str]) -> None:
    with pytest.raises(RemoteProtocolError, match="wrong names"):
        opening_of_untrusted(msgpack.packb(names))


@given(st.binary(max_size=MAX_CONTROL_BYTES))
def test_any_bytes_are_an_opening_or_raise_one_exception(payload: bytes) -> None:
    try:
        names, credit = opening_of_untrusted(payload)
    except RemoteProtocolError:
        return
    assert opening_of_untrusted(payload_of(open_frame(0, names, credit))) == (names, credit)


# CREDIT and RESET


@given(NUMBERS, st.integers(0, MAX_OFFSET))
def test_a_credit_survives(number: int, limit: int) -> None:
    (frame,) = stream_frames_of(credit_frame(number, limit))
    assert (frame.kind, frame.number) == (StreamFrameKind.CREDIT, number)
    assert limit_of_untrusted(frame.payload) == limit


@pytest.mark.parametrize("payload", [b"", bytes(7), bytes(9), b"\x80" + bytes(7), b"\xff" * 8])
def test_a_malformed_credit_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="credit"):
        limit_of_untrusted(payload)


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        (ResetCode.ABORTED, StreamAbortedError),
        (ResetCode.NOT_ADMITTED, NotAdmittedError),
        (ResetCode.UNKNOWN_UID, UnknownUIDError),
        (ResetCode.UNKNOWN_PROTOCOL, UnknownProtocolError),
        (ResetCode.NOT_ACCEPTED, StreamAbortedError),
        (ResetCode.DRAINING, StreamAbortedError),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_each_code_of_a_reset_is_an_error_of_its_own(
    code: ResetCode, error_type: type[Exception]
) -> None:
    (frame,) = stream_frames_of(reset_frame(8, code, "the words"))
    assert (frame.kind, frame.number) == (StreamFrameKind.RESET, 8)
    error = reset_error_of_untrusted(frame.payload, StreamNames("alice", "echo"))
    assert type(error) is error_type
    assert "the words" in str(error)
    assert "alice" in getattr(error, "uid", "alice")
    assert "echo" in getattr(error, "protocol", "echo")


@given(st.binary(max_size=MAX_CONTROL_BYTES), NAMES)
def test_any_bytes_are_a_reason_for_a_reset_and_can_be_shown_on_a_line(
    payload: bytes, names: StreamNames
) -> None:
    assert str(reset_error_of_untrusted(payload, names)).isprintable()


@pytest.mark.parametrize("reason", ["words", "ü" * 1000, "\udcff", ""])
def test_a_reason_for_a_reset_always_fits(reason: str) -> None:
    payload = payload_of(reset_frame(0, ResetCode.ABORTED, reason))
    assert len(payload) <= MAX_CONTROL_BYTES
