"""The session: paths, bytes and acknowledgements, and hostile frames."""

import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p._errors import PathLostError, RemoteProtocolError
from trio_p2p._stream.frames import (
    MAX_CONTROL_BYTES,
    MAX_PAYLOAD_BYTES,
    MIN_WINDOW,
    SESSION_ID_BYTES,
    Kind,
    PathHello,
    header,
)
from trio_p2p._stream.incoming import LATER_TOLD_SHARE, TOLD_SHARE, TOLD_TIME
from trio_p2p._stream.limits import DEFAULT_WINDOW
from trio_p2p._stream.session import Session
from trio_p2p._stream.session_sink import HANDLERS, sink_of
from trio_p2p._stream.states import TRANSITIONS, SessionEvent, SessionRole, SessionState

from ..kit.session_pair import INSTANCES, MOST, LiveLink, Pair, PlainSession
from ..kit.sinks import Said, feed, frames_of
from .sessions import (
    NOW,
    ROLES,
    WINDOW,
    connected,
    data_frame,
    greeted,
    hello_of,
    kinds,
    make_session,
    said_by,
    take,
)

ROUND_TRIP = 0.1  # seconds


# Paths.


def test_the_first_path_carries_data_before_the_hello_came() -> None:
    session = make_session()
    session.plain.write(b"early")
    session.open_path(NOW)
    hello, data = said_by(session)[:2]
    assert hello.kind is Kind.HELLO
    said = PathHello.decode_untrusted(hello.number, bytes(hello.payload))
    assert said == hello_of(SessionRole.OPENER, is_new=True)
    assert data == Said(Kind.DATA, 0, b"early")


def test_a_later_path_waits_for_the_hello_and_carries_what_has_not_arrived() -> None:
    session = make_session()
    session.plain.write(b"some bytes")
    session.open_path(NOW)
    said_by(session)
    session.open_path(NOW)
    assert kinds(said_by(session)) == [Kind.HELLO]
    take(session, hello_of(SessionRole.ACCEPTOR, 2, received=5).encode())
    assert Said(Kind.DATA, 5, b"bytes") in said_by(session)


def test_a_hello_says_whether_the_other_side_has_been_heard_of() -> None:
    session = make_session()
    for path, is_new in enumerate((True, True, False), start=1):
        session.open_path(NOW)
        (hello,) = said_by(session)
        assert PathHello.decode_untrusted(hello.number, bytes(hello.payload)).is_new is is_new
        assert session.is_confirmed is not is_new
        if path == 2:
            take(session, hello_of(SessionRole.ACCEPTOR, path).encode())


@pytest.mark.parametrize("is_only", [True, False])
def test_a_hello_says_which_program_it_comes_from_and_whether_that_has_other_sessions(
    *, is_only: bool
) -> None:
    session = make_session()
    session.is_only = is_only
    session.open_path(NOW)
    (said,) = said_by(session)
    hello = PathHello.decode_untrusted(said.number, said.payload)
    assert hello.is_only is is_only
    other = make_session(SessionRole.ACCEPTOR)
    assert other.peer_instance == b""
    assert other.accept_path(hello, NOW)
    assert other.peer_instance == INSTANCES[SessionRole.OPENER]
    take(session, b"".join(other.pieces_to_send(NOW)))
    assert session.peer_instance == INSTANCES[SessionRole.ACCEPTOR]


def test_a_path_that_comes_after_a_newer_one_is_not_taken() -> None:
    session = greeted(path=3)
    for path in (1, 2, 3):
        assert not session.accept_path(hello_of(SessionRole.OPENER, path, is_new=True), NOW)
    assert session.accept_path(hello_of(SessionRole.OPENER, 4, is_new=True), NOW)


def test_no_path_is_taken_when_all_is_over() -> None:
    session = greeted()
    session.fail(PathLostError("no path"))
    assert not session.accept_path(hello_of(SessionRole.OPENER, 2), NOW)


@pytest.mark.parametrize(
    "hello",
    [
        hello_of(SessionRole.OPENER, 2, received=1),
        hello_of(SessionRole.OPENER, 2, session=b"?" * SESSION_ID_BYTES),
    ],
    ids=["bytes that were never sent", "another session"],
)
def test_a_hello_that_cannot_be_is_a_violation(hello: PathHello) -> None:
    with pytest.raises(RemoteProtocolError, match="claims what cannot be"):
        greeted().accept_path(hello, NOW)
    opener = make_session()
    opener.open_path(NOW)
    opener.open_path(NOW)
    with pytest.raises(RemoteProtocolError, match="claims what cannot be"):
        take(opener, hello.encode())


