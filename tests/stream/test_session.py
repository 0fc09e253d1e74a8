"""The session: paths, bytes and limits, and hostile frames."""

import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p._errors import PathLostError, RemoteProtocolError
from trio_p2p._stream.frames import (
    MAX_CONTROL_BYTES,
    MAX_PAYLOAD_BYTES,
    MIN_PIECE_BYTES,
    SESSION_ID_BYTES,
    Kind,
    PathHello,
    header,
)
from trio_p2p._stream.incoming import TOLD_SHARE
from trio_p2p._stream.session import Session
from trio_p2p._stream.session_sink import HANDLERS, sink_of
from trio_p2p._stream.states import TRANSITIONS, SessionEvent, SessionRole, SessionState
from trio_p2p._stream.window import DEFAULT_WINDOW, FIRST_WINDOW

from ..kit.session_pair import IDENTIFIER, MOST, LiveLink, Pair
from ..kit.sinks import Said, feed, frames_of
from .sessions import NOW, ROLES, WINDOW, connected, data_frame, greeted, kinds, said_by, take

ENOUGH = int(FIRST_WINDOW * TOLD_SHARE)  # read, until the other side is told of a limit
ROUND_TRIP = 0.1  # seconds


# Paths.


def test_the_first_path_carries_data_before_the_hello_came() -> None:
    session = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
    session.write(b"early", NOW)
    session.open_path(NOW)
    hello, data = said_by(session)
    assert hello.kind is Kind.HELLO
    assert PathHello.decode_untrusted(hello.number, bytes(hello.payload)) == PathHello(
        0, IDENTIFIER, 1, True
    )
    assert data == Said(Kind.DATA, 0, b"early")


def test_a_later_path_waits_for_the_hello_and_carries_what_has_not_arrived() -> None:
    session = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
    session.write(b"some bytes", NOW)
    session.open_path(NOW)
    said_by(session)
    session.open_path(NOW)
    assert kinds(said_by(session)) == [Kind.HELLO]
    take(session, PathHello(5, IDENTIFIER, 2, is_new=False).encode())
    assert said_by(session)[-1] == Said(Kind.DATA, 5, b"bytes")


def test_a_hello_says_whether_the_other_side_has_been_heard_of() -> None:
    session = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
    for path, is_new in enumerate((True, True, False), start=1):
        session.open_path(NOW)
        (hello,) = said_by(session)
        assert PathHello.decode_untrusted(hello.number, bytes(hello.payload)).is_new is is_new
        if path == 2:
            take(session, PathHello(0, IDENTIFIER, path, is_new=False).encode())


def test_a_path_that_comes_after_a_newer_one_is_not_taken() -> None:
    session = greeted(path=3)
    for path in (1, 2, 3):
        assert not session.accept_path(PathHello(0, IDENTIFIER, path, is_new=True), NOW)
    assert session.accept_path(PathHello(0, IDENTIFIER, 4, is_new=True), NOW)


def test_no_path_is_taken_when_all_is_over() -> None:
    session = greeted()
    session.fail(PathLostError("no path"))
    assert not session.accept_path(PathHello(0, IDENTIFIER, 2, is_new=False), NOW)


@pytest.mark.parametrize(
    "hello",
    [
        PathHello(1, IDENTIFIER, 2, is_new=False),
        PathHello(0, b"?" * SESSION_ID_BYTES, 2, is_new=False),
    ],
    ids=["bytes that were never sent", "another session"],
)
def test_a_hello_that_cannot_be_is_a_violation(hello: PathHello) -> None:
    with pytest.raises(RemoteProtocolError, match="claims what cannot be"):
        greeted().accept_path(hello, NOW)
    opener = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
    opener.open_path(NOW)
    opener.open_path(NOW)
    with pytest.raises(RemoteProtocolError, match="claims what cannot be"):
        take(opener, hello.encode())


def test_the_hello_of_another_path_is_a_violation() -> None:
    session = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
    session.open_path(NOW)
    with pytest.raises(RemoteProtocolError, match="another path"):
        take(session, PathHello(0, IDENTIFIER, 2, is_new=False).encode())


def test_a_frame_that_a_path_left_unfinished_is_forgotten() -> None:
    pair = connected()
    pair.write(pair.opener, 1000)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR, 500)
    pair.wires[-1].is_broken = True
    pair.run()
    assert pair.acceptor.read == 1000


# Bytes, and limits.


