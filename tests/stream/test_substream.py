"""One stream: what it says, and what is left of its two directions."""

import pytest

from trio_p2p._errors import PathLostError, StreamAbortedError
from trio_p2p._stream.credit import FIRST_CREDIT, Budget
from trio_p2p._stream.frames import MAX_PIECE_BYTES
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    EOF_FLAG,
    HEADER_BYTES,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
    open_frame,
    reset_frame,
)
from trio_p2p._stream.stream_states import Direction
from trio_p2p._stream.substream import MIN_PIECE_BYTES, OUTBOX_BYTES, Substream

from ..kit.multiplexers import StreamFrame, stream_frames_of

LARGEST = 4 * FIRST_CREDIT
SIDES = pytest.mark.parametrize("is_ours", [True, False], ids=["opener", "acceptor"])
ERROR = StreamAbortedError("enough")


class Stream(Substream):
    """A stream with the budget that a multiplexer would have."""

    def __init__(self, *, is_ours: bool = True, limit: int = FIRST_CREDIT) -> None:
        super().__init__(2, DEFAULT_NAMES, is_ours=is_ours, window=FIRST_CREDIT, limit=limit)
        self.is_opened = True
        self.budget = Budget(8 * FIRST_CREDIT)

    def take(self, max_bytes: int = OUTBOX_BYTES) -> bytes | bytearray | None:
        return self.read(max_bytes, LARGEST, self.budget)

    def come(self, data: bytes) -> None:
        self.announced(len(data))
        self.append(data)

    def abort(self) -> None:
        self.reset(ResetCode.ABORTED, "enough", ERROR, self.budget)


def control_of(stream: Substream) -> list[StreamFrame]:
    """What it has to say that are not bytes, nor behind them."""
    pieces: list[bytes | bytearray] = []
    had_control = stream.has_control
    stream.add_control(pieces)
    assert bool(pieces) == had_control
    return stream_frames_of(b"".join(pieces))


def data_of(stream: Substream, room: int = 1 << 30) -> list[StreamFrame]:
    """Its bytes, and their end."""
    pieces: list[bytes | bytearray] = []
    while stream.has_data and (count := stream.add_data(pieces, room)):
        assert count <= room
        room -= count
    return stream_frames_of(b"".join(pieces))


def said_by(stream: Substream) -> list[StreamFrame]:
    return control_of(stream) + data_of(stream)


def data_frame(payload: bytes = b"", flags: int = 0) -> StreamFrame:
    return StreamFrame(flags, 2, payload)


# What leaves.


def test_the_opening_comes_first_and_once() -> None:
    names = StreamNames("alice", "echo")
    stream = Substream(2, names, is_ours=True, window=1000, limit=1000)
    stream.write(b"early")
    stream.finish()
    assert not stream.has_data
    assert control_of(stream) == stream_frames_of(open_frame(2, names, 1000))
    assert data_of(stream) == [data_frame(b"early", EOF_FLAG)]
    assert said_by(stream) == []


def test_small_writes_leave_together_and_large_ones_uncopied() -> None:
    stream, large = Stream(), bytes(MIN_PIECE_BYTES)
    stream.write(b"some ")
    stream.write(b"bytes")
    assert data_of(stream) == [data_frame(b"some bytes")]
    stream.write(large)
    pieces: list[bytes | bytearray] = []
    stream.add_data(pieces, 1 << 30)
    assert any(piece is large for piece in pieces)
    assert stream.sent == 10 + MIN_PIECE_BYTES


def test_it_takes_as_much_as_there_is_room_for_and_sends_as_much_as_there_is_credit_for() -> None:
    stream = Stream(limit=10)
    assert stream.room == OUTBOX_BYTES == MAX_PIECE_BYTES
    stream.write(bytes(20))
    stream.finish()
    assert stream.room == OUTBOX_BYTES - 20
    assert data_of(stream) == [data_frame(bytes(10))]
    stream.limited(15)
    stream.limited(12)  # which is older
    assert data_of(stream) == [data_frame(bytes(5))]
    stream.limited(20)
    assert data_of(stream) == [data_frame(bytes(5), EOF_FLAG)]


