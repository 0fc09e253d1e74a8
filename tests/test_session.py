"""The session: every transition and frame, and pairs over links that do their worst."""

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_p2p._stream.session import Role, State

from tests.session_pair import MOST, End, Pair, Wire

ROLES = st.sampled_from(Role)
COUNTS = st.sampled_from([1, 22, 100, 5_000, 70_000, MOST]) | st.integers(1, 400_000)


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
    was_over = any(end.session.is_over for end in pair.ends.values())
    while any(end.wire is not None and end.wire.is_black_hole for end in pair.ends.values()):
        pair.advance(5)
    pair.run()
    pair.check()
    for end in pair.ends.values():
        if not end.is_closed and not end.session.is_over:
            pair.write_eof(end)
    pair.run()
    for end in pair.ends.values():
        other = pair.ends[end.other]
        if not end.is_closed and not was_over and not end.session.is_over:
            assert end.has_read_end
            assert end.read == other.session._sent or other.is_closed
    for end in pair.ends.values():
        if not end.is_closed:
            pair.close(end)
    pair.run()
    pair.check()
    if not was_over:
        for end in pair.ends.values():
            assert end.session.state is State.FINISHED, (end.role, end.session.state)


TestBadLinks = BadLinks.TestCase
TestBadLinks.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
