"""The session: each transition and frame, hostile ones too, and pairs over the worst of links."""

import math
from collections.abc import Iterable
from typing import TypeAlias

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_p2p._errors import (
    NotAdmittedError,
    PathLostError,
    RemoteProtocolError,
    StreamAbortedError,
)
from trio_p2p._stream.frames import (
    MAX_CONTROL_BYTES,
    MAX_PAYLOAD_BYTES,
    SESSION_ID_BYTES,
    AbortCode,
    Hello,
    Kind,
    abort,
    header,
)
from trio_p2p._stream.incoming import TOLD_SHARE
from trio_p2p._stream.leg import (
    BUSY_HEARTBEAT_TIME,
    BUSY_SILENCE_TIME,
    IDLE_HEARTBEAT_TIME,
    IDLE_SILENCE_TIME,
)
from trio_p2p._stream.session import DEFAULT_WINDOW, FIRST_WINDOW, Session
from trio_p2p._stream.states import Event, Role, State

from ..kit.session_pair import (
    IDENTIFIER,
    MOST,
    SOCKET_BYTES,
    End,
    LiveLink,
    Pair,
    Wire,
    stream_bytes,
)
from ..kit.sinks import Said, feed, frames_of

NOW = 1000.0
ENOUGH = int(FIRST_WINDOW * TOLD_SHARE)  # read, until the other side is told of a limit
WINDOW = 1 << 19
ROUND_TRIP = 0.1  # seconds
DETECTION_TIME = 15.0  # promised, while something is unacknowledged
ROLES = st.sampled_from(Role)
COUNTS = st.sampled_from([1, 22, 100, 5_000, 70_000, MOST]) | st.integers(1, 400_000)


def connected(window: int = WINDOW) -> Pair:
    """Both sides, greeted, and nothing on its way."""
    pair = Pair(window)
    pair.open()
    pair.run()
    return pair


def greeted(path: int = 1, received: int = 0) -> Session:
    """An acceptor that an opener has greeted, which has said nothing yet."""
    session = Session(Role.ACCEPTOR, IDENTIFIER, WINDOW, NOW)
    assert session.accept_path(Hello(received, IDENTIFIER, path, is_new=True), NOW)
    session.pieces_to_send(NOW)
    return session


def said_by(session: Session, now: float = NOW) -> list[Said]:
    """All that it has to say."""
    said = b""
    while pieces := session.pieces_to_send(now):
        said += b"".join(pieces)
    return frames_of(said)


def kinds(frames: Iterable[Said]) -> list[Kind]:
    return [frame.kind for frame in frames]


def take(session: Session, *frames: bytes, now: float = NOW) -> None:
    for frame in frames:
        feed(session.sink(now), frame)


def data_frame(offset: int, data: bytes) -> bytes:
    return header(Kind.DATA, offset, len(data)) + data


# Pairs over bad links.


class BadLinks(RuleBasedStateMachine):
    @initialize(window=st.sampled_from([1 << 19, 1 << 20, (1 << 21) + 7]))
    def begin(self, window: int) -> None:
        self.pair = Pair(window)
        self.pair.open()

    def end_that_may(self, role: Role) -> End | None:
        end = self.pair.ends[role]
        has_stream = role is Role.OPENER or self.pair.is_begun
        return end if has_stream and not end.session.is_over and not end.is_closed else None

    @rule(role=ROLES, count=COUNTS)
    def write(self, role: Role, count: int) -> None:
        end = self.end_that_may(role)
        if end and not end.has_ended and not end.session.peer_is_closed:
            self.pair.write(end, count)

    @rule(role=ROLES, count=COUNTS)
    def read(self, role: Role, count: int) -> None:
        if end := self.end_that_may(role):
            self.pair.read(end, count)

    @rule(role=ROLES)
    def write_eof(self, role: Role) -> None:
        if end := self.end_that_may(role):
            self.pair.write_eof(end)

    @rule(role=ROLES)
    def close(self, role: Role) -> None:
        if end := self.end_that_may(role):
            self.pair.close(end)

    @precondition(lambda self: len(self.pair.wires) < 10)
    @rule()
    def open(self) -> None:
        session = self.pair.opener.session
        if not session.is_over and not session.peer_is_closed:
            self.pair.open()

    @rule(role=ROLES)
    def pump(self, role: Role) -> None:
        self.pair.pump(self.pair.ends[role])

    @rule(data=st.data(), role=ROLES, count=COUNTS)
    def deliver(self, data: st.DataObject, role: Role, count: int) -> None:
        self.pair.deliver(self._wire(data), role, count)

    @rule()
    def deliver_all(self) -> None:
        for end in self.pair.ends.values():
            self.pair.pump(end)
        for role in Role:
            self.pair.deliver(self.pair.wires[-1], role)

    @rule(data=st.data())
    def break_wire(self, data: st.DataObject) -> None:
        self._wire(data).is_broken = True

    @rule(data=st.data())
    def black_hole(self, data: st.DataObject) -> None:
        self._wire(data).is_black_hole = True

    @rule(seconds=st.floats(0.1, 50))
    def advance(self, seconds: float) -> None:
        self.pair.advance(seconds)

    def _wire(self, data: st.DataObject) -> Wire:
        return self.pair.wires[data.draw(st.integers(-len(self.pair.wires), -1))]

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "pair"):
            self.pair.check()

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            settle(self.pair)


