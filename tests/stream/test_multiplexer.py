"""The multiplexer: many streams in one session's bytes."""

import attrs
import pytest

from trio_p2p._errors import PathLostError, StreamAbortedError
from trio_p2p._stream.credit import (
    EARLY_STREAMS,
    FIRST_CREDIT,
    first_credit,
    reserved_memory,
)
from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._stream.states import SessionRole
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    EOF_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
)
from trio_p2p._stream.stream_states import Direction
from trio_p2p._stream.substream import Substream

from ..kit.multiplexers import (
    STREAMS,
    MultiplexerPair,
    StreamFrame,
    make_multiplexer,
    pulled_from,
    read_all,
    said_by,
    stream_frames_of,
    take,
)


def frames_of(multiplexer: Multiplexer, room: int = MAX_PAYLOAD_BYTES) -> list[StreamFrame]:
    """What it says next."""
    return stream_frames_of(pulled_from(multiplexer, room))


# How streams end.


def test_a_side_that_has_ended_its_direction_may_close_the_stream_afterwards() -> None:
    pair = MultiplexerPair()
    ours, theirs = pair.open()
    pair.opener.write(ours, b"all")
    pair.opener.finish(ours)
    pair.settle()
    pair.opener.close(ours)
    pair.settle()
    assert read_all(pair.acceptor, theirs) == b"all"
    assert theirs.is_refused
    pair.acceptor.close(theirs)
    pair.settle()
    assert len(pair.opener) == len(pair.acceptor) == 0


def test_a_stream_that_is_reset_before_it_was_said_never_existed_for_the_other_side() -> None:
    pair = MultiplexerPair()
    stream = pair.opener.open(DEFAULT_NAMES)
    pair.opener.write(stream, b"never sent")
    pair.opener.reset(stream, ResetCode.ABORTED, "changed its mind")
    assert stream.is_over
    assert isinstance(stream.error, StreamAbortedError)
    assert said_by(pair.opener) == b""
    assert not pair.opener.is_ready
    assert len(pair.opener) == 0
    assert pair.opener.closed == [stream]
    ours, theirs = pair.open()
    assert ours.number == theirs.number == stream.number + 2


def test_streams_can_be_reset_and_closed_when_the_session_is_over() -> None:
    pair = MultiplexerPair()
    opened, _ = pair.open()
    streams = [opened, pair.opener.open(DEFAULT_NAMES), pair.opener.open(DEFAULT_NAMES)]
    error = PathLostError("no path")
    pair.opener.fail(error)
    pair.opener.reset(streams[0], ResetCode.ABORTED, "a block failed")
    pair.opener.reset(streams[1], ResetCode.ABORTED, "a block failed")
    pair.opener.close(streams[2])
    assert [stream.error for stream in streams] == 3 * [error]
    assert all(stream.is_over for stream in streams)
    assert not pair.opener.is_ready
    assert len(pair.opener) == 0


def test_a_stream_that_came_together_with_the_end_of_the_session_is_still_handed_over() -> None:
    pair = MultiplexerPair()
    stream = pair.opener.open(DEFAULT_NAMES)
    pair.opener.write(stream, b"last words")
    pair.opener.finish(stream)
    take(pair.acceptor, said_by(pair.opener))
    pair.acceptor.fail(PathLostError("no path"))
    (theirs,) = pair.acceptor.opened
    assert pair.acceptor.closed == [theirs]
    assert read_all(pair.acceptor, theirs) == b"last words"
    assert pair.acceptor.read(theirs, 1) == b""
    assert isinstance(theirs.error, PathLostError)


def test_a_stream_that_the_other_side_takes_no_more_is_over_and_leaves_nothing_to_say() -> None:
    pair = MultiplexerPair()
    ours, _ = pair.open()
    late = pair.opener.open(DEFAULT_NAMES)
    pair.acceptor.go_away()
    take(pair.opener, said_by(pair.acceptor))
    assert pair.opener.has_opened_all
    assert not pair.opener.is_ready
    assert "takes no new streams" in str(late.error)
    pair.opener.close(late)
    assert pair.opener.closed == [late]
    pair.opener.close(ours)
    assert not pair.opener.is_silent
    said_by(pair.opener)
    assert pair.opener.is_silent


# What leaves, and when.


def test_no_bytes_of_a_stream_leave_before_it_is_opened_however_little_room_there_is() -> None:
    pair = MultiplexerPair()
    stream = pair.opener.open(StreamNames("receiver", "echo"))
    pair.opener.write(stream, b"early")
    pair.opener.finish(stream)
    assert pulled_from(pair.opener, room=100) == b""
    assert pair.opener.is_ready
    kinds = [frame.kind for frame in stream_frames_of(said_by(pair.opener))]
    assert kinds == [StreamFrameKind.OPEN, StreamFrameKind.DATA | EOF_FLAG]


