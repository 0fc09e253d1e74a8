"""The frames of sessions and streams are what stands in docs/vectors.json."""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from trio_p2p._errors import RemoteProtocolError
from trio_p2p._stream.credit import EARLY_STREAMS
from trio_p2p._stream.frames import (
    AbortCode,
    HelloReader,
    Kind,
    PathHello,
    abort,
    header,
    words_of_untrusted,
)
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._stream.states import SessionRole
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    EOF_FLAG,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
    credit_frame,
    limit_of_untrusted,
    open_frame,
    opening_of_untrusted,
    reset_frame,
    stream_header,
)

from ..kit.multiplexers import StreamFrame, make_multiplexer, read_all, stream_frames_of, take
from ..kit.sinks import FrameSink, Said, feed

VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "vectors.json").read_text("utf-8"))
HEX = "hex:"


def vectors(section: str, label: str) -> pytest.MarkDecorator:
    entries = [pytest.param(entry, id=entry[label]) for entry in VECTORS[section]]
    return pytest.mark.parametrize("vector", entries)


def bytes_of(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix(HEX))


def names_of(says: dict[str, Any]) -> StreamNames:
    return StreamNames(says["uid"], says["protocol"])


# Single frames.


def session_frame(frame: dict[str, Any], says: dict[str, Any]) -> bytes:
    """A session's frame, made from what its vector says."""
    if not says:
        payload = bytes_of(frame["payload"])
        return header(Kind(frame["kind"]), frame["number"], len(payload)) + payload
    if frame["kind"] == Kind.ABORT:
        return abort(AbortCode(says["code"]), says["reason"])
    return hello_of(says).encode()


def hello_of(says: dict[str, Any]) -> PathHello:
    values = {**says, "session": bytes_of(says["session"]), "instance": bytes_of(says["instance"])}
    return PathHello(**values)


def stream_frame(frame: dict[str, Any], says: dict[str, Any]) -> bytes:
    """A stream's frame, made from what its vector says."""
    kind, number, payload = frame["kind"], frame["number"], bytes_of(frame["payload"])
    match kind, says:
        case StreamFrameKind.OPEN, {"credit": credit}:
            return open_frame(number, names_of(says), credit)
        case StreamFrameKind.CREDIT, {"limit": limit}:
            return credit_frame(number, limit)
        case StreamFrameKind.RESET, {"code": code, "reason": reason} if payload:
            return reset_frame(number, ResetCode(code), reason)
        case _, {"eof": eof, "stop": stop}:
            assert kind == EOF_FLAG * eof | STOP_FLAG * stop
    return stream_header(kind, number, len(payload)) + payload


@vectors("session_frames", "name")
def test_frame_of_a_session_is_its_vector(vector: dict[str, Any]) -> None:
    frame, says = vector["frame"], vector.get("says", {})
    data, payload = bytes_of(vector["hex"]), bytes_of(frame["payload"])
    assert session_frame(frame, says) == data
    assert msgpack.unpackb(data) == [frame["kind"], frame["number"], payload]
    sink = FrameSink()
    assert not feed(sink, data)
    assert sink.said == [Said(Kind(frame["kind"]), frame["number"], payload)]
    if frame["kind"] == Kind.HELLO:
        assert PathHello.decode_untrusted(frame["number"], payload) == hello_of(says)
    if frame["kind"] == Kind.ABORT:
        assert words_of_untrusted(payload) == says["reason"]


@vectors("invalid_session_frames", "why")
def test_what_is_no_frame_of_a_session_is_refused(vector: dict[str, Any]) -> None:
    sink = HelloReader() if vector["why"].startswith("HELLO") else FrameSink()
    with pytest.raises(RemoteProtocolError):
        feed(sink, bytes_of(vector["hex"]))


@vectors("stream_frames", "name")
def test_frame_of_a_stream_is_its_vector(vector: dict[str, Any]) -> None:
    frame, says = vector["frame"], vector.get("says", {})
    data, payload = bytes_of(vector["hex"]), bytes_of(frame["payload"])
    assert stream_frame(frame, says) == data
    assert msgpack.unpackb(data) == [frame["kind"], frame["number"], payload]
    assert stream_frames_of(data) == [StreamFrame(frame["kind"], frame["number"], payload)]
    if frame["kind"] == StreamFrameKind.OPEN:
        assert opening_of_untrusted(payload) == (names_of(says), says["credit"])
    if frame["kind"] == StreamFrameKind.CREDIT:
        assert limit_of_untrusted(payload) == says["limit"]


@vectors("invalid_stream_frames", "why")
def test_what_is_no_frame_of_a_stream_is_refused(vector: dict[str, Any]) -> None:
    acceptor = make_acceptor()
    take(acceptor, open_frame(0, DEFAULT_NAMES, 1))
    with pytest.raises(RemoteProtocolError):
        take(acceptor, bytes_of(vector["hex"]))


def test_vectors_cover_every_kind_and_code() -> None:
    frames = {name: VECTORS[name] for name in ("session_frames", "stream_frames")}
    kinds = {name: {each["frame"]["kind"] for each in frames[name]} for name in frames}
    assert kinds["session_frames"] == set(Kind)
    assert kinds["stream_frames"] == {*StreamFrameKind, 1, 2, 3}
    for name, kind, codes in (
        ("session_frames", Kind.ABORT, AbortCode),
        ("stream_frames", StreamFrameKind.RESET, ResetCode),
    ):
        said = [each["says"] for each in frames[name] if each["frame"]["kind"] == kind]
        assert {says["code"] for says in said} == set(codes)


# What an opener says, and what becomes of it.


def make_acceptor() -> Multiplexer:
    return make_multiplexer(SessionRole.ACCEPTOR, streams=EARLY_STREAMS)


def said_in(vector: dict[str, Any]) -> bytes:
    """The bytes of a talk, in which a number stands for so many zero bytes."""
    said = vector["said"]
    return b"".join(bytes(part) if isinstance(part, int) else bytes_of(part) for part in said)


def outcome_of(acceptor: Multiplexer) -> dict[str, Any]:
    """What an acceptor that has taken all streams has of them."""
    return {
        str(stream.number): {
            "received": len(read_all(acceptor, stream)),
            "receiving": stream.receiving.name,
            "sending": stream.sending.name,
        }
        for stream in acceptor.opened
    }


@pytest.mark.parametrize("size", [None, 1])
@vectors("stream_talks", "name")
def test_what_an_opener_says_has_the_outcome_of_its_vector(
    vector: dict[str, Any], size: int | None
) -> None:
    acceptor, data = make_acceptor(), said_in(vector)
    size = size or len(data)
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    if "violation" in vector:
        with pytest.raises(RemoteProtocolError):
            take_each(acceptor, chunks)
    else:
        take_each(acceptor, chunks)
        assert outcome_of(acceptor) == vector["streams"]


def take_each(acceptor: Multiplexer, chunks: list[bytes]) -> None:
    for chunk in chunks:
        take(acceptor, chunk)