def settle(pair: Pair) -> None:
    """Let the link work, and everything come to its end."""
    while any(end.wire is not None and end.wire.is_black_hole for end in pair.ends.values()):
        pair.advance(5)
    pair.run()
    ends = pair.ends.values()
    # If the opener is done, its last words may have been lost, and it brings no path any more.
    is_calm = not (pair.opener.session.is_over or pair.opener.session.peer_is_closed)
    for end in ends:
        if not end.is_closed and not end.session.is_over:
            pair.write_eof(end)
    pair.run()
    pair.check()
    for end in ends:
        if is_calm and not any(end.is_closed for end in ends):
            assert end.read == pair.ends[end.other].written
            assert end.has_read_end
        if not end.is_closed:
            pair.close(end)
    pair.run()
    pair.check()
    for end in ends:
        assert end.wire is None
    assert pair.opener.session.state is State.FINISHED
    assert pair.acceptor.session.state is State.FINISHED or not is_calm


TestBadLinks = BadLinks.TestCase
TestBadLinks.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# Pairs over good links, and time.

Step: TypeAlias = tuple[float, Role, str, int]

STEPS = st.lists(
    st.tuples(
        st.floats(0, 40),
        ROLES,
        st.sampled_from(["write", "write", "read", "eof", "open"]),
        COUNTS,
    ),
    max_size=12,
)


def do(pair: Pair, role: Role, action: str, count: int) -> None:
    end = pair.ends[role]
    if action == "open":
        pair.open()
    elif role is Role.OPENER or pair.is_begun:
        if action == "read":
            pair.read(end, count)
        elif not end.has_ended:
            pair.write_eof(end) if action == "eof" else pair.write(end, count)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.floats(0, 2), st.sampled_from([2e4, 1e6, 1e9]))
def test_a_path_that_works_is_never_declared_dead(
    steps: list[Step], latency: float, bandwidth: float
) -> None:
    pair = Pair()
    link = LiveLink(pair, latency, bandwidth)
    pair.open()
    for pause, role, action, count in steps:
        link.run(pause)
        do(pair, role, action, count)
    link.run(150)
    pair.check()
    assert pair.opener.wire is pair.acceptor.wire is not None


@settings(max_examples=60, deadline=None)
@given(STEPS, ROLES, st.floats(0, 40), st.booleans())
def test_a_dead_path_is_noticed_in_time_if_something_is_unacknowledged(
    steps: list[Step], role: Role, pause: float, is_eof: bool
) -> None:
    pair = Pair()
    link = LiveLink(pair, 0.1, 1e9)
    pair.open()
    link.run(1)
    for seconds, who, action, count in steps:
        link.run(seconds)
        do(pair, who, action, count)
    link.run(1)
    end, wire = pair.ends[role], pair.ends[role].wire
    assert wire is not None
    wire.is_black_hole = True
    pair.advance(pause)
    if end.has_ended or (not is_eof and not end.session.room):
        return
    if end.wire is not None:
        pair.write_eof(end) if is_eof else pair.write(end, 1)
        pair.advance(DETECTION_TIME)
    assert end.wire is None