@pytest.mark.parametrize(
    ("count", "room", "sent"),
    [
        (10, HEADER_BYTES + 9, 0),
        (10, HEADER_BYTES + 10, 10),
        (MIN_PIECE_BYTES + 1, HEADER_BYTES + MIN_PIECE_BYTES - 1, 0),
        (MIN_PIECE_BYTES + 1, HEADER_BYTES + MIN_PIECE_BYTES, MIN_PIECE_BYTES),
    ],
)
def test_no_smaller_pieces_leave_than_need_be(count: int, room: int, sent: int) -> None:
    stream = Stream()
    stream.write(bytes(count))
    assert [len(frame.payload) for frame in data_of(stream, room)] == [sent] * bool(sent)
    assert sum(len(frame.payload) for frame in data_of(stream)) == count - sent


def test_an_end_needs_no_credit_but_room_for_its_header() -> None:
    stream = Stream(limit=0)
    stream.finish()
    stream.finish()
    assert data_of(stream, HEADER_BYTES - 1) == []
    assert data_of(stream, HEADER_BYTES) == [data_frame(b"", EOF_FLAG)]
    assert stream.sending is Direction.ENDED


# Closing.


@SIDES
def test_a_close_ends_both_directions_in_one_frame(*, is_ours: bool) -> None:
    stream = Stream(is_ours=is_ours)
    stream.write(b"last")
    stream.close(stream.budget)
    frames = data_of(stream) if not stream.has_control else said_by(stream)
    assert {frame.kind for frame in frames} <= {0, EOF_FLAG, STOP_FLAG, EOF_FLAG | STOP_FLAG}
    assert b"".join(frame.payload for frame in frames) == b"last"
    assert sum(bool(frame.kind & EOF_FLAG) for frame in frames) == 1
    assert sum(bool(frame.kind & STOP_FLAG) for frame in frames) == 1
    assert stream.is_over
    assert stream.is_silent
    assert said_by(stream) == []


@SIDES
def test_a_close_of_a_stream_with_nothing_unsent_is_one_frame(*, is_ours: bool) -> None:
    stream = Stream(is_ours=is_ours)
    stream.close(stream.budget)
    assert said_by(stream) == [data_frame(b"", EOF_FLAG | STOP_FLAG)]


def test_the_other_side_learns_at_once_that_nothing_more_is_read() -> None:
    stream = Stream(limit=0)
    stream.write(b"kept until there is credit")
    stream.close(stream.budget)
    assert said_by(stream) == [data_frame(b"", STOP_FLAG)]
    assert not stream.is_silent
    assert not stream.is_over
    stream.limited(100)
    assert said_by(stream) == [data_frame(b"kept until there is credit", EOF_FLAG)]
    assert stream.is_silent


@SIDES
@pytest.mark.parametrize("is_finished", [True, False])
def test_a_side_that_has_got_everything_says_stop_only_if_it_has_accepted_the_stream(
    *, is_ours: bool, is_finished: bool
) -> None:
    stream = Stream(is_ours=is_ours)
    if is_finished:
        stream.finish()
        assert said_by(stream) == [data_frame(b"", EOF_FLAG)]
    stream.ended(stream.budget)
    stream.close(stream.budget)
    flags = (0 if is_finished else EOF_FLAG) | (0 if is_ours else STOP_FLAG)
    assert said_by(stream) == ([data_frame(b"", flags)] if flags else [])
    assert stream.is_silent


def test_no_credit_is_told_of_for_what_is_not_read_any_more() -> None:
    stream = Stream()
    stream.come(bytes(FIRST_CREDIT))
    stream.take()
    assert stream.owes_credit
    stream.close(stream.budget)
    assert said_by(stream) == [data_frame(b"", EOF_FLAG | STOP_FLAG)]


def test_what_comes_after_a_close_is_dropped() -> None:
    stream = Stream()
    stream.come(b"not read")
    stream.close(stream.budget)
    assert stream.take() is None
    stream.announced(4)
    assert stream.get_buffer(4, 4) is None
    stream.arrived(4)
    stream.append(b"nor this")
    assert stream.take() is None
    stream.ended(stream.budget)
    assert stream.receiving is Direction.ENDED


