"""The receiving direction of a stream: bytes until they are read, and how many may come."""

import pytest

from trio_p2p._errors import RemoteProtocolError
from trio_p2p._stream.credit import FIRST_CREDIT, Budget
from trio_p2p._stream.receiving_stream import LARGE_BYTES, ReceivingStream
from trio_p2p._stream.stream_states import Direction

LARGEST = 4 * FIRST_CREDIT
SIDES = pytest.mark.parametrize("is_ours", [True, False], ids=["opener", "acceptor"])


class Stream(ReceivingStream):
    """A stream with the budget that a multiplexer would have."""

    def __init__(self, *, is_ours: bool = True) -> None:
        super().__init__(2, FIRST_CREDIT, is_ours=is_ours)
        self.budget = Budget(8 * FIRST_CREDIT)

    def take(self, max_bytes: int = 1 << 30) -> bytes | bytearray | None:
        return self.read(max_bytes, LARGEST, self.budget)

    def come(self, data: bytes) -> None:
        self.announced(len(data))
        self.append(data)


@SIDES
def test_what_came_is_read_and_then_its_end(*, is_ours: bool) -> None:
    stream = Stream(is_ours=is_ours)
    assert stream.take() is None
    stream.come(b"abc")
    assert stream.has_input
    assert stream.take(2) == b"ab"
    stream.ended(stream.budget)
    assert (stream.take(), stream.take(), stream.take()) == (b"c", b"", b"")
    assert stream.has_input


def test_bytes_go_straight_to_where_they_are_kept() -> None:
    stream = Stream()
    stream.announced(5)
    buffer = stream.get_buffer(5, 100)
    assert buffer is not None
    assert len(buffer) == 5
    buffer[:3] = b"abc"
    buffer.release()
    stream.arrived(3)
    assert stream.take() == b"abc"


def test_memory_for_a_large_piece_is_taken_for_those_behind_it_too_as_far_as_they_may_come() -> (
    None
):
    stream = Stream()
    for _ in range(2):
        stream.announced(LARGE_BYTES)
        buffer = stream.get_buffer(LARGE_BYTES, 10 * FIRST_CREDIT)
        assert buffer is not None
        assert len(buffer) == LARGE_BYTES
        assert isinstance(buffer.obj, bytearray)
        assert len(buffer.obj) == FIRST_CREDIT
        buffer.release()
        stream.arrived(LARGE_BYTES)
    assert stream.take() == bytes(2 * LARGE_BYTES)


def test_reading_gives_credit_and_none_is_owed_when_no_more_comes() -> None:
    stream = Stream()
    stream.come(bytes(FIRST_CREDIT))
    stream.take()
    assert stream.owes_credit
    stream.come(bytes(2 * FIRST_CREDIT))
    stream.ended(stream.budget)
    stream.take()
    assert not stream.owes_credit


@pytest.mark.parametrize("is_ended", [True, False])
def test_more_bytes_than_may_come_are_a_violation(*, is_ended: bool) -> None:
    stream = Stream()
    stream.come(bytes(FIRST_CREDIT))
    if is_ended:
        stream.ended(stream.budget)
        stream.take()
    stream.announced(0)
    complaint = "behind the end of stream 2" if is_ended else "than it has credit"
    with pytest.raises(RemoteProtocolError, match=complaint):
        stream.announced(1)


def test_a_second_end_is_a_violation() -> None:
    stream = Stream()
    stream.ended(stream.budget)
    with pytest.raises(RemoteProtocolError, match="two ends of stream 2"):
        stream.ended(stream.budget)


@pytest.mark.parametrize("is_cut", [True, False])
def test_what_comes_when_nothing_more_is_wanted_is_dropped(*, is_cut: bool) -> None:
    stream = Stream()
    stream.come(b"came before")
    if is_cut:
        stream.cut_input(stream.budget)
        assert stream.has_input
        assert stream.take() == b"came before"
    else:
        stream.drop_input(stream.budget)
    stream.announced(4)
    assert stream.get_buffer(4, 4) is None
    stream.arrived(4)
    stream.append(b"late")
    assert stream.take() is None
    stream.ended(stream.budget)
    assert stream.receiving is (Direction.CUT if is_cut else Direction.ENDED)


def test_a_direction_that_has_come_to_its_end_is_neither_cut_nor_dropped() -> None:
    stream = Stream()
    stream.ended(stream.budget)
    stream.cut_input(stream.budget)
    stream.drop_input(stream.budget)
    assert stream.receiving is Direction.ENDED


@SIDES
@pytest.mark.parametrize("end", ["read", "dropped", "cut"])
def test_memory_is_given_back_when_nothing_more_comes_and_nothing_is_held(
    end: str, *, is_ours: bool
) -> None:
    stream = Stream(is_ours=is_ours)
    if is_ours:
        stream.budget.begin(FIRST_CREDIT)
    stream.come(bytes(FIRST_CREDIT))
    stream.take()
    assert stream.budget._grown == FIRST_CREDIT
    stream.come(b"more")
    if end == "dropped":
        stream.drop_input(stream.budget)
    else:
        if end == "read":
            stream.ended(stream.budget)
        else:
            stream.cut_input(stream.budget)
        assert stream.budget._grown == FIRST_CREDIT
        assert stream.take() == b"more"
    assert stream.budget._own == stream.budget._grown == 0