def test_whoever_is_attached_speaks_before_the_other_side_gets_nervous() -> None:
    assert BUSY_SILENCE_TIME <= DETECTION_TIME
    assert BUSY_SILENCE_TIME > 2 * BUSY_HEARTBEAT_TIME
    assert IDLE_SILENCE_TIME > 2 * IDLE_HEARTBEAT_TIME


def test_an_idle_side_says_what_it_has_received_now_and_then() -> None:
    pair = connected()
    session = pair.opener.session
    assert session.heartbeat_at() == pair.now + IDLE_HEARTBEAT_TIME
    assert session.dead_at() == pair.now + IDLE_SILENCE_TIME
    assert not session.pieces_to_send(pair.now)
    assert said_by(session, pair.now + IDLE_HEARTBEAT_TIME) == [Said(Kind.ACK, 0, b"")]
    assert session.heartbeat_at() == pair.now + 2 * IDLE_HEARTBEAT_TIME


def test_few_bytes_are_acknowledged_after_a_while_and_many_at_once() -> None:
    pair = connected()
    session = pair.acceptor.session
    pair.write(pair.opener, 10)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    assert not session.pieces_to_send(pair.now)
    assert session.heartbeat_at() == pair.now + BUSY_HEARTBEAT_TIME
    said = said_by(session, pair.now + BUSY_HEARTBEAT_TIME)
    assert said == [Said(Kind.ACK, 10, b"")]
    pair = connected()
    pair.write(pair.opener, FIRST_WINDOW)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    assert said_by(pair.acceptor.session, pair.now) == [Said(Kind.ACK, FIRST_WINDOW, b"")]


def test_a_hello_that_acknowledges_everything_leaves_nothing_to_wait_for() -> None:
    pair = connected()
    pair.write(pair.opener, 10)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    pair.open()
    pair.run()
    assert pair.opener.session.dead_at() == pair.now + IDLE_SILENCE_TIME


def test_without_a_path_nothing_is_said_and_the_time_runs() -> None:
    session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    assert not session.pieces_to_send(NOW)
    assert session.heartbeat_at() == math.inf
    session.open_path(NOW + 5)
    assert session.waiting_since == math.inf
    session.lose_path(NOW + 6)
    session.open_path(NOW + 7)
    assert session.waiting_since == NOW + 6
    assert session.heartbeat_at() == math.inf
    assert session.dead_at() == NOW + 7 + BUSY_SILENCE_TIME
    take(session, Hello(0, IDENTIFIER, 2, is_new=False).encode(), now=NOW + 7)
    assert session.waiting_since == math.inf
    session.lose_path(NOW + 8)
    assert session.waiting_since == NOW + 8


# Paths.


def test_the_first_path_carries_data_before_the_hello_came() -> None:
    session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    session.write(b"early", NOW)
    session.open_path(NOW)
    hello, data = said_by(session)
    assert hello.kind is Kind.HELLO
    assert Hello.decode_untrusted(hello.number, bytes(hello.payload)) == Hello(
        0, IDENTIFIER, 1, True
    )
    assert data == Said(Kind.DATA, 0, b"early")


def test_a_later_path_waits_for_the_hello_and_carries_what_has_not_arrived() -> None:
    session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    session.write(b"some bytes", NOW)
    session.open_path(NOW)
    said_by(session)
    session.open_path(NOW)
    assert kinds(said_by(session)) == [Kind.HELLO]
    take(session, Hello(5, IDENTIFIER, 2, is_new=False).encode())
    assert said_by(session)[-1] == Said(Kind.DATA, 5, b"bytes")


def test_a_hello_says_whether_the_other_side_has_been_heard_of() -> None:
    session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    for path, is_new in enumerate((True, True, False), start=1):
        session.open_path(NOW)
        (hello,) = said_by(session)
        assert Hello.decode_untrusted(hello.number, bytes(hello.payload)).is_new is is_new
        if path == 2:
            take(session, Hello(0, IDENTIFIER, path, is_new=False).encode())


def test_a_path_that_comes_after_a_newer_one_is_not_taken() -> None:
    session = greeted(path=3)
    for path in (1, 2, 3):
        assert not session.accept_path(Hello(0, IDENTIFIER, path, is_new=True), NOW)
    assert session.accept_path(Hello(0, IDENTIFIER, 4, is_new=True), NOW)


def test_no_path_is_taken_when_all_is_over() -> None:
    session = greeted()
    session.fail(PathLostError("no path"))
    assert not session.accept_path(Hello(0, IDENTIFIER, 2, is_new=False), NOW)


