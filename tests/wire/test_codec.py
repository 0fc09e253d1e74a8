"""The codec: what stands in docs/vectors.json, and that hostile bytes raise one exception only."""

import enum
import io
import json
import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import example, given, strategies as st

from trio_p2p._addresses import Endpoint
from trio_p2p._attempt import Outcome, Technique
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._wire.codec import MAX_FRAME_BYTES, FrameReader, decode_untrusted, encode
from trio_p2p._wire.messages import (
    MAX_ROUND_TRIP,
    MESSAGE_TYPES,
    Acknowledge,
    CallBack,
    Called,
    CalledBack,
    CallSource,
    ConnectionRequest,
    Hello,
    HolePunched,
    IntroductionRequest,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Register,
    Relayed,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
    Update,
)
from trio_p2p._wire.offer import (
    NO_OFFER,
    Allocation,
    Behaviour,
    Candidate,
    CandidateKind,
    Nat,
    Offer,
    Opening,
)

from ..kit.message_strategies import message_strategy, offers

VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "vectors.json").read_text("utf-8"))
HEX = "hex:"
MIB = 1 << 20


def read(chunks: Iterable[bytes]) -> list[Message]:
    """All messages in a stream that comes in these chunks."""
    frames = FrameReader()
    messages: list[Message] = []
    for chunk in chunks:
        frames.feed(chunk)
        while (payload := frames.next_untrusted()) is not None:
            messages.append(decode_untrusted(payload))
    return messages


def frame_of(payload: bytes) -> bytes:
    return b"\xc5" + len(payload).to_bytes(2, "big") + payload


def payload_of(fields: object) -> bytes:
    return msgpack.packb(fields)


def fields_of(message: Message) -> dict[str, Any]:
    """The map that travels."""
    (payload,) = msgpack.Unpacker(io.BytesIO(encode(message)))
    fields: dict[str, Any] = msgpack.unpackb(payload)
    return fields


# The vectors, without any of the codec's own tables.


def wire_value(value: Any) -> Any:
    """A field of a message as the vectors write it."""
    match value:
        case bytes():
            return HEX + value.hex()
        case Endpoint():
            return [HEX + value.address.packed.hex(), value.port]
        case Offer(nat, candidates, port_guessing, opening):
            return [
                [nat.mapping, nat.filtering, nat.allocation, nat.step],
                [[each.kind, *wire_value(each.endpoint)] for each in candidates],
                port_guessing,
                opening,
            ]
        case tuple():
            return [wire_value(each) for each in value]
        case _:
            return value


def is_written(name: str, value: Any) -> bool:
    return value is not None and (name, value) not in {
        ("probes", ()),
        ("brokers", ()),
        ("offer", NO_OFFER),
    }


def vector_of(message: Message) -> dict[str, Any]:
    """A message as the vectors write it."""
    fields = {name: getattr(message, name) for name in attrs.fields_dict(type(message))}
    written = {name: wire_value(value) for name, value in fields.items() if is_written(name, value)}
    return {"type": message.type, **written}


KINDS: dict[str, type[enum.StrEnum]] = {
    "code": RefusalCode,
    "stream": StreamKind,
    "source": CallSource,
    "same_address": Outcome,
    "other_address": Outcome,
    "connected_by": Technique,
    "mapping": Behaviour,
    "peer_mapping": Behaviour,
}


def offer_of(value: Any) -> Offer:
    (mapping, filtering, allocation, step), candidates, port_guessing, opening = value
    nat = Nat(
        mapping and Behaviour(mapping),
        filtering and Behaviour(filtering),
        allocation and Allocation(allocation),
        step,
    )
    return Offer(
        nat,
        tuple(
            Candidate(CandidateKind(kind), field_value("endpoint", endpoint))
            for kind, *endpoint in candidates
        ),
        port_guessing,
        Opening(opening),
    )


def field_value(name: str, value: Any) -> Any:
    match value:
        case list() if name == "offer":
            return offer_of(value)
        case str() if value.startswith(HEX):
            return bytes.fromhex(value.removeprefix(HEX))
        case [str(packed), int(port)]:
            address = bytes.fromhex(packed.removeprefix(HEX))
            is_4 = len(address) == 4
            return Endpoint(IPv4Address(address) if is_4 else IPv6Address(address), port)
        case list():
            return tuple(field_value("", each) for each in value)
        case _:
            return KINDS[name](value) if name in KINDS else value


