"""Two multiplexers and what applications may do, in any order, over bytes that are cut anywhere."""

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trio_p2p._errors import PathLostError
from trio_p2p._stream.credit import EARLY_STREAMS, FIRST_CREDIT
from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES
from trio_p2p._stream.states import SessionRole

from ..kit.stream_traffic import MOST, App, End, Traffic
from .sessions import ROLES

COUNTS = st.sampled_from([1, 100, 5_000, 70_000, MOST]) | st.integers(1, 300_000)
ROOMS = st.sampled_from([1, 1_000, 2_000, 65_548, MAX_PAYLOAD_BYTES]) | st.integers(
    1, MAX_PAYLOAD_BYTES
)


class Streams(RuleBasedStateMachine):
    """What applications do; afterwards all that can arrive does, and nothing is left."""

    @initialize(
        streams=st.sampled_from([EARLY_STREAMS, 40, 100]),
        growth=st.sampled_from([0, FIRST_CREDIT, 32 * FIRST_CREDIT]),
        is_acceptor_served=st.booleans(),
        opened=st.sampled_from([0, 2, 16, 60]),
    )
    def begin(self, streams: int, growth: int, is_acceptor_served: bool, opened: int) -> None:
        self.traffic = Traffic(
            streams=streams, growth=growth, is_acceptor_served=is_acceptor_served
        )
        self.exchange()
        for role in SessionRole:
            self.open(role, opened)
        for _ in range(2):
            self.exchange()
            for role in SessionRole:
                self.accept(role, opened)

    def end(self, role: SessionRole) -> End:
        return self.traffic.ends[role]

    def app(self, data: st.DataObject, role: SessionRole) -> App | None:
        apps = list(self.end(role).apps.values())
        return apps[data.draw(st.integers(-len(apps), -1))] if apps else None

    @rule(role=ROLES, count=st.integers(1, 50))
    def open(self, role: SessionRole, count: int) -> None:
        for _ in range(count):
            self.end(role).open()

    @rule(role=ROLES, count=st.integers(1, 50))
    def accept(self, role: SessionRole, count: int) -> None:
        for _ in range(count):
            self.end(role).accept()

    @rule()
    def accept_streams(self) -> None:
        self.traffic.opener.multiplexer.accept_streams()

    @rule(data=st.data(), role=ROLES, count=COUNTS)
    def write(self, data: st.DataObject, role: SessionRole, count: int) -> None:
        if app := self.app(data, role):
            self.end(role).write(app, count)

    @rule(role=ROLES, count=COUNTS)
    def write_everywhere(self, role: SessionRole, count: int) -> None:
        for app in self.end(role).apps.values():
            self.end(role).write(app, count)

    @rule(data=st.data(), role=ROLES, count=COUNTS)
    def read(self, data: st.DataObject, role: SessionRole, count: int) -> None:
        if app := self.app(data, role):
            self.end(role).read(app, count)

    @rule(data=st.data(), role=ROLES)
    def stop_reading(self, data: st.DataObject, role: SessionRole) -> None:
        if app := self.app(data, role):
            app.is_read = False

    @rule(data=st.data(), role=ROLES)
    def finish(self, data: st.DataObject, role: SessionRole) -> None:
        if app := self.app(data, role):
            self.end(role).finish(app)

    @rule(data=st.data(), role=ROLES)
    def close(self, data: st.DataObject, role: SessionRole) -> None:
        if app := self.app(data, role):
            self.end(role).close(app)

    @rule(role=ROLES, share=st.integers(1, 3))
    def close_with_more_to_say_than_there_is_credit_for(
        self, role: SessionRole, share: int
    ) -> None:
        end = self.end(role)
        apps = list(end.apps.values())[::share]
        for _ in range(2):
            for app in apps:
                end.write(app, MOST)
            while end.pull(MAX_PAYLOAD_BYTES):
                pass
        for app in apps:
            end.close(app)

    @rule(role=ROLES, share=st.integers(1, 3))
    def close_many(self, role: SessionRole, share: int) -> None:
        for app in list(self.end(role).apps.values())[::share]:
            self.end(role).close(app)

    @rule(data=st.data(), role=ROLES)
    def reset(self, data: st.DataObject, role: SessionRole) -> None:
        if app := self.app(data, role):
            self.end(role).reset(app)

    @rule(role=ROLES, is_meant=st.integers(0, 9))
    def go_away(self, role: SessionRole, is_meant: int) -> None:
        if is_meant == 9:
            self.end(role).go_away()

    @rule(role=ROLES, room=ROOMS)
    def pull(self, role: SessionRole, room: int) -> None:
        self.end(role).pull(room)

    @rule(role=ROLES, count=COUNTS)
    def deliver(self, role: SessionRole, count: int) -> None:
        self.traffic.deliver(self.end(role), count)

    @rule()
    def exchange(self) -> None:
        for end in self.traffic.ends.values():
            end.pull(MAX_PAYLOAD_BYTES)
        for end in self.traffic.ends.values():
            self.traffic.deliver(end)

    @rule()
    def settle(self) -> None:
        self.traffic.settle()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "traffic"):
            self.traffic.check()

    def teardown(self) -> None:
        if hasattr(self, "traffic"):
            settle(self.traffic)


def settle(traffic: Traffic) -> None:
    """Let everything come to its end: at first without those that do not read."""
    traffic.settle()
    check_read(traffic)
    for end in traffic.ends.values():
        for app in end.apps.values():
            app.is_read = True
            end.finish(app)
    traffic.settle()
    check_read(traffic)
    for end in traffic.ends.values():
        for app in end.apps.values():
            end.close(app)
    traffic.settle()
    traffic.check_all_over()


def check_read(traffic: Traffic) -> None:
    """Check that all that read have got everything."""
    for end in traffic.ends.values():
        for number, app in end.apps.items():
            peer = traffic.other(end).apps.get(number)
            if peer is None or app.state.error or app.state.is_closed or not app.is_read:
                continue
            assert app.read == peer.written
            assert app.has_read_end == peer.has_finished


TestStreams = pytest.mark.once(Streams.TestCase)
TestStreams.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


class FailingStreams(Streams):
    """The same, but the session fails in the midst of it."""

    def teardown(self) -> None:
        if not hasattr(self, "traffic"):
            return
        traffic = self.traffic
        error = PathLostError("the test ends the session")
        traffic.fail(error)
        for end in traffic.ends.values():
            while end.accept():
                pass
            assert not end.multiplexer.is_ready
            assert not end.multiplexer.may_open
            for app in end.apps.values():
                while end.read(app, MOST):
                    pass
                assert app.state.error is not None or app.state.is_over
                end.reset(app)
                end.close(app)
                assert app.state.is_over
            assert end.pull(MAX_PAYLOAD_BYTES) == 0
            assert len(end.multiplexer) == 0
            assert end.multiplexer._budget._own == end.multiplexer._budget._grown == 0


TestFailingStreams = FailingStreams.TestCase
TestFailingStreams.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