def test_the_hello_of_another_path_is_a_violation() -> None:
    session = make_session()
    session.open_path(NOW)
    with pytest.raises(RemoteProtocolError, match="another path"):
        take(session, hello_of(SessionRole.ACCEPTOR, 2).encode())


def test_a_frame_that_a_path_left_unfinished_is_forgotten() -> None:
    pair = connected()
    pair.write(pair.opener, 1000)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR, 500)
    pair.wires[-1].is_broken = True
    pair.run()
    assert pair.acceptor.read == 1000


# Bytes.


def test_bytes_that_came_before_are_ignored_even_if_new_ones_follow_them() -> None:
    session = greeted()
    take(session, data_frame(0, b"abc"), data_frame(0, b"ab"), data_frame(1, b"bcde"))
    assert session.plain.received == b"abcde"


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([data_frame(1, b"a")], "where 0 was expected"),
        ([header(Kind.CLOSE, 0), data_frame(0, b"a")], "behind their end"),
        ([header(Kind.CLOSE, 1)], "not where the bytes end"),
        ([data_frame(0, b"a"), header(Kind.CLOSE, 0)], "not where the bytes end"),
        ([header(Kind.ACK, 1)], "what was not sent"),
    ],
    ids=["gap", "behind end", "end ahead", "end behind", "unsent"],
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
        session = make_session()
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


def test_bytes_are_pulled_when_those_before_have_left_and_one_frame_at_a_time() -> None:
    session = greeted()
    session.plain.write(bytes(MAX_PAYLOAD_BYTES + 10))
    assert session.plain.pulled == 0
    for pulled in (MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 10):
        assert session.has_more_to_send
        pieces = session.pieces_to_send(NOW)
        assert kinds(frames_of(b"".join(pieces)))[0] is Kind.DATA
        assert session.plain.pulled == pulled
    assert not session.has_more_to_send


def test_nothing_is_pulled_while_there_is_no_path() -> None:
    session = make_session()
    session.plain.write(b"later")
    assert session.has_news(NOW)
    assert not session.pieces_to_send(NOW)
    session.open_path(NOW)
    said_by(session)
    session.plain.write(b"later still")
    session.lose_path(NOW)
    assert not session.pieces_to_send(NOW)
    assert session.plain.pulled == len(b"later")


def test_no_more_is_pulled_than_the_window_holds_and_the_other_side_is_asked() -> None:
    session = greeted()
    session.plain.write(bytes(2 * WINDOW))
    assert said_by(session)[-1] == Said(Kind.PING, WINDOW, b"")
    assert session.plain.pulled == WINDOW
    assert not session.pieces_to_send(NOW)
    take(session, header(Kind.ACK, 1000))
    assert Said(Kind.DATA, WINDOW, bytes(1000)) in said_by(session)


def test_the_other_side_is_asked_once_if_there_is_too_little_room_for_what_comes_next() -> None:
    session = greeted()
    session.plain.least = 1000
    session.plain.write(bytes(WINDOW - 999))
    said_by(session)
    session.plain.write(bytes(1000))
    assert kinds(said_by(session)) == [Kind.PING]
    assert kinds(said_by(session)) == []
    take(session, header(Kind.ACK, 1))
    assert kinds(said_by(session)) == [Kind.DATA]


# Acknowledgements.


def test_an_acknowledgement_is_asked_for_by_the_side_that_waits_for_it() -> None:
    pair = connected()
    session = pair.opener.session
    assert session.outgoing.round_trip == 0  # from hello to hello: nothing takes time here
    session.outgoing.want_acknowledgement()
    assert kinds(said_by(session, pair.now)) == []  # there is nothing to acknowledge
    pair.write(pair.opener, 10)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    assert not said_by(pair.acceptor.session, pair.now)
    session.outgoing.want_acknowledgement()
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    assert pair.acceptor.session.has_news(pair.now)
    pair.pump(pair.acceptor)
    pair.now += ROUND_TRIP
    pair.deliver(pair.wires[-1], SessionRole.OPENER)
    assert session.outgoing.acked == session.transferred == 10
    assert session.outgoing.round_trip == pytest.approx(ROUND_TRIP)
    session.outgoing.want_acknowledgement()
    assert kinds(said_by(session, pair.now)) == []


def test_an_acknowledgement_that_the_last_path_has_lost_is_asked_for_again() -> None:
    pair = connected()
    pair.write(pair.opener, 10)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.opener.session.outgoing.want_acknowledgement()
    pair.pump(pair.opener)
    pair.wires[-1].is_broken = True
    pair.run()
    assert pair.opener.session.outgoing.acked == 10


