"""The table of a session's streams: their numbers, and how many there may be."""

import pytest
from hypothesis import given, strategies as st

from trio_p2p._errors import RemoteProtocolError
from trio_p2p._stream.credit import EARLY_STREAMS, FIRST_CREDIT, MAX_STREAMS
from trio_p2p._stream.stream_frames import DEFAULT_NAMES, MAX_STREAM_NUMBER
from trio_p2p._stream.stream_table import StreamTable
from trio_p2p._stream.substream import Substream

SIDES = pytest.mark.parametrize("is_opener", [True, False], ids=["opener", "acceptor"])


def stream_of(number: int, *, is_ours: bool) -> Substream:
    return Substream(
        number, DEFAULT_NAMES, is_ours=is_ours, window=FIRST_CREDIT, limit=FIRST_CREDIT
    )


def open_own(table: StreamTable) -> Substream:
    stream = stream_of(table.next_number, is_ours=True)
    table.add_own(stream)
    return stream


def open_theirs(table: StreamTable, number: int) -> Substream:
    table.take_number_untrusted(number)
    stream = stream_of(number, is_ours=False)
    table.add_theirs(stream)
    return stream


@SIDES
def test_streams_of_both_sides_are_found_and_counted(*, is_opener: bool) -> None:
    table = StreamTable(20, is_opener=is_opener)
    first = 0 if is_opener else 1
    own = [open_own(table) for _ in range(3)]
    theirs = [open_theirs(table, 1 - first + 2 * place) for place in range(2)]
    assert [stream.number for stream in own] == [first, first + 2, first + 4]
    assert (table.own, table.theirs, table.unreleased) == (3, 2, 3)
    for stream in own + theirs:
        assert table.find_untrusted(stream.number) is stream
    table.release(own[0])
    table.release(own[0])
    table.release(theirs[0])
    assert (table.own, table.theirs, table.unreleased) == (3, 2, 2)
    table.forget(own[0])
    table.forget(theirs[0])
    assert (table.own, table.theirs, table.unreleased) == (2, 1, 2)
    for stream in (own[0], theirs[0]):
        assert table.find_untrusted(stream.number) is None


@SIDES
@pytest.mark.parametrize("number", [4, 5, MAX_STREAM_NUMBER - 1, MAX_STREAM_NUMBER])
def test_a_stream_that_was_never_opened_is_a_violation(number: int, *, is_opener: bool) -> None:
    table = StreamTable(20, is_opener=is_opener)
    for _ in range(2):
        open_own(table)
    open_theirs(table, 3 if is_opener else 2)
    with pytest.raises(RemoteProtocolError, match=f"stream {number}, which was not opened"):
        table.find_untrusted(number)


@SIDES
@given(st.lists(st.integers(0, 30), max_size=20))
def test_numbers_only_rise_and_are_those_of_the_other_side(
    is_opener: bool, numbers: list[int]
) -> None:
    table, last = StreamTable(20, is_opener=is_opener), -1
    for number in numbers:
        if number > last and number % 2 == is_opener:
            table.take_number_untrusted(number)
            last = number
        else:
            with pytest.raises(RemoteProtocolError, match="out of turn"):
                table.take_number_untrusted(number)


def test_there_is_no_number_behind_the_last() -> None:
    table = StreamTable(20, is_opener=False)
    table.next_number = MAX_STREAM_NUMBER
    assert open_own(table).number == MAX_STREAM_NUMBER
    assert not table.has_numbers


@pytest.mark.parametrize(
    ("said", "limit"),
    [(0, EARLY_STREAMS), (17, 17), (MAX_STREAMS, MAX_STREAMS), (MAX_STREAM_NUMBER, MAX_STREAMS)],
)
def test_the_limit_of_own_streams_is_never_less_than_at_first_nor_without_bounds(
    said: int, limit: int
) -> None:
    table = StreamTable(20, is_opener=True)
    table.limit(said)
    table.unreleased = limit - 1
    assert table.may_open
    open_own(table)
    assert (table.unreleased, table.may_open) == (limit, False)
