"""The TCP of simulated hosts does what programs expect of the real one."""

from __future__ import annotations

import errno
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p.testing._host.incoming import RECEIVE_BYTES
from trio_p2p.testing._host.outgoing import MAX_SEGMENT, SEND_BYTES, SYN_RETRIES
from trio_p2p.testing._host.segments import Segment, build_segment, read_segment
from trio_p2p.testing._host.states import State
from trio_p2p.testing._host.tcp import TIME_WAIT_TIME
from trio_p2p.testing._internet.packets import ACK, FIN, INITIAL_TTL, RST, SYN

from .tcp_wire import DELAY, ONE, OTHER, End, Wire, opened

DATA = Random("data").randbytes(1_000_000)


def states(wire: Wire) -> list[State]:
    return [end.connection.state for end in (wire.one, wire.other)]


def transfer(wire: Wire, sender: End, receiver: End, data: bytes) -> bytes:
    """Send all data, and give what came of them."""
    received, view = b"", memoryview(data)
    for _ in range(10_000):
        if view:
            with suppress(BlockingIOError):
                view = view[sender.connection.write(view) :]
        else:
            sender.connection.shut_down()
        wire.run(DELAY)
        received += receiver.read_all()
        if len(received) == len(data):
            return received
    raise AssertionError("it takes too long")


def test_segments_are_packets_and_back() -> None:
    segment = Segment(2**32 - 1, 5, SYN | ACK, 262_144, b"data")
    packet = build_segment(ONE, OTHER, segment)
    assert (packet.source, packet.destination, packet.ttl) == (ONE, OTHER, INITIAL_TTL)
    assert read_segment(packet) == segment
    assert build_segment(ONE, OTHER, segment, hops=3).ttl == 3


def test_ends_open_by_three_segments() -> None:
    wire = opened()
    assert states(wire) == [State.ESTABLISHED] * 2
    assert [each.flags for each in wire.one.sent] == [SYN, ACK]
    assert [each.flags for each in wire.other.sent] == [SYN | ACK]
    assert wire.one.connection.outgoing.round_trip == pytest.approx(2 * DELAY)
    assert wire.one.changes
    assert wire.other.changes


def test_both_ends_may_open_at_once() -> None:
    wire = Wire()
    for end in (wire.one, wire.other):
        end.connection.open()
    wire.run(1.0)
    assert states(wire) == [State.ESTABLISHED] * 2
    assert all([each.flags for each in end.sent][:2] == [SYN, SYN | ACK] for end in ends(wire))
    assert transfer(wire, wire.one, wire.other, b"hello") == b"hello"


def ends(wire: Wire) -> tuple[End, End]:
    return wire.one, wire.other


@given(st.integers(0, 100), st.sampled_from([0.0, 0.02, 0.2]), st.sampled_from([1, 5000, 10**6]))
def test_all_bytes_arrive_in_spite_of_losses(seed: int, loss: float, count: int) -> None:
    wire = opened(loss=loss, seed=seed)
    sent = DATA[:count]
    assert transfer(wire, wire.one, wire.other, sent) == sent
    assert transfer(wire, wire.other, wire.one, sent) == sent


@settings(derandomize=True)  # one seed in hundreds loses the same segment again and again
@given(st.integers(0, 1000))
def test_connections_open_and_close_in_spite_of_losses(seed: int) -> None:
    wire, random = Wire(), Random(seed)
    wire.loses = lambda _: random.random() < 0.2
    wire.one.connection.open()
    wire.run(100.0)
    assert states(wire) == [State.ESTABLISHED] * 2
    for end in ends(wire):
        end.connection.write(b"last words")
        end.connection.shut_down()
    wire.run(10_000.0)
    assert [end.read_all() for end in ends(wire)] == [b"last words"] * 2
    assert states(wire) == [State.CLOSED] * 2
    assert all(end.is_forgotten for end in ends(wire))


def test_one_direction_may_end() -> None:
    wire = opened()
    wire.one.connection.write(b"question")
    wire.one.connection.shut_down()
    wire.run(1.0)
    assert wire.other.connection.read(100) == b"question"
    assert wire.other.connection.read(100) == b""
    with pytest.raises(BrokenPipeError):
        wire.one.connection.write(b"more")
    wire.other.connection.write(b"answer")
    wire.run(1.0)
    assert wire.one.connection.read(100) == b"answer"
    wire.other.connection.close()
    wire.run(1.0)
    assert wire.one.connection.read(100) == b""
    assert states(wire) == [State.TIME_WAIT, State.CLOSED]
    wire.run(TIME_WAIT_TIME)
    assert wire.one.is_forgotten
    assert not any(each.flags & RST for end in ends(wire) for each in end.sent)


def test_data_leave_in_few_segments_and_the_end_with_the_last() -> None:
    wire = opened()
    wire.one.connection.write(DATA[: 2 * MAX_SEGMENT])
    wire.one.connection.shut_down()
    wire.run(1.0)
    assert [len(each.data) for each in wire.one.sent if each.data] == [MAX_SEGMENT] * 2
    assert wire.one.sent[-1].flags == ACK | FIN


def test_a_peer_that_does_not_read_takes_no_more_than_a_window() -> None:
    wire, sent = opened(), 0
    while True:
        try:
            sent += wire.one.connection.write(DATA)
        except BlockingIOError:
            break
        wire.run(1.0)
    assert sent == RECEIVE_BYTES + SEND_BYTES
    was_writable = wire.one.connection.is_writable
    assert wire.other.read_all() == DATA[:RECEIVE_BYTES]
    wire.run(10.0)
    assert (was_writable, wire.one.connection.is_writable) == (False, True)
    assert wire.other.read_all() == DATA[:SEND_BYTES]