@pytest.mark.parametrize("window", [MIN_WINDOW, 4 * MIN_WINDOW])
def test_bytes_are_acknowledged_when_they_are_a_share_of_what_the_other_side_holds(
    window: int,
) -> None:
    session = make_session(SessionRole.ACCEPTOR)
    instance = INSTANCES[SessionRole.OPENER]
    hello = PathHello(0, session.identifier, 1, window, instance, is_new=True)
    assert session.accept_path(hello, NOW)
    session.pieces_to_send(NOW)

    def receive(count: int, now: float) -> None:
        while count:
            piece = bytes(min(count, MAX_PAYLOAD_BYTES))
            take(session, data_frame(session.incoming.received, piece), now=now)
            count -= len(piece)

    later = NOW + TOLD_TIME
    few, many = int(LATER_TOLD_SHARE * window), int(TOLD_SHARE * window)
    receive(few - 1, later)
    assert not session.has_news(later)
    receive(1, later)
    assert said_by(session, later) == [Said(Kind.ACK, few, b"")]
    receive(many - 1, later)
    assert not session.has_news(later)
    assert not said_by(session, later)
    receive(1, later)
    assert said_by(session, later) == [Said(Kind.ACK, few + many, b"")]


def test_a_side_that_claims_to_hold_less_than_all_sides_can_is_not_told_more_often() -> None:
    session = make_session(SessionRole.ACCEPTOR)
    instance = INSTANCES[SessionRole.OPENER]
    assert session.accept_path(PathHello(0, session.identifier, 1, 1, instance), NOW)
    session.pieces_to_send(NOW)
    take(session, data_frame(0, b"a"))
    assert not session.has_news(NOW + TOLD_TIME)


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
        return pair.acceptor.read - before

    run(2 * ROUND_TRIP)
    assert run(10 * ROUND_TRIP) > 0.98 * 10 * ROUND_TRIP * bandwidth
    pair.check()


# Hostile peers.

NUMBERS = st.integers(0, 5) | st.integers(0, 2**63 - 1) | st.just(WINDOW)
FRAMES = st.one_of(
    st.builds(header, st.sampled_from(Kind), NUMBERS, st.integers(0, 600)),
    st.builds(data_frame, st.integers(0, 9), st.integers(1, 9).map(bytes)),
    st.builds(
        lambda received, path, is_new: hello_of(
            SessionRole.OPENER, path, received=received, is_new=is_new
        ).encode(),
        NUMBERS,
        st.integers(0, 3),
        st.booleans(),
    ),
    st.builds(header, st.sampled_from([k for k in Kind if k is not Kind.DATA]), st.integers(0, 9)),
    st.binary(max_size=MAX_CONTROL_BYTES),
)
INPUTS = st.one_of(
    FRAMES,
    st.sampled_from(["write", "write much", "want", "close", "send", "open", "lose", "end"]),
)


@settings(max_examples=300, deadline=None)
@given(ROLES, st.lists(INPUTS, max_size=20))
def test_hostile_frames_raise_one_exception_and_cost_no_memory(
    role: SessionRole, inputs: list[bytes | str]
) -> None:
    session = make_session(role)
    paths = 0
    for each in ["open", *inputs]:
        try:
            paths += each == "open"
            treat(session, each, paths)
        except RemoteProtocolError as error:
            session.fail(error)
        outgoing = session.outgoing
        assert outgoing.taken - outgoing.acked <= WINDOW
        assert outgoing.acked <= outgoing.sent


def treat(session: PlainSession, what: bytes | str, paths: int) -> None:
    is_attached = session.state in (SessionState.GREETING, SessionState.ATTACHED)
    match what:
        case bytes() if is_attached:
            feed(sink_of(session, NOW), what)
        case "write":
            session.plain.write(b"w" * 1000)
        case "write much":
            session.plain.write(bytes(WINDOW))
        case "want":
            session.outgoing.want_acknowledgement()
        case "close" if not session.is_over:
            session.plain.unsent.clear()
            session.close(NOW)
        case "send":
            said_by(session)
        case "open":
            open_path(session, paths)
        case "lose" if is_attached:
            session.lose_path(NOW)
        case _:
            frames_of(session.farewell())


def open_path(session: Session, number: int) -> None:
    if session.role is SessionRole.ACCEPTOR:
        session.accept_path(hello_of(SessionRole.OPENER, number, is_new=True), NOW)
    elif not session.is_over:
        session.open_path(NOW)