def message_of(vector: dict[str, Any]) -> Message:
    """The message that the vectors write like this."""
    (cls,) = (cls for cls in MESSAGE_TYPES if cls.type == vector["type"])
    return cls(**{name: field_value(name, vector[name]) for name in vector if name != "type"})


def vectors(section: str, label: str) -> pytest.MarkDecorator:
    entries = [pytest.param(entry, id=entry[label]) for entry in VECTORS[section]]
    return pytest.mark.parametrize("vector", entries)


@vectors("messages", "name")
def test_message_is_written_like_its_vector(vector: dict[str, Any]) -> None:
    assert encode(message_of(vector["message"])).hex() == vector["hex"]


@vectors("messages", "name")
def test_vector_is_read_as_its_message(vector: dict[str, Any]) -> None:
    (message,) = read([bytes.fromhex(vector["hex"])])
    assert message == message_of(vector["message"])
    assert vector_of(message) == vector["message"]


@vectors("messages", "name")
def test_any_streaming_unpacker_reads_a_vector(vector: dict[str, Any]) -> None:
    unpacker = msgpack.Unpacker()
    unpacker.feed(bytes.fromhex(vector["hex"]))
    (payload,) = unpacker
    assert msgpack.unpackb(payload)["type"] == vector["message"]["type"]


@vectors("also_accepted", "why")
def test_lenient_vector_is_read(vector: dict[str, Any]) -> None:
    (message,) = read([bytes.fromhex(vector["hex"])])
    assert message == message_of(vector["message"])


@vectors("invalid", "why")
def test_invalid_vector_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^got "):
        read([bytes.fromhex(vector["hex"])])


@vectors("incomplete", "why")
def test_incomplete_vector_is_waited_for(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    frames = FrameReader()
    frames.feed(data)
    assert frames.next_untrusted() is None
    assert frames.is_empty is not bool(data)


def test_vectors_cover_every_message_field_and_code() -> None:
    written = [vector["message"] for vector in VECTORS["messages"]]
    for cls in MESSAGE_TYPES:
        mine = [message for message in written if message["type"] == cls.type]
        for field in attrs.fields(cls):
            assert any(field.name in message for message in mine), (cls, field.name)
            if not is_written(field.name, field.default):
                assert any(field.name not in message for message in mine), (cls, field.name)
        assert any(vector["why"].startswith(f"{cls.type}:") for vector in VECTORS["invalid"]) or (
            not attrs.fields(cls)
        )
    assert {m["code"] for m in written if m["type"] == "refused"} == set(RefusalCode)
    assert {m["source"] for m in written if m["type"] == "called"} == set(CallSource)


# Properties.


@given(message_strategy())
@example(Refused(RefusalCode.UID_TAKEN, "ä" * 256))
@example(Hello(0, ("x" * 100,) * 32))
def test_every_message_comes_back(message: Message) -> None:
    encoded = encode(message)
    assert len(encoded) <= 3 + MAX_FRAME_BYTES
    assert read([encoded]) == [message]


@given(st.lists(message_strategy(), max_size=5), st.data())
def test_chunks_do_not_matter(messages: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    assert read(chunks) == messages


@given(st.lists(st.binary()))
def test_any_bytes_in_any_chunks_raise_one_exception_only(chunks: list[bytes]) -> None:
    with suppress(RemoteProtocolError):
        read(chunks)


@given(st.binary(max_size=MAX_FRAME_BYTES))
@example(b"\x81\xa4type\xc7\x00\xff")  # a timestamp of no bytes
@example(b"\x81\xa4type\xc7\x00\x05")  # an extension of no bytes
@example(b"\xc7\x0c\xff" + b"\xff" * 12)  # a timestamp far in the future
def test_any_payload_raises_one_exception_only(payload: bytes) -> None:
    with suppress(RemoteProtocolError):
        read([frame_of(payload)])


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=40)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 9) | st.binary(max_size=3), inner)
    ),
    max_leaves=10,
)


@given(anything)
def test_any_value_raises_one_exception_only(value: object) -> None:
    with suppress(RemoteProtocolError):
        decode_untrusted(payload_of(value))


@given(message_strategy(), anything, st.data())
def test_message_with_any_field_spoilt(
    message: Message, value: object, data: st.DataObject
) -> None:
    fields = fields_of(message)
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    with suppress(RemoteProtocolError):
        decoded = decode_untrusted(payload_of(fields))
        # What is accepted is valid: it can be sent on, and means the same there.
        assert read([encode(decoded)]) == [decoded]