def test_streams_that_are_opened_at_once_leave_over_several_turns_each_opened_first() -> None:
    pair = MultiplexerPair(streams=1024)
    streams = [pair.opener.open(StreamNames("u" * 128, "p" * 128)) for _ in range(1024)]
    for stream in reversed(streams):
        pair.opener.write(stream, bytes([stream.number % 7]))
    pair.settle()
    assert len(pair.acceptor) == 1024
    for stream in pair.acceptor.opened:
        assert read_all(pair.acceptor, stream) == bytes([stream.number % 7])


def test_refusals_leave_over_several_turns_if_there_is_little_room() -> None:
    opener = make_multiplexer(SessionRole.OPENER, streams=1024)
    acceptor = make_multiplexer(SessionRole.ACCEPTOR, streams=1024, is_accepting=False)
    take(opener, said_by(acceptor))
    streams = [opener.open(DEFAULT_NAMES) for _ in range(1024)]
    take(acceptor, said_by(opener))
    while acceptor.is_ready:
        said = pulled_from(acceptor, room=2000)
        assert said
        take(opener, said)
    assert all(stream.is_over for stream in streams)
    assert all("no streams are accepted here" in str(stream.error) for stream in streams)
    assert opener.may_open


# How many may be open.


def test_a_stream_counts_until_the_accepting_side_has_said_all_that_it_had_to_say() -> None:
    pair = MultiplexerPair(streams=EARLY_STREAMS)
    streams = [pair.open() for _ in range(EARLY_STREAMS)]
    assert not pair.may_open()
    ours, theirs = streams[0]
    for _ in range(2):
        pair.acceptor.write(theirs, bytes(theirs.room))
        pair.settle()
    pair.acceptor.close(theirs)
    pair.settle()
    assert theirs.sending is Direction.ENDING
    assert ours.is_refused
    assert not pair.may_open()
    assert len(read_all(pair.opener, ours)) == FIRST_CREDIT
    pair.settle()
    assert pair.may_open()
    pair.open()
    assert len(pair.acceptor) == EARLY_STREAMS


@pytest.mark.parametrize("is_reset_first", [True, False])
def test_a_stream_that_is_reset_counts_until_the_accepting_side_knows_it(
    *, is_reset_first: bool
) -> None:
    pair = MultiplexerPair()
    ours, theirs = pair.open()
    pair.acceptor.write(theirs, bytes(theirs.room))
    pair.settle()
    pair.acceptor.write(theirs, b"more than there is credit for")
    if is_reset_first:
        pair.opener.reset(ours, ResetCode.ABORTED, "enough")
        pair.settle()
        assert len(pair.opener) == len(pair.acceptor) == 1  # that is still in use there
        pair.acceptor.close(theirs)
    else:
        pair.acceptor.close(theirs)
        pair.settle()
        assert len(pair.opener) == len(pair.acceptor) == 1
        pair.opener.reset(ours, ResetCode.ABORTED, "enough")
    pair.settle()
    assert len(pair.opener) == len(pair.acceptor) == 0
    assert pair.opener.closed == [ours]
    assert pair.acceptor.closed == [theirs]


# Credit.


@pytest.mark.parametrize("closed", [10, 1000])
def test_both_sides_agree_on_the_first_credit_while_the_number_of_streams_changes(
    *, closed: int
) -> None:
    pair = MultiplexerPair(streams=1024)
    earlier = [pair.open()[1] for _ in range(1000)]
    stream = pair.opener.open(DEFAULT_NAMES)
    for theirs in earlier[:closed]:
        pair.acceptor.close(theirs)
    take(pair.opener, said_by(pair.acceptor))  # while OPEN is on its way
    pair.settle()
    theirs = pair.acceptor.opened.popleft()
    for one, one_end, other, other_end in (
        (pair.opener, stream, pair.acceptor, theirs),
        (pair.acceptor, theirs, pair.opener, stream),
    ):
        for _ in range(2):
            one.write(one_end, bytes(one_end.room))
            pair.settle()
        assert len(read_all(other, other_end)) == first_credit(1000)
        pair.settle()
        first = first_credit(1000)
        assert 1.75 * first < len(read_all(other, other_end)) <= 2 * first