def test_a_window_that_opens_unheard_is_probed() -> None:
    wire = opened()
    wire.one.connection.outgoing.user_timeout = 10.0  # of silence, which is not this
    wire.one.connection.write(DATA)
    wire.run(1.0)
    wire.one.connection.write(b"behind")
    wire.run(10_000.0)
    wire.loses = lambda _: True
    assert wire.other.read_all() == DATA[:RECEIVE_BYTES]
    wire.loses = lambda _: False
    wire.run(1000.0)
    assert wire.other.read_all() == b"behind"


def test_no_more_may_be_unsent_than_is_wanted() -> None:
    wire = opened()
    wire.one.connection.write(DATA[:RECEIVE_BYTES])
    wire.run(1.0)
    wire.one.connection.outgoing.unsent_limit = 100
    assert wire.one.connection.write(DATA) == 100
    assert not wire.one.connection.is_writable


@pytest.mark.parametrize("leaves_unread", [False, True])
def test_what_comes_to_a_closed_end_resets_the_other_one(leaves_unread: bool) -> None:
    wire = opened()
    if leaves_unread:
        wire.one.connection.write(b"unread")
        wire.run(1.0)
    wire.other.connection.close()
    wire.run(1.0)
    assert bool(wire.other.sent[-1].flags & RST) is leaves_unread
    if not leaves_unread:
        wire.one.connection.write(b"to a closed end")
        wire.run(1.0)
    with pytest.raises(ConnectionResetError):
        wire.one.connection.read(100)
    assert wire.one.connection.read(100) == b""  # an error is told once
    with pytest.raises(BrokenPipeError):
        wire.one.connection.write(b"more")
    assert states(wire) == [State.CLOSED] * 2


def test_a_closed_end_waits_a_minute_for_the_other_end() -> None:
    wire = opened()
    wire.one.connection.close()
    wire.run(59.0)
    before = wire.one.is_forgotten
    wire.run(2.0)
    assert (before, wire.one.is_forgotten) == (False, True)
    assert wire.other.connection.state is State.ESTABLISHED


def test_an_aborted_connection_is_reset() -> None:
    wire = opened()
    wire.one.connection.abort()
    wire.run(1.0)
    assert wire.other.connection.take_error() == errno.ECONNRESET


def test_a_syn_is_sent_again_and_given_up() -> None:
    wire = Wire()
    wire.loses = lambda _: True
    wire.one.connection.open()
    wire.run(100.0)
    assert wire.one.connection.state is State.SYN_SENT
    wire.run(1000.0)
    assert len(wire.one.sent) == 1 + SYN_RETRIES
    assert wire.one.connection.take_error() == errno.ETIMEDOUT
    assert wire.one.is_forgotten


def test_an_attempt_that_is_given_up_says_nothing() -> None:
    wire = Wire()
    wire.one.connection.open()
    wire.one.connection.close()
    assert len(wire.one.sent) == 1
    assert wire.one.connection.state is State.CLOSED


def test_an_attempt_is_refused_by_an_answer_to_it_only() -> None:
    wire = Wire()
    wire.loses = lambda _: True
    connection = wire.one.connection
    connection.open()
    for acknowledgement, flags in ((7, RST | ACK), (101, RST)):
        connection.take(Segment(0, acknowledgement, flags, 0, b""))
        assert connection.state is State.SYN_SENT
    connection.take(Segment(0, 7, ACK, 0, b""))
    assert wire.one.sent[-1] == Segment(7, 0, RST, 0, b"")
    connection.take(Segment(0, 101, RST | ACK, 0, b""))
    assert connection.take_error() == errno.ECONNREFUSED


def test_a_reset_from_elsewhere_is_not_believed() -> None:
    wire = opened()
    wire.one.connection.take(Segment(5, 0, RST, 0, b""))
    wire.one.connection.take(Segment(5, 0, SYN, 0, b""))
    wire.one.connection.take(Segment(5, 0, 0, 0, b""))
    assert wire.one.connection.state is State.ESTABLISHED
    assert wire.one.sent[-1].flags == ACK


def test_data_that_are_not_acknowledged_are_given_up_in_time() -> None:
    wire = opened()
    wire.loses = lambda _: True
    wire.one.connection.outgoing.user_timeout = 10.0
    wire.one.connection.write(b"lost")
    wire.run(9.0)
    assert wire.one.connection.state is State.ESTABLISHED
    wire.run(20.0)
    assert wire.one.connection.take_error() == errno.ETIMEDOUT


def test_data_are_given_up_in_the_end_in_any_case() -> None:
    wire = opened()
    wire.loses = lambda _: True
    wire.one.connection.write(b"lost")
    wire.run(10_000.0)
    assert wire.one.connection.take_error() == errno.ETIMEDOUT


def test_joined_ends_need_no_handshake() -> None:
    wire = Wire()
    for end, peer in ((wire.one, wire.other), (wire.other, wire.one)):
        end.connection.join(peer.connection.isn)
    wire.one.connection.write(b"hello")
    wire.one.sent.append(Segment(0, 0, 0, 0, b""))
    wire.other.sent.append(Segment(0, 0, 0, 0, b""))
    wire.run(1.0)
    assert wire.other.connection.read(100, keeps=True) == b"hello"
    assert wire.other.read_all() == b"hello"