@given(message_strategy(), st.data())
def test_message_with_any_byte_spoilt(message: Message, data: st.DataObject) -> None:
    encoded = bytearray(encode(message))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        read([bytes(encoded)])


@given(message_strategy(), st.dictionaries(st.text(max_size=8).map("x-{}".format), st.integers()))
def test_unknown_fields_are_ignored(message: Message, unknown: dict[str, int]) -> None:
    unknown = {name: value % 2**64 for name, value in list(unknown.items())[:20]}
    extended = payload_of({**unknown, **fields_of(message)})
    if len(extended) <= MAX_FRAME_BYTES:
        assert read([frame_of(extended)]) == [message]


# Bounds.


@pytest.mark.parametrize("depth", [1000, 1025])
@pytest.mark.parametrize("header", [b"\x91", b"\x81\xa0"], ids=["arrays", "maps"])
@pytest.mark.parametrize("place", range(9))
def test_deep_nesting_in_any_place_of_an_offer(depth: int, header: bytes, place: int) -> None:
    nested = header * min(depth, 3800 // len(header)) + b"\xc0"
    parts = [payload_of(each) for each in (None, None, None, 0, "host", bytes(4), 443, True, "")]
    parts[place] = nested
    nat, candidate = b"\x94" + b"".join(parts[:4]), b"\x93" + b"".join(parts[4:7])
    offer = b"\x94" + nat + b"\x91" + candidate + parts[7] + parts[8]
    payload = b"\x82" + payload_of("type") + payload_of("update") + payload_of("offer") + offer
    with pytest.raises(RemoteProtocolError):
        read([frame_of(payload)])


@given(anything)
def test_any_offer_raises_one_exception_only(value: object) -> None:
    with suppress(RemoteProtocolError):
        decode_untrusted(payload_of({"type": "update", "offer": value}))


@given(offers, anything, st.integers(0, 8))
def test_offer_with_any_part_spoilt(offer: Offer, value: object, place: int) -> None:
    nat, candidates, port_guessing, opening = wire_value(offer)
    candidate = [*(candidates[0] if candidates else ["host", b"", 443])]
    candidate[1] = bytes(4)
    parts = [*nat, *candidate, port_guessing, opening]
    parts[place] = value
    spoilt = [parts[:4], [parts[4:7]], *parts[7:]]
    with suppress(RemoteProtocolError):
        decoded = decode_untrusted(payload_of({"type": "update", "offer": spoilt}))
        assert read([encode(decoded)]) == [decoded]


def test_offer_that_says_nothing_is_one_object_for_all() -> None:
    for said in ({}, {"offer": [[None, None, None, 0], [], True, "receiver holds"]}):
        update = decode_untrusted(payload_of({"type": "update", **said}))
        assert isinstance(update, Update)
        assert update.offer is NO_OFFER


@pytest.mark.parametrize("depth", [1000, 1025])
@pytest.mark.parametrize("header", [b"\x91", b"\x81\xa0"], ids=["arrays", "maps"])
@pytest.mark.parametrize(
    "field", [cls.type + "." + name for cls in MESSAGE_TYPES for name in attrs.fields_dict(cls)]
)
def test_deep_nesting_in_any_field(depth: int, header: bytes, field: str) -> None:
    kind, name = field.split(".")
    # All the others are right, or else they would be what is complained about.
    right = next(v["message"] for v in VECTORS["messages"] if v["message"]["type"] == kind)
    fields = fields_of(message_of(right))
    fields.pop(name, None)
    head = bytes((0x80 + len(fields) + 1,)) + payload_of(fields)[1:]
    payload = head + payload_of(name) + header * min(depth, 3800 // len(header)) + b"\xc0"
    with pytest.raises(RemoteProtocolError):
        read([frame_of(payload)])


def test_deep_nesting_in_an_unknown_field_is_ignored_up_to_a_point() -> None:
    head = b"\x82" + payload_of("type") + payload_of("keepalive") + payload_of("x")
    assert read([frame_of(head + b"\x91" * 1000 + b"\xc0")]) == [KeepAlive()]
    with pytest.raises(RemoteProtocolError):
        read([frame_of(head + b"\x91" * 1025 + b"\xc0")])


@pytest.mark.parametrize(
    "header",
    [
        b"\x9f",
        b"\xdc\x00\x40",
        b"\xdc\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x8f\xa0",
        b"\xde\x00\x20\xa0",
    ],
    ids=["array of 15", "of 64", "of 65535", "of 4294967295", "map of 15", "map of 32"],
)
def test_memory_is_bounded_for_nested_headers(header: bytes) -> None:
    payload = (header * MAX_FRAME_BYTES)[:MAX_FRAME_BYTES]
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            read([frame_of(payload)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB


def test_oversized_frame_is_refused_by_its_header() -> None:
    frames = FrameReader()
    frames.feed((b"\xc5" + (MAX_FRAME_BYTES + 1).to_bytes(2, "big"))[:2])
    assert frames.next_untrusted() is None
    frames.feed(b"\x01")
    with pytest.raises(RemoteProtocolError, match="4097 bytes; 4096 are the limit"):
        frames.next_untrusted()


def test_largest_frame_is_read() -> None:
    fields: dict[str, object] = {"type": "keepalive", **{f"x{i}": "y" * 505 for i in range(7)}}
    fields["x"] = "y" * (MAX_FRAME_BYTES - len(payload_of(fields)) - len(b"\xa1x\xda\x00\x00"))
    payload = payload_of(fields)
    assert len(payload) == MAX_FRAME_BYTES
    assert read([frame_of(payload)]) == [KeepAlive()]


def test_bytes_after_a_bad_frame_are_never_decoded() -> None:
    frames = FrameReader()
    frames.feed(b"x" + encode(KeepAlive()))
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            frames.next_untrusted()


def test_reader_is_empty_between_frames() -> None:
    frames = FrameReader()
    seen = [frames.is_empty]
    for part in (encode(KeepAlive())[:5], encode(KeepAlive())[5:]):
        frames.feed(part)
        seen.append(frames.is_empty)
    assert frames.next_untrusted() is not None
    assert [*seen, frames.is_empty] == [True, False, False, True]


@pytest.mark.parametrize("value", ["x" * 512, "\x1b" * 512, [["x" * 500] * 7], {"x": 1}, b"\x00"])
@pytest.mark.parametrize("field", ["code", "number", "type"])
def test_error_texts_do_not_repeat_what_came(field: str, value: object) -> None:
    # They go to the log, and back to the other side as a reason.
    fields = {"type": "refused", "code": "uid-taken", "reason": "", field: value}
    with pytest.raises(RemoteProtocolError) as caught:
        decode_untrusted(payload_of(fields))
    text = str(caught.value)
    assert len(text) < 200
    assert "xx" not in text
    assert text.isprintable()


# What is shown, and what is not.


ENDPOINT = Endpoint(IPv4Address("203.0.113.5"), 49152)


@pytest.mark.parametrize(
    "message",
    [
        Hello(challenge=b"S" * 32, token=b"S" * 100),
        Register(0, "alice", StreamKind.RAW, b"S" * 16, ENDPOINT, b"S" * 200, b"S" * 64),
        IntroductionRequest(0, "alice", "fast", StreamKind.RAW, b"S" * 200),
        ConnectionRequest(b"S" * 16),
        Acknowledge(b"S" * 16),
        HolePunched(b"S" * 16),
        SenderEndpoint(ENDPOINT, b"S" * 32, b"S" * 200),
        ReceiverEndpoint(0, ENDPOINT, b"S" * 32, b"S" * 200),
        RelayRequest(b"S" * 16, b"S" * 200),
        Called(b"S" * 32, CallSource.SAME_ADDRESS),
        JoinRelay(b"S" * 16),
        Relayed(b"S" * 16, b"S" * 200),
    ],
)
def test_secrets_are_not_shown(message: Message) -> None:
    assert "SSS" not in repr(message)


def test_defaults_are_what_an_absent_field_means() -> None:
    assert decode_untrusted(payload_of({"type": "hello"})) == Hello()
    assert decode_untrusted(payload_of({"type": "kill"})) == Kill()
    assert SenderEndpoint(ENDPOINT, bytes(32), b"c").round_trip == 0
    assert MAX_ROUND_TRIP == 60 * 1_000_000
    assert Relayed(bytes(16)).bytes_per_second is None
    assert Relayed(bytes(16)).max_bytes is None
    assert decode_untrusted(payload_of({"type": "called_back"})) == CalledBack(None, None)
    assert decode_untrusted(payload_of({"type": "call_back"})) == CallBack()