def test_bytes_that_came_before_are_ignored_even_if_new_ones_follow_them() -> None:
    session = greeted()
    take(session, data_frame(0, b"abc"), data_frame(0, b"ab"), data_frame(1, b"bcde"))
    assert session.read(100) == b"abcde"
    assert session.read(100) is None


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([data_frame(1, b"a")], "where 0 was expected"),
        ([header(Kind.EOF, 0), data_frame(0, b"a")], "behind the end"),
        ([header(Kind.EOF, 1)], "not where its bytes end"),
        ([header(Kind.CLOSE, 1)], "not where its bytes end"),
        ([data_frame(0, b"a"), header(Kind.EOF, 0)], "not where its bytes end"),
        ([header(Kind.ACK, 1)], "what was not sent"),
        (
            [data_frame(0, bytes(MAX_PAYLOAD_BYTES)), data_frame(MAX_PAYLOAD_BYTES, b"a")],
            "more bytes than the limit allows",
        ),
    ],
    ids=["gap", "behind end", "end ahead", "close ahead", "end behind", "unsent", "limit"],
)
def test_a_frame_that_cannot_be_is_a_violation(frames: list[bytes], complaint: str) -> None:
    session = greeted()
    take(session, *frames[:-1])
    with pytest.raises(RemoteProtocolError, match=complaint):
        take(session, frames[-1])


@pytest.mark.parametrize("state", [SessionState.GREETING, SessionState.ATTACHED])
@pytest.mark.parametrize("kind", Kind)
def test_a_frame_that_is_out_of_place_is_a_violation(state: SessionState, kind: Kind) -> None:
    if state is SessionState.ATTACHED:
        session = greeted()
    else:
        session = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
        session.open_path(NOW)
    if (state, kind) in HANDLERS:
        return
    frame = data_frame(0, b"a") if kind is Kind.DATA else header(kind, 0)
    with pytest.raises(RemoteProtocolError, match=f"{kind.name} frame out of place"):
        take(session, frame)


def test_every_transition_leads_on_and_none_leads_out_of_the_end() -> None:
    table = TRANSITIONS
    assert {state for state, _ in table} == set(SessionState) - {
        SessionState.FINISHED,
        SessionState.BROKEN,
    }
    assert {event for _, event in table} == set(SessionEvent)
    assert set(table.values()) == set(SessionState)
    for state, _ in table:
        assert table[state, SessionEvent.FAILED] is SessionState.BROKEN
        assert table[state, SessionEvent.COMPLETED] is SessionState.FINISHED


def test_bytes_may_be_sent_up_to_the_limit_and_it_grows_as_they_are_read() -> None:
    pair = connected()
    assert pair.write(pair.opener, FIRST_WINDOW) == FIRST_WINDOW
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.pump(pair.acceptor)
    pair.deliver(pair.wires[-1], SessionRole.OPENER)
    assert pair.opener.session.room == 0
    pair.read(pair.acceptor, ENOUGH - 1)
    assert kinds(said_by(pair.acceptor.session, pair.now)) == []
    pair.read(pair.acceptor, 1)
    pair.pump(pair.acceptor)
    pair.deliver(pair.wires[-1], SessionRole.OPENER)
    assert pair.opener.session.room == ENOUGH


def test_a_sender_that_waits_is_answered_as_soon_as_there_is_room_for_a_piece() -> None:
    pair = connected()
    pair.write(pair.opener, MOST)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.pump(pair.acceptor)
    pair.deliver(pair.wires[-1], SessionRole.OPENER)
    assert pair.opener.session.room == 0
    pair.read(pair.acceptor, MIN_PIECE_BYTES - 1)
    assert not pair.pump(pair.acceptor)
    pair.read(pair.acceptor, 1)
    pair.pump(pair.acceptor)
    pair.deliver(pair.wires[-1], SessionRole.OPENER)
    assert pair.opener.session.room == MIN_PIECE_BYTES


def test_the_window_grows_for_whoever_is_blocked_as_long_as_everything_is_read() -> None:
    pair = connected(window=8 * WINDOW)
    pair.write(pair.opener, FIRST_WINDOW)
    pair.run()
    assert pair.opener.session.room <= FIRST_WINDOW
    while pair.opener.written < 64 * FIRST_WINDOW:
        pair.write(pair.opener, MOST)
        pair.run()
    assert pair.acceptor.session.incoming.window == 12 * FIRST_WINDOW
    pair.run()
    assert pair.opener.session.room > 10 * FIRST_WINDOW


