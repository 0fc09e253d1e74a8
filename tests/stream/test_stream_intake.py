"""What the other side says of streams: what is a violation, and what does no harm."""

import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p._errors import PathLostError, RemoteProtocolError
from trio_p2p._stream.credit import (
    DEFAULT_MEMORY,
    EARLY_STREAMS,
    FIRST_CREDIT,
    first_credit,
)
from trio_p2p._stream.frames import MAX_PIECE_BYTES
from trio_p2p._stream.states import SessionRole
from trio_p2p._stream.stream_frames import (
    EOF_FLAG,
    HEADER_BYTES,
    MAX_STREAM_NUMBER,
    STOP_FLAG,
    StreamFrameKind,
)

from ..kit.multiplexers import (
    MultiplexerPair,
    StreamFrame,
    make_multiplexer,
    pulled_from,
    said_by,
    stream_frames_of,
    take,
)
from ..kit.stream_traffic import App, End

OPEN, CREDIT, RESET, STREAMS_KIND, GOAWAY = (
    StreamFrameKind.OPEN,
    StreamFrameKind.CREDIT,
    StreamFrameKind.RESET,
    StreamFrameKind.STREAMS,
    StreamFrameKind.GOAWAY,
)
LIMIT = bytes(8)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([(OPEN, 0), (OPEN, 0)], "number 0 out of turn"),
        ([(OPEN, 4), (OPEN, 2)], "number 2 out of turn"),
        ([(OPEN, 1)], "number 1 out of turn"),
        ([(OPEN, 0, b"\xc1")], "malformed opening"),
        ([(OPEN, 0, b"\x92\xa1\n\xa0")], "wrong names"),
        ([(OPEN, 2 * number) for number in range(EARLY_STREAMS + 1)], "more streams than may be"),
        ([(0, 0, b"data")], "stream 0, which was not opened"),
        ([(OPEN, 2), (0, 4, b"data")], "stream 4, which was not opened"),
        ([(0, 1, b"data")], "stream 1, which was not opened"),
        ([(CREDIT, 0, LIMIT)], "stream 0, which was not opened"),
        ([(RESET, 0)], "stream 0, which was not opened"),
        ([(RESET, MAX_STREAM_NUMBER)], "which was not opened"),
        ([(OPEN, 0), (CREDIT, 0, b"")], "malformed credit"),
        ([(OPEN, 0), (CREDIT, 0, b"\xff" * 8)], "no stream can use"),
        ([(OPEN, 0), (0, 0, bytes(FIRST_CREDIT)), (0, 0, b"1")], "than it has credit"),
        ([(OPEN, 0), (EOF_FLAG, 0), (0, 0, b"1")], "behind the end of stream 0"),
        ([(OPEN, 0), (EOF_FLAG, 0), (EOF_FLAG, 0)], "two ends of stream 0"),
        ([(OPEN, 0, b"\x93\xa0\xa0\x03"), (0, 0, b"four")], "than it has credit"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
@pytest.mark.parametrize("is_cut", [True, False])
def test_what_may_not_be_said_is_a_violation(
    frames: list[tuple[int, int, bytes]], complaint: str, *, is_cut: bool
) -> None:
    acceptor = make_multiplexer(SessionRole.ACCEPTOR, streams=EARLY_STREAMS)
    *before, last = [StreamFrame(*frame).encode() for frame in frames]
    take(acceptor, *before)
    if is_cut:
        take(acceptor, last[: HEADER_BYTES - 1])
        last = last[HEADER_BYTES - 1 :]
    with pytest.raises(RemoteProtocolError, match=complaint):
        take(acceptor, last)


def test_credit_of_many_streams_that_an_opener_claims_is_not_more_than_there_is_for_it() -> None:
    acceptor = make_multiplexer(SessionRole.ACCEPTOR, streams=1000)
    for number in range(0, 2000, 2):
        take(acceptor, StreamFrame(OPEN, number))  # as if it were one of the first
    last = acceptor.opened[-1]
    take(acceptor, StreamFrame(0, last.number, bytes(first_credit(999))))
    with pytest.raises(RemoteProtocolError, match="than it has credit"):
        take(acceptor, StreamFrame(0, last.number, b"1"))


def test_streams_that_are_refused_count_until_the_other_side_is_told() -> None:
    acceptor = make_multiplexer(SessionRole.ACCEPTOR, streams=EARLY_STREAMS, is_accepting=False)
    opens = [StreamFrame(OPEN, 2 * number) for number in range(EARLY_STREAMS)]
    take(acceptor, *opens)
    said_by(acceptor)
    take(acceptor, *(each._replace(number=each.number + 2 * EARLY_STREAMS) for each in opens))
    with pytest.raises(RemoteProtocolError, match="more streams than may be open"):
        take(acceptor, StreamFrame(OPEN, 4 * EARLY_STREAMS))
    assert len(acceptor._refusals) == EARLY_STREAMS


def test_what_is_said_of_streams_that_are_over_is_ignored() -> None:
    pair = MultiplexerPair()
    for _ in range(2):
        ours, theirs = pair.open()
        pair.opener.close(ours)
        pair.acceptor.close(theirs)
        pair.settle()
    late = [
        StreamFrame(kind, number, payload)
        for number in (0, 2)
        for kind, payload in [
            (0, bytes(1000)),
            (EOF_FLAG | STOP_FLAG, b"late"),
            (CREDIT, LIMIT),
            (CREDIT, b"malformed"),
            (RESET, b"\x00late"),
        ]
    ]
    take(pair.acceptor, *late)
    take(pair.opener, *late)
    for multiplexer in (pair.opener, pair.acceptor):
        assert len(multiplexer) == 0
        assert not multiplexer.is_ready
    pair.open()


def test_what_is_superfluous_does_no_harm() -> None:
    pair = MultiplexerPair()
    ours, theirs = pair.open()
    take(
        pair.acceptor,
        StreamFrame(0, 0),
        StreamFrame(STOP_FLAG, 0),
        StreamFrame(STOP_FLAG, 0),
        StreamFrame(EOF_FLAG, 0),
        StreamFrame(0, 0),
        StreamFrame(STOP_FLAG, 0),
        StreamFrame(CREDIT, 0, LIMIT),
        StreamFrame(STREAMS_KIND, 20, b"and words"),
        StreamFrame(GOAWAY, 1, b"and words"),
        StreamFrame(GOAWAY, 1),
    )
    assert pair.acceptor.read(theirs, 1) == b""
    assert ours.error is theirs.error is None


NUMBERS = st.integers(0, 6) | st.integers(0, MAX_STREAM_NUMBER)
PAYLOADS = st.binary(max_size=20) | st.sampled_from(
    [b"", LIMIT, b"\x00words", b"\x93\xa1a\xa1b\x05", bytes(5_000), bytes(MAX_PIECE_BYTES)]
)
FRAMES = st.builds(StreamFrame, st.integers(0, 9), NUMBERS, PAYLOADS)
OPENS = st.integers(0, 20).map(lambda number: StreamFrame(OPEN, number))
ACTIONS = ("open", "write", "read", "finish", "close", "reset", "pull", "leave", "accept")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SessionRole),
    st.booleans(),
    st.lists(FRAMES | OPENS | st.sampled_from(ACTIONS) | st.binary(max_size=50), max_size=30),
)
def test_hostile_frames_raise_one_exception_and_cost_no_memory(
    role: SessionRole, is_accepting: bool, steps: list[StreamFrame | str | bytes]
) -> None:
    multiplexer = make_multiplexer(role, streams=EARLY_STREAMS, is_accepting=is_accepting)
    end = End(multiplexer, memory=DEFAULT_MEMORY)
    for number, step in enumerate(steps):
        if isinstance(step, str):
            act(end, step, number)
            continue
        try:
            take(multiplexer, step)
        except RemoteProtocolError as error:
            multiplexer.fail(error)
            break
        end.check_memory()
        assert len(multiplexer._refusals) <= EARLY_STREAMS
        assert len(multiplexer) <= 2 * EARLY_STREAMS
    multiplexer.fail(PathLostError("the test is over"))
    assert len(multiplexer) == 0
    assert not multiplexer.is_ready


def act(end: End, what: str, which: int) -> None:
    multiplexer = end.multiplexer
    streams = list(multiplexer._table.streams.values())
    if what == "accept":
        while multiplexer.opened:
            stream = multiplexer.opened.popleft()
            end.apps[stream.number] = App(stream)
    elif what == "open":
        end.open()
    elif what == "pull":
        stream_frames_of(pulled_from(multiplexer))
    elif what == "leave":
        multiplexer.go_away()
    elif streams and (app := end.apps.get(streams[which % len(streams)].number)):
        if what == "read":
            multiplexer.read(app.state, 10_000)
        elif what == "write":
            end.write(app, 10_000)
        else:
            getattr(end, what)(app)