@pytest.mark.parametrize(
    "hello",
    [
        Hello(1, IDENTIFIER, 2, is_new=False),
        Hello(0, b"?" * SESSION_ID_BYTES, 2, is_new=False),
    ],
    ids=["bytes that were never sent", "another session"],
)
def test_a_hello_that_cannot_be_is_a_violation(hello: Hello) -> None:
    with pytest.raises(RemoteProtocolError, match="claims what cannot be"):
        greeted().accept_path(hello, NOW)
    opener = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    opener.open_path(NOW)
    opener.open_path(NOW)
    with pytest.raises(RemoteProtocolError, match="claims what cannot be"):
        take(opener, hello.encode())


def test_the_hello_of_another_path_is_a_violation() -> None:
    session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    session.open_path(NOW)
    with pytest.raises(RemoteProtocolError, match="another path"):
        take(session, Hello(0, IDENTIFIER, 2, is_new=False).encode())


def test_a_frame_that_a_path_left_unfinished_is_forgotten() -> None:
    pair = connected()
    pair.write(pair.opener, 1000)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR, 500)
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


@pytest.mark.parametrize("state", [State.GREETING, State.ATTACHED])
@pytest.mark.parametrize("kind", Kind)
def test_a_frame_that_is_out_of_place_is_a_violation(state: State, kind: Kind) -> None:
    if state is State.ATTACHED:
        session = greeted()
    else:
        session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
        session.open_path(NOW)
    if (state, kind) in Session.HANDLERS:
        return
    frame = data_frame(0, b"a") if kind is Kind.DATA else header(kind, 0)
    with pytest.raises(RemoteProtocolError, match=f"{kind.name} frame out of place"):
        take(session, frame)


def test_every_transition_leads_on_and_none_leads_out_of_the_end() -> None:
    table = Session.TRANSITIONS
    assert {state for state, _ in table} == set(State) - {State.FINISHED, State.BROKEN}
    assert {event for _, event in table} == set(Event)
    assert set(table.values()) == set(State)
    for state, _ in table:
        assert table[state, Event.FAILED] is State.BROKEN
        assert table[state, Event.COMPLETED] is State.FINISHED


def test_bytes_may_be_sent_up_to_the_limit_and_it_grows_as_they_are_read() -> None:
    pair = connected()
    assert pair.write(pair.opener, MOST) == FIRST_WINDOW
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    pair.pump(pair.acceptor)
    pair.deliver(pair.wires[-1], Role.OPENER)
    assert pair.opener.session.room == 0
    pair.read(pair.acceptor, ENOUGH - 1)
    assert kinds(said_by(pair.acceptor.session, pair.now)) == []
    pair.read(pair.acceptor, 1)
    pair.pump(pair.acceptor)
    pair.deliver(pair.wires[-1], Role.OPENER)
    assert pair.opener.session.room == ENOUGH


def test_the_window_grows_for_whoever_is_blocked_as_long_as_everything_is_read() -> None:
    pair = connected(window=8 * WINDOW)
    pair.write(pair.opener, FIRST_WINDOW)
    pair.run()
    assert pair.opener.session.room <= FIRST_WINDOW
    while pair.opener.written < 64 * FIRST_WINDOW:
        pair.write(pair.opener, MOST)
        pair.run()
    assert pair.acceptor.session._incoming.window == 12 * FIRST_WINDOW
    pair.run()
    assert pair.opener.session.room > 10 * FIRST_WINDOW


def test_the_window_grows_no_more_than_once_while_nothing_is_read() -> None:
    pair = connected(window=8 * WINDOW)
    for _ in range(5):
        pair.write(pair.opener, MOST)
        pair.pump(pair.opener)
        pair.deliver(pair.wires[-1], Role.ACCEPTOR)
        pair.pump(pair.acceptor)
        pair.deliver(pair.wires[-1], Role.OPENER)
    assert pair.opener.session.room == 0
    assert pair.acceptor.session._incoming.window <= 2 * FIRST_WINDOW


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


# Endings.


