"""Pairs of sessions: over the worst of links, and over good ones, where time matters."""

import math
from typing import TypeAlias

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_p2p._stream.frames import Kind
from trio_p2p._stream.leg import (
    BUSY_HEARTBEAT_TIME,
    BUSY_SILENCE_TIME,
    IDLE_HEARTBEAT_TIME,
    IDLE_SILENCE_TIME,
)
from trio_p2p._stream.states import SessionRole, SessionState

from ..kit.session_pair import MOST, End, LiveLink, Pair, Wire
from ..kit.sinks import Said
from .sessions import NOW, ROLES, WINDOW, connected, hello_of, make_session, said_by, take

DETECTION_TIME = 15.0  # promised, while something is unacknowledged
COUNTS = st.sampled_from([1, 22, 100, 5_000, 70_000, MOST]) | st.integers(1, 400_000)


# Pairs over bad links.


class BadLinks(RuleBasedStateMachine):
    @initialize(window=st.sampled_from([1 << 19, 1 << 20, (1 << 21) + 7]))
    def begin(self, window: int) -> None:
        self.pair = Pair(window)
        self.pair.open()

    def end_that_may(self, role: SessionRole) -> End | None:
        end = self.pair.ends[role]
        has_session = role is SessionRole.OPENER or self.pair.is_begun
        return end if has_session and not end.session.is_over and not end.is_closed else None

    @rule(role=ROLES, count=COUNTS)
    def write(self, role: SessionRole, count: int) -> None:
        end = self.end_that_may(role)
        if end and not end.session.peer_is_closed:
            self.pair.write(end, count)

    @rule(role=ROLES)
    def want_acknowledgement(self, role: SessionRole) -> None:
        self.pair.ends[role].session.outgoing.want_acknowledgement()

    @rule(role=ROLES, count=st.sampled_from([1, 2_000, 70_000]))
    def want_room(self, role: SessionRole, count: int) -> None:
        self.pair.ends[role].content.least = count

    @rule(role=ROLES)
    def close(self, role: SessionRole) -> None:
        if end := self.end_that_may(role):
            self.pair.close(end)

    @precondition(lambda self: len(self.pair.wires) < 10)
    @rule()
    def open(self) -> None:
        session = self.pair.opener.session
        if not session.is_over and not session.peer_is_closed:
            self.pair.open()

    @rule(role=ROLES)
    def pump(self, role: SessionRole) -> None:
        self.pair.pump(self.pair.ends[role])

    @rule(data=st.data(), role=ROLES, count=COUNTS)
    def deliver(self, data: st.DataObject, role: SessionRole, count: int) -> None:
        self.pair.deliver(self._wire(data), role, count)

    @rule()
    def deliver_all(self) -> None:
        for end in self.pair.ends.values():
            self.pair.pump(end)
        for role in SessionRole:
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
    pair.check()
    ends = pair.ends.values()
    # If the opener is done, its last words may have been lost, and it brings no path any more.
    is_calm = not (pair.opener.session.is_over or pair.opener.session.peer_is_closed)
    for end in ends:
        if is_calm and not any(end.is_closed for end in ends):
            assert end.read == pair.ends[end.other].written
        if not end.is_closed:
            pair.close(end)
    pair.run()
    pair.check()
    for end in ends:
        assert end.wire is None
    assert pair.opener.session.state is SessionState.FINISHED
    assert pair.acceptor.session.state is SessionState.FINISHED or not is_calm


TestBadLinks = pytest.mark.once(BadLinks.TestCase)
TestBadLinks.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# Pairs over good links, and time.

Step: TypeAlias = tuple[float, SessionRole, str, int]

STEPS = st.lists(
    st.tuples(
        st.floats(0, 40),
        ROLES,
        st.sampled_from(["write", "write", "want", "open"]),
        COUNTS,
    ),
    max_size=12,
)


def do(pair: Pair, role: SessionRole, action: str, count: int) -> None:
    end = pair.ends[role]
    if action == "open":
        pair.open()
    elif action == "want":
        end.session.outgoing.want_acknowledgement()
    elif role is SessionRole.OPENER or pair.is_begun:
        pair.write(end, count)


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
    steps: list[Step], role: SessionRole, pause: float, is_close: bool
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
    if end.wire is not None:
        pair.close(end) if is_close else pair.write(end, 1)
        pair.pump(end)
        pair.advance(DETECTION_TIME)
    assert end.wire is None


def test_an_attached_side_speaks_before_the_other_one_gives_the_path_up() -> None:
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
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    assert not session.pieces_to_send(pair.now)
    assert session.heartbeat_at() == pair.now + BUSY_HEARTBEAT_TIME
    said = said_by(session, pair.now + BUSY_HEARTBEAT_TIME)
    assert said == [Said(Kind.ACK, 10, b"")]
    pair = connected()
    pair.write(pair.opener, WINDOW)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    assert said_by(pair.acceptor.session, pair.now) == [Said(Kind.ACK, WINDOW, b"")]


def test_a_hello_that_acknowledges_everything_leaves_nothing_to_wait_for() -> None:
    pair = connected()
    pair.write(pair.opener, 10)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.open()
    pair.run()
    assert pair.opener.session.dead_at() == pair.now + IDLE_SILENCE_TIME


def test_without_a_path_nothing_is_said_and_the_time_runs() -> None:
    session = make_session()
    assert not session.pieces_to_send(NOW)
    assert session.heartbeat_at() == math.inf
    session.open_path(NOW + 5)
    assert session.waiting_since == math.inf
    session.lose_path(NOW + 6)
    session.open_path(NOW + 7)
    assert session.waiting_since == NOW + 6
    assert session.heartbeat_at() == math.inf
    assert session.dead_at() == NOW + 7 + BUSY_SILENCE_TIME
    take(session, hello_of(SessionRole.ACCEPTOR, 2).encode(), now=NOW + 7)
    assert session.waiting_since == math.inf
    session.lose_path(NOW + 8)
    assert session.waiting_since == NOW + 8