def test_the_window_grows_no_more_than_once_while_nothing_is_read() -> None:
    pair = connected(window=8 * WINDOW)
    for _ in range(5):
        pair.write(pair.opener, MOST)
        pair.pump(pair.opener)
        pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
        pair.pump(pair.acceptor)
        pair.deliver(pair.wires[-1], SessionRole.OPENER)
    assert pair.opener.session.room == 0
    assert pair.acceptor.session.incoming.window <= 2 * FIRST_WINDOW


def test_the_default_window_fills_a_path_as_long_as_a_kernels_send_buffer_does() -> None:
    bandwidth = 4 * 2**20 / ROUND_TRIP  # what Linux' largest send buffer by default allows
    pair = Pair(DEFAULT_WINDOW, socket_bytes=2 * DEFAULT_WINDOW)
    link = LiveLink(pair, ROUND_TRIP / 2, bandwidth)
    pair.open()

    def run(seconds: float) -> int:
        before, until = pair.acceptor.read, pair.now + seconds
        while pair.now < until:
            pair.write(pair.opener, MOST)
            link.run(ROUND_TRIP / 100)
            while pair.read(pair.acceptor, MOST):
                pass
        return pair.acceptor.read - before

    run(10 * ROUND_TRIP)  # the window grows
    assert run(10 * ROUND_TRIP) > 0.98 * 10 * ROUND_TRIP * bandwidth
    pair.check()


def test_a_limit_that_sinks_is_older_than_the_last_one() -> None:
    session = greeted()
    take(session, header(Kind.LIMIT, FIRST_WINDOW // 2))
    assert session.room == FIRST_WINDOW


def test_the_window_limits_what_is_held_whatever_the_limit_is() -> None:
    session = greeted()
    take(session, header(Kind.LIMIT, 1 << 60))
    assert session.room == WINDOW // 2
    session.write(bytes(WINDOW // 2), NOW)
    assert session.room == 0


# Hostile peers.

NUMBERS = st.integers(0, 5) | st.integers(0, 2**63 - 1) | st.just(FIRST_WINDOW)
FRAMES = st.one_of(
    st.builds(header, st.sampled_from(Kind), NUMBERS, st.integers(0, 600)),
    st.builds(data_frame, st.integers(0, 9), st.integers(1, 9).map(bytes)),
    st.builds(
        lambda received, path, is_new: PathHello(received, IDENTIFIER, path, is_new).encode(),
        NUMBERS,
        st.integers(0, 3),
        st.booleans(),
    ),
    st.builds(header, st.sampled_from([k for k in Kind if k is not Kind.DATA]), st.integers(0, 9)),
    st.binary(max_size=MAX_CONTROL_BYTES),
)
INPUTS = st.one_of(
    FRAMES,
    st.sampled_from(["write", "read", "eof", "close", "send", "open", "lose", "end"]),
)


@settings(max_examples=300, deadline=None)
@given(ROLES, st.lists(INPUTS, max_size=20))
def test_hostile_frames_raise_one_exception_and_cost_no_memory(
    role: SessionRole, inputs: list[bytes | str]
) -> None:
    session = Session(role, IDENTIFIER, WINDOW, NOW)
    paths = 0
    for each in ["open", *inputs]:
        try:
            paths += each == "open"
            treat(session, each, paths)
        except RemoteProtocolError as error:
            session.fail(error)
        outgoing = session.outgoing
        assert session.incoming._held <= session.incoming.window
        assert outgoing.held + session.incoming.window <= WINDOW
        assert outgoing.acked <= outgoing.sent


def treat(session: Session, what: bytes | str, paths: int) -> None:
    is_attached = session.state in (SessionState.GREETING, SessionState.ATTACHED)
    may_end = not session.is_over and session.outgoing.ending is not Kind.CLOSE
    match what:
        case bytes() if is_attached:
            feed(sink_of(session, NOW), what)
        case "write" if session.room and session.outgoing.ending is None:
            session.write(b"w" * min(session.room, 1000), NOW)
        case "read":
            session.read(100)
        case "eof" | "close" if may_end:
            session.write_eof(NOW) if what == "eof" else session.close(NOW)
        case "send":
            said_by(session)
        case "open" if session.role is SessionRole.ACCEPTOR:
            session.accept_path(PathHello(0, IDENTIFIER, paths, is_new=True), NOW)
        case "open" if not session.is_over:
            session.open_path(NOW)
        case "lose" if is_attached:
            session.lose_path(NOW)
        case _:
            frames_of(session.farewell())