def test_the_end_of_a_direction_is_acknowledged_like_a_byte() -> None:
    pair = connected()
    pair.write(pair.opener, 3)
    pair.write_eof(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    assert said_by(pair.acceptor.session, pair.now) == [Said(Kind.ACK, 4, b"")]
    session = pair.acceptor.session
    assert (session.read(9), session.read(9), session.read(9)) == (stream_bytes(0, 3), b"", b"")
    assert not session.is_over


def test_a_close_is_acknowledged_like_two_bytes_and_ends_the_session() -> None:
    pair = connected()
    pair.write(pair.opener, 3)
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    session = pair.acceptor.session
    assert session.peer_is_closed
    assert said_by(session, pair.now) == [Said(Kind.ACK, 5, b"")]
    take(pair.opener.session, header(Kind.ACK, 4))
    assert not pair.opener.session.is_over
    take(pair.opener.session, header(Kind.ACK, 5))
    assert pair.opener.session.state is State.FINISHED
    session.lose_path(NOW)
    assert session.read(9) == stream_bytes(0, 3)
    assert session.read(9) == b""
    session.close(NOW)
    assert session.state is State.FINISHED


def test_whoever_closes_when_both_directions_have_ended_need_not_wait() -> None:
    pair = connected()
    for end in pair.ends.values():
        pair.write(end, 10)
        pair.write_eof(end)
    pair.run()
    pair.opener.session.close(pair.now)
    assert pair.opener.session.state is State.FINISHED
    assert pair.opener.session.farewell() == header(Kind.CLOSE, 10)


def test_whoever_has_closed_reads_nothing_and_lets_the_other_side_go_on() -> None:
    pair = connected()
    pair.close(pair.acceptor)
    for _ in range(3):
        pair.write(pair.opener, FIRST_WINDOW)
        pair.pump(pair.opener)
        pair.deliver(pair.wires[-1], Role.ACCEPTOR)
        said = said_by(pair.acceptor.session, pair.now)
        assert len(pair.acceptor.session._incoming._inbox) == 0
        for frame in said:
            if frame.kind is not Kind.CLOSE:
                take(pair.opener.session, header(frame.kind, frame.number))
    assert pair.opener.session.room > 0
    assert pair.opener.written == 3 * FIRST_WINDOW


def test_whoever_only_looks_for_bytes_has_heard_nothing() -> None:
    session = greeted()
    dead_at = session.dead_at()
    feed(session.sink(NOW + 5), b"")
    assert session.dead_at() == dead_at
    feed(session.sink(NOW + 6), header(Kind.ACK, 0)[:1])
    assert session.dead_at() == NOW + 6 + IDLE_SILENCE_TIME


def test_an_end_whose_acknowledgement_was_lost_is_said_again() -> None:
    pair = connected()
    pair.write(pair.opener, 10)
    pair.write_eof(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    pair.wires[-1].is_broken = True
    pair.run()
    assert pair.opener.session.dead_at() == pair.now + IDLE_SILENCE_TIME
    pair.close(pair.opener)
    pair.run()
    assert pair.opener.session.state is State.FINISHED


def test_nothing_is_said_again_to_whoever_has_closed() -> None:
    pair = connected()
    pair.write(pair.acceptor, 10)
    pair.write_eof(pair.acceptor)
    pair.pump(pair.acceptor)  # and it is lost
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    pair.open()
    pair.run()
    assert pair.opener.session.state is State.FINISHED


def test_bytes_for_whoever_has_closed_are_dropped() -> None:
    session = greeted()
    session.write(b"nobody reads this", NOW)
    take(session, header(Kind.CLOSE, 0))
    assert kinds(said_by(session)) == [Kind.ACK]
    assert session.dead_at() == NOW + IDLE_SILENCE_TIME


# The end of it.


def test_a_peer_that_is_not_admitted_is_told_why() -> None:
    session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    session.open_path(NOW)
    take(session, abort(AbortCode.NOT_ADMITTED, "not\nyou") + b"and what follows is ignored")
    assert session.state is State.BROKEN
    assert type(session.error) is NotAdmittedError
    assert str(session.error) == "not?you"


def test_whoever_gives_up_says_why() -> None:
    session, other = greeted(), greeted()
    session.fail(PathLostError("no way"))
    session.fail(PathLostError("too late"))
    take(other, session.farewell())
    assert type(other.error) is StreamAbortedError
    assert str(other.error) == "the other side gave up: no way"


def test_whoever_does_not_wait_says_so() -> None:
    for ending in (Session.write_eof, Session.close):
        session, other = greeted(), greeted()
        session.write(b"unsent", NOW)
        ending(session, NOW)
        take(other, session.farewell())
        assert type(other.error) is StreamAbortedError
        assert "did not wait" in str(other.error)


def test_a_farewell_to_whoever_has_closed_is_what_it_waits_for() -> None:
    pair = connected()
    pair.write(pair.acceptor, 10)
    pair.pump(pair.acceptor)  # and it is lost
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    wire = pair.open()
    pair.pump(pair.opener)
    pair.deliver(wire, Role.ACCEPTOR)
    take(pair.opener.session, pair.acceptor.session.farewell())  # with the hello for the new path
    assert pair.opener.session.state is State.FINISHED


def test_whoever_closes_in_the_midst_of_sending_still_says_that_it_knows_of_the_close() -> None:
    pair = connected(window=8 * WINDOW)
    while pair.acceptor.session.room < 2 * SOCKET_BYTES:
        pair.write(pair.acceptor, MOST)
        pair.run()
    pair.write(pair.acceptor, 2 * SOCKET_BYTES)
    pair.pump(pair.acceptor)  # the connection takes no more
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    pair.close(pair.acceptor)
    assert not pair.acceptor.session.is_over
    pair.run()
    for end in pair.ends.values():
        assert end.session.state is State.FINISHED


def test_whoever_closes_after_the_other_side_need_not_wait_for_another_path() -> None:
    pair = connected()
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], Role.ACCEPTOR)
    pair.close(pair.acceptor)
    assert not pair.acceptor.session.is_over
    pair.acceptor.lose(pair.now)
    assert pair.acceptor.session.state is State.FINISHED