@SIDES
@pytest.mark.parametrize("is_finished", [True, False])
def test_bytes_that_the_other_side_does_not_read_are_dropped_and_their_end_is_said(
    *, is_ours: bool, is_finished: bool
) -> None:
    stream = Stream(is_ours=is_ours)
    stream.write(b"not sent")
    if is_finished:
        stream.finish()
    stream.refused()
    stream.refused()
    assert stream.is_refused
    assert stream.room == OUTBOX_BYTES
    if not is_finished:
        assert said_by(stream) == []
        assert stream.sending is Direction.DROPPED
        stream.finish()
    assert said_by(stream) == [data_frame(b"", EOF_FLAG)]
    assert stream.sending is Direction.ENDED


# Resets.


@SIDES
def test_a_reset_says_why_and_nothing_else(*, is_ours: bool) -> None:
    stream = Stream(is_ours=is_ours)
    stream.come(bytes(FIRST_CREDIT))
    stream.write(b"not sent")
    stream.abort()
    assert stream.error is ERROR
    assert stream.is_over
    assert stream.take() is None
    assert said_by(stream) == stream_frames_of(reset_frame(2, ResetCode.ABORTED, "enough"))
    assert stream.is_silent
    stream.ended(stream.budget)  # it was on its way
    stream.refused()
    assert stream.receiving is Direction.CUT
    assert stream.is_done_there
    assert said_by(stream) == []


def test_a_reset_behind_all_that_there_was_to_say_says_nothing() -> None:
    stream = Stream()
    stream.close(stream.budget)
    said_by(stream)
    stream.abort()
    assert stream.error is None
    assert said_by(stream) == []


@SIDES
def test_a_reset_of_a_stream_that_the_other_side_has_closed_is_a_close(*, is_ours: bool) -> None:
    stream = Stream(is_ours=is_ours)
    stream.write(b"not wanted")
    stream.ended(stream.budget)
    stream.refused()
    stream.abort()
    assert stream.error is None
    assert said_by(stream) == [data_frame(b"", EOF_FLAG | (0 if is_ours else STOP_FLAG))]


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_reset_in_the_midst_of_a_close_says_so(*, is_closed: bool) -> None:
    stream = Stream(limit=0)
    stream.write(b"never sent")
    stream.finish()
    if is_closed:
        stream.close(stream.budget)
        assert said_by(stream) == [data_frame(b"", STOP_FLAG)]
    stream.abort()
    assert [frame.kind for frame in said_by(stream)] == [StreamFrameKind.RESET]
    assert stream.is_silent


def test_a_stream_that_is_reset_before_it_was_said_says_nothing() -> None:
    stream = Substream(2, DEFAULT_NAMES, is_ours=True, window=1000, limit=1000)
    stream.write(b"never sent")
    stream.reset(ResetCode.ABORTED, "enough", ERROR, Budget(0))
    assert stream.is_over
    assert stream.is_silent
    assert said_by(stream) == []
    assert not stream.is_opened


@SIDES
def test_what_came_before_the_other_side_cut_it_can_be_read(*, is_ours: bool) -> None:
    stream = Stream(is_ours=is_ours)
    stream.come(b"the first half")
    stream.write(b"not sent")
    stream.cut(ERROR, stream.budget)
    stream.cut(PathLostError("too late"), stream.budget)
    assert stream.error is ERROR
    assert stream.has_input
    assert stream.take() == b"the first half"
    assert stream.take() is None
    assert said_by(stream) == []
    stream.close(stream.budget)
    # The accepting side has to say that it is done.
    assert said_by(stream) == ([] if is_ours else [data_frame(b"", STOP_FLAG)])
    assert stream.is_silent


def test_a_direction_that_has_come_to_its_end_is_not_cut_any_more() -> None:
    stream = Stream()
    stream.come(b"all")
    stream.ended(stream.budget)
    stream.cut(ERROR, stream.budget)
    assert (stream.take(), stream.take()) == (b"all", b"")
    assert stream.sending is Direction.CUT
    assert stream.is_over


def test_an_abort_of_a_stream_that_the_other_side_has_cut_is_a_close() -> None:
    stream = Stream(is_ours=False)
    stream.cut(ERROR, stream.budget)
    stream.abort()
    assert said_by(stream) == [data_frame(b"", STOP_FLAG)]