def test_credit_leaves_along_with_what_is_said_anyway() -> None:
    pair = MultiplexerPair(streams=2)
    ours, theirs = pair.open()
    pair.opener.write(ours, bytes(FIRST_CREDIT // 2))
    pair.settle()
    assert len(read_all(pair.acceptor, theirs)) == FIRST_CREDIT // 2
    assert not pair.acceptor.is_ready
    pair.acceptor.write(theirs, b"an answer")
    kinds = [frame.kind for frame in stream_frames_of(said_by(pair.acceptor))]
    assert kinds == [StreamFrameKind.CREDIT, StreamFrameKind.DATA]


def test_streams_that_hold_what_is_not_read_count_although_the_accepting_side_is_done() -> None:
    pair = MultiplexerPair(streams=1024)
    for _ in range(100):
        _, theirs = pair.open()
        pair.acceptor.write(theirs, b"an answer that is not read")
        pair.acceptor.close(theirs)
    pair.settle()
    assert pair.opener._table.unreleased == 0
    ours, _ = pair.open()
    assert ours._allowance.window == first_credit(100)


def test_own_streams_beyond_what_is_set_aside_leave_less_for_others_to_grow_by() -> None:
    pair = MultiplexerPair(memory=reserved_memory(STREAMS) + 16 * FIRST_CREDIT)
    own = [pair.open()[0] for _ in range(15)]
    bulk = pair.acceptor.open(DEFAULT_NAMES)
    pair.settle()
    received = pair.opener.opened.popleft()
    assert window_when_used(pair, bulk, received) == 2 * FIRST_CREDIT
    for stream in own[:2]:
        pair.opener.close(stream)
    assert window_when_used(pair, bulk, received) == 4 * FIRST_CREDIT
    for stream in own:
        pair.opener.close(stream)
    assert window_when_used(pair, bulk, received) == 8 * FIRST_CREDIT


def test_memory_is_given_back_as_soon_as_nothing_more_comes_and_all_is_read() -> None:
    pair = MultiplexerPair(memory=reserved_memory(STREAMS) + 2 * FIRST_CREDIT)
    first, second = (pair.open() for _ in range(2))
    assert window_when_used(pair, *first) == 2 * FIRST_CREDIT
    assert window_when_used(pair, *second) == FIRST_CREDIT
    while read_all(pair.acceptor, first[1]):
        pair.settle()
    pair.opener.finish(first[0])
    pair.settle()
    assert window_when_used(pair, *second) == 2 * FIRST_CREDIT


def window_when_used(pair: MultiplexerPair, sent: Substream, received: Substream) -> int:
    """How large the window of a stream is when all of it was used, and read, several times."""
    sender, receiver = pair.opener, pair.acceptor
    if sent.number % 2:
        sender, receiver = receiver, sender
    for _ in range(4):
        while room := sent.room:
            sender.write(sent, bytes(room))
            pair.settle()
        read_all(receiver, received)
        pair.settle()
    return received._allowance.window


def test_a_stream_that_is_not_read_holds_up_no_other_one() -> None:
    pair = MultiplexerPair()
    (full, _), (other, theirs) = pair.open(), pair.open()
    while full.room:
        pair.opener.write(full, bytes(full.room))
        pair.settle()
    pair.opener.write(other, b"goes on")
    pair.settle()
    assert read_all(pair.acceptor, theirs) == b"goes on"


def test_no_more_than_one_piece_of_another_stream_comes_before_a_small_one() -> None:
    pair = MultiplexerPair()
    (bulk, _), (small, _) = pair.open(), pair.open()
    pair.opener.write(bulk, bytes(bulk.room))
    pair.opener.write(small, b"urgent")
    first, second = (frames_of(pair.opener, room=70_000) for _ in range(2))
    assert [frame.number for frame in first] == [bulk.number]
    assert second[0] == StreamFrame(StreamFrameKind.DATA, small.number, b"urgent")


def test_what_a_stream_gets_to_send_passes_the_one_that_had_its_turn_last() -> None:
    pair = MultiplexerPair()
    bulk, small = pair.opener.open(DEFAULT_NAMES), pair.opener.open(DEFAULT_NAMES)
    pair.settle()
    pair.opener.write(bulk, bytes(bulk.room))
    first = frames_of(pair.opener, room=70_000)
    pair.opener.write(small, b"urgent")
    second = frames_of(pair.opener, room=70_000)
    assert [frame.number for frame in first] == [bulk.number]
    assert [frame.number for frame in second] == [small.number, bulk.number]


def test_no_piece_is_cut_in_two_if_there_is_enough_else_to_send() -> None:
    pair = MultiplexerPair()
    one, other = pair.opener.open(DEFAULT_NAMES), pair.opener.open(DEFAULT_NAMES)
    pair.settle()
    for stream in (one, other):
        pair.opener.write(stream, bytes(20_000))
    frames = [frames_of(pair.opener, room=30_000) for _ in range(2)]
    assert [(frame.number, len(frame.payload)) for each in frames for frame in each] == [
        (one.number, 20_000),
        (other.number, 20_000),
    ]


def test_streams_take_turns_whatever_others_get_to_send() -> None:
    pair = MultiplexerPair()
    streams = [pair.opener.open(DEFAULT_NAMES) for _ in range(3)]
    pair.settle()
    *bulk, small = streams
    for stream in bulk:
        pair.opener.write(stream, bytes(stream.room))
    turns = []
    for _ in range(6):
        pair.opener.write(small, b"more and more")
        turns += [frame.number for frame in frames_of(pair.opener, room=20_000)]
    for stream in bulk:
        assert turns.count(stream.number) == 3
    assert turns.count(small.number) == 2


def test_what_is_said_of_streams_passes_their_bytes() -> None:
    pair = MultiplexerPair()
    bulk, _ = pair.open()
    pair.opener.write(bulk, bytes(bulk.room))
    late = pair.opener.open(DEFAULT_NAMES)
    frames = stream_frames_of(pulled_from(pair.opener))
    assert frames[0] == StreamFrame(StreamFrameKind.OPEN, late.number)


def test_where_the_bytes_of_a_stream_end_in_the_session_is_known() -> None:
    pair = MultiplexerPair()
    stream, _ = pair.open()
    before = pair.opener._pulled
    pair.opener.write(stream, b"some")
    said = len(said_by(pair.opener))
    assert stream.end_offset == before + said
    pair.opener.finish(stream)
    said += len(said_by(pair.opener))
    assert stream.end_offset == before + said


@pytest.mark.parametrize("wants_room", [True, False])
def test_a_stream_is_touched_when_there_is_room_that_it_waits_for(*, wants_room: bool) -> None:
    pair = MultiplexerPair()
    stream, _ = pair.open()
    stream.waiter = StubWaiter(wants_room)
    pair.opener.write(stream, b"some")
    pair.opener.touched.clear()
    said_by(pair.opener)
    assert (stream in pair.opener.touched) is wants_room


@attrs.frozen
class StubWaiter:
    wants_room: bool

    def wake(self) -> bool:
        raise NotImplementedError


# Who may open streams.


def test_a_side_may_open_some_streams_before_it_has_heard_how_many() -> None:
    opener = make_multiplexer(SessionRole.OPENER)
    for _ in range(EARLY_STREAMS):
        assert opener.may_open
        opener.open(DEFAULT_NAMES)
    assert len(opener) == EARLY_STREAMS
    assert not may_open(opener)
    take(opener, StreamFrame(StreamFrameKind.STREAMS, EARLY_STREAMS + 1))
    assert may_open(opener)


def may_open(multiplexer: Multiplexer) -> bool:
    return multiplexer.may_open


def test_each_side_numbers_its_own_streams() -> None:
    pair = MultiplexerPair()
    ours = [pair.opener.open(DEFAULT_NAMES).number for _ in range(3)]
    theirs = [pair.acceptor.open(DEFAULT_NAMES).number for _ in range(3)]
    assert (ours, theirs) == ([0, 2, 4], [1, 3, 5])
    pair.settle()
    assert [stream.number for stream in pair.acceptor.opened] == ours
    assert [stream.number for stream in pair.opener.opened] == theirs


def test_streams_are_refused_until_they_are_accepted() -> None:
    opener = make_multiplexer(SessionRole.OPENER, is_accepting=False)
    acceptor = make_multiplexer(SessionRole.ACCEPTOR)
    refused = acceptor.open(DEFAULT_NAMES)
    acceptor.write(refused, b"dropped")
    take(opener, said_by(acceptor))
    opener.accept_streams()
    accepted = acceptor.open(StreamNames("", "news"))
    take(opener, said_by(acceptor))
    take(acceptor, said_by(opener))
    assert "no streams are accepted here" in str(refused.error)
    assert accepted.error is None
    (theirs,) = opener.opened
    assert theirs.names == StreamNames("", "news")


def test_streams_that_are_open_go_on_when_a_side_is_leaving() -> None:
    pair = MultiplexerPair()
    ours, theirs = pair.open()
    late = pair.opener.open(DEFAULT_NAMES)
    under_way = said_by(pair.opener)
    pair.acceptor.go_away()
    pair.acceptor.go_away()
    take(pair.acceptor, under_way)
    pair.settle()
    assert pair.opener.is_leaving
    assert pair.opener.has_opened_all
    assert pair.acceptor.has_opened_all
    assert isinstance(late.error, StreamAbortedError)
    assert late.is_over
    pair.opener.write(ours, b"goes on")
    pair.settle()
    assert read_all(pair.acceptor, theirs) == b"goes on"
