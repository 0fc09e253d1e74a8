"""What the lab does to single packets: translates them, answers them, delays and loses them."""

import struct

import pytest
from hypothesis import given, strategies as st

from trio_p2p.testing._internet.packets import ACK, FIN, RST, SYN, TIME_EXCEEDED, Endpoint, Packet
from trio_p2p.testing._internet.ways import UnderWay, Way

from .nat_bench import HOST, OUTSIDE, REMOTE, assert_intact, endpoint, segment

endpoints = st.builds(
    Endpoint,
    st.binary(min_size=4, max_size=4).filter(lambda address: 0 < address[0] < 224),
    st.integers(1, 65535),
)


@given(endpoints, endpoints, endpoints, st.binary(max_size=40), st.integers(2, 255))
def test_translated_packet_has_right_checksums(
    source: Endpoint, destination: Endpoint, new: Endpoint, payload: bytes, ttl: int
) -> None:
    packet = segment(source, destination, ACK, payload=payload, ttl=ttl)
    assert_intact(packet)
    packet.set_source(new)
    assert_intact(packet)
    packet.set_destination(new)
    packet.decrement_ttl()
    assert_intact(packet)
    assert packet.ttl == ttl - 1
    assert packet.data[40:] == payload


@given(endpoints, endpoints, st.binary(max_size=600))
def test_answers_have_right_checksums(
    source: Endpoint, destination: Endpoint, payload: bytes
) -> None:
    packet = segment(source, destination, ACK, payload=payload)
    for answer in (packet.reset(), packet.report(TIME_EXCEEDED, OUTSIDE)):
        assert answer is not None
        assert_intact(answer)
        assert answer.destination.address == source.address
        assert len(answer.data) <= 576


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda rest: b"\x45" + rest))
def test_what_is_no_packet_is_none(data: bytes) -> None:
    parsed = Packet.parse(bytearray(data))
    assert parsed is None or parsed.data == data


@pytest.mark.parametrize(
    ("flags", "payload", "expected"),
    [
        (SYN, b"", (0, 1001, RST | ACK)),
        (FIN, b"abc", (0, 1004, RST | ACK)),
        (ACK, b"abc", (77, 0, RST)),
        (SYN | ACK, b"", (77, 0, RST)),
    ],
)
def test_reset_fits_what_it_answers(
    flags: int, payload: bytes, expected: tuple[int, int, int]
) -> None:
    packet = segment(REMOTE, HOST, flags, acknowledged=77, payload=payload)
    answer = packet.reset()
    assert answer is not None
    [acknowledged] = struct.unpack_from("!I", answer.data, 28)
    assert (answer.sequence, acknowledged, answer.flags) == expected
    assert answer.reset() is None


def test_port_of_a_short_quote_is_read() -> None:
    packet = segment(HOST, REMOTE)
    report = packet.report(TIME_EXCEEDED, OUTSIDE)
    assert report is not None
    del report.data[56:]  # 28 bytes of headers, and of the quote no more than RFC 792 asks for
    quote = report.quote()
    assert quote is not None
    assert (quote.source, quote.destination) == (HOST, REMOTE)
    del report.data[55:]
    assert report.quote() is None


def test_nobody_reports_errors_or_multicasts() -> None:
    report = segment(HOST, REMOTE).report(TIME_EXCEEDED, OUTSIDE)
    assert report is not None
    assert report.report(TIME_EXCEEDED, OUTSIDE) is None
    to_many = segment(HOST, endpoint("224.0.0.1", 1))
    assert to_many.report(TIME_EXCEEDED, OUTSIDE) is None


# Ways


def arrivals(way: Way, count: int) -> list[float | None]:
    return [way.due(float(second)) for second in range(count)]


def test_way_loses_as_many_as_it_says_and_the_same_with_the_same_seed() -> None:
    way, same, other = (Way(seed) for seed in ("one", "one", "other"))
    for made in (way, same, other):
        made.loss = 0.3
    arrived = arrivals(way, 2000)
    assert 500 < arrived.count(None) < 700
    assert arrivals(same, 2000) == arrived
    assert arrivals(other, 2000) != arrived


@given(st.lists(st.floats(0, 0.01), min_size=1, max_size=50))
def test_jitter_delays_within_its_limit_and_keeps_the_order(gaps: list[float]) -> None:
    way = Way("")
    way.delay, way.jitter = 0.1, 0.02
    now = last_due = 0.0
    for gap in gaps:
        now += gap
        due = way.due(now)
        assert due is not None
        assert now + 0.1 <= due < now + 0.1201
        assert due >= last_due
        last_due = due


def test_jitter_differs_from_packet_to_packet() -> None:
    way = Way("")
    way.jitter = 0.5
    lateness = {due - second for second, due in enumerate(arrivals(way, 10)) if due is not None}
    assert len(lateness) == 10


def test_nothing_is_due_before_its_time_and_what_is_due_together_keeps_its_order() -> None:
    under_way = UnderWay[str]()
    assert under_way.wait(0.0) is None
    for due, item in [(3.0, "late"), (2.0, "early"), (3.0, "last")]:
        under_way.add(due, item)
    assert under_way.wait(0.5) == 1.5
    assert under_way.wait(2.5) == -0.5
    assert [under_way.take() for _ in range(3)] == ["early", "late", "last"]
    assert under_way.wait(4.0) is None