def test_whoever_does_not_wait_for_the_hello_does_not_claim_that_all_has_arrived() -> None:
    session = Session(Role.OPENER, IDENTIFIER, WINDOW, NOW)
    session.write(b"lost", NOW)
    session.open_path(NOW)
    said_by(session)
    session.open_path(NOW)
    session.close(NOW)
    hello, farewell = frames_of(session.farewell())
    assert hello.kind is Kind.HELLO
    assert farewell.kind is Kind.ABORT


def test_bytes_after_the_end_are_ignored() -> None:
    session = greeted()
    session.fail(PathLostError("no way"))
    take(session, data_frame(0, b"a"), now=NOW)
    session.lose_path(NOW)
    assert session.state is State.BROKEN
    assert session.read(9) is None


# Hostile peers.

NUMBERS = st.integers(0, 5) | st.integers(0, 2**63 - 1) | st.just(FIRST_WINDOW)
FRAMES = st.one_of(
    st.builds(header, st.sampled_from(Kind), NUMBERS, st.integers(0, 600)),
    st.builds(data_frame, st.integers(0, 9), st.integers(1, 9).map(bytes)),
    st.builds(
        lambda received, path, is_new: Hello(received, IDENTIFIER, path, is_new).encode(),
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
    role: Role, inputs: list[bytes | str]
) -> None:
    session = Session(role, IDENTIFIER, WINDOW, NOW)
    paths = 0
    for each in ["open", *inputs]:
        try:
            paths += each == "open"
            treat(session, each, paths)
        except RemoteProtocolError as error:
            session.fail(error)
        outgoing = session._outgoing
        assert session._incoming._held <= session._incoming.window
        assert outgoing.held + session._incoming.window <= WINDOW
        assert outgoing._acked <= outgoing.sent


def treat(session: Session, what: bytes | str, paths: int) -> None:
    is_attached = session.state in (State.GREETING, State.ATTACHED)
    may_end = not session.is_over and session._outgoing.ending is not Kind.CLOSE
    match what:
        case bytes() if is_attached:
            feed(session.sink(NOW), what)
        case "write" if session.room and session._outgoing.ending is None:
            session.write(b"w" * min(session.room, 1000), NOW)
        case "read":
            session.read(100)
        case "eof" | "close" if may_end:
            session.write_eof(NOW) if what == "eof" else session.close(NOW)
        case "send":
            said_by(session)
        case "open" if session.role is Role.ACCEPTOR:
            session.accept_path(Hello(0, IDENTIFIER, paths, is_new=True), NOW)
        case "open" if not session.is_over:
            session.open_path(NOW)
        case "lose" if is_attached:
            session.lose_path(NOW)
        case _:
            frames_of(session.farewell())
