"""Two multiplexers, applications that use their streams, and the bytes between them.

Whatever is done, :class:`Traffic` checks what always holds: each stream's bytes are exact, an end
is only read behind all of them, streams that are ready take turns, and no more is held than was
promised.
"""

from __future__ import annotations

from collections import Counter

import attrs

from trio_p2p._errors import P2PError
from trio_p2p._stream.credit import reserved_memory
from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES
from trio_p2p._stream.limits import DEFAULT_WINDOW
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._stream.states import SessionRole
from trio_p2p._stream.stream_frames import (
    EOF_FLAG,
    HEADER_BYTES,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
)
from trio_p2p._stream.stream_states import Direction
from trio_p2p._stream.substream import Substream

from .multiplexers import StreamFrame, make_multiplexer, stream_frames_of
from .session_pair import stream_bytes
from .sinks import feed

MOST = 1 << 30
DATA_KINDS = range(StreamFrameKind.DATA, StreamFrameKind.OPEN)


def names_of(number: int) -> StreamNames:
    """Names by which the other side can tell that it is the same stream."""
    return StreamNames(f"uid{number}", f"protocol{number}")


@attrs.define(eq=False)
class App:
    """What an application has done with its end of a stream.

    Attributes:
        state: the stream.
        written: how many bytes it has written.
        read: how many it has read.
        has_finished: whether it has ended its direction.
        has_read_end: whether it has read the end of the other one.
        was_reset: whether it has reset the stream.
        is_read: whether it reads when all is settled.
    """

    state: Substream
    written: int = 0
    read: int = 0
    has_finished: bool = False
    has_read_end: bool = False
    was_reset: bool = False
    is_read: bool = True


class End:
    """One side.

    Attributes:
        multiplexer: its streams.
        apps: by number, what the application knows of each stream that it ever had.
        pulled: how many bytes its session has got.
        in_flight: those of them that have not arrived.
        was_served: whether it has taken streams from the beginning.
        is_leaving: whether it has said, or is going to say, that it takes no more streams.
    """

    def __init__(self, multiplexer: Multiplexer, *, memory: int) -> None:
        self.multiplexer = multiplexer
        self.memory = memory
        self.apps: dict[int, App] = {}
        self.pulled = 0
        self.in_flight = bytearray()
        self.is_leaving = False
        self.was_served = multiplexer._is_accepting
        self._waiting: dict[Substream, Counter[int]] = {}

    @property
    def streams(self) -> dict[int, Substream]:
        return self.multiplexer._table.streams

    # What the application does.

    def open(self) -> App | None:
        multiplexer = self.multiplexer
        if not multiplexer.may_open or multiplexer.has_opened_all:
            return None
        state = multiplexer.open(names_of(multiplexer._table.next_number))
        app = self.apps[state.number] = App(state)
        return app

    def accept(self) -> App | None:
        if not self.multiplexer.opened:
            return None
        state = self.multiplexer.opened.popleft()
        assert state.names == names_of(state.number)
        app = self.apps[state.number] = App(state)
        return app

    def may_write(self, app: App) -> bool:
        """Whether a stream would let the application do it."""
        state = app.state
        may = state.sending is Direction.OPEN and not state.is_refused
        return may and state.error is None and not state.is_closed

    def write(self, app: App, count: int) -> int:
        if not self.may_write(app):
            return 0
        count = min(count, app.state.room)
        if count:
            data = self.bytes_of(app.state.number, app.written, count, is_by_opener=self.is_opener)
            self.multiplexer.write(app.state, data)
            app.written += count
        return count

    def read(self, app: App, count: int) -> int:
        """Read some; how many bytes that were, and 1 for the end."""
        if app.state.is_closed or app.has_read_end:
            return 0
        data = self.multiplexer.read(app.state, count)
        if data is None:
            return 0
        if not data:
            app.has_read_end = True
            return 1
        number, is_by_opener = app.state.number, not self.is_opener
        assert data == self.bytes_of(number, app.read, len(data), is_by_opener=is_by_opener)
        app.read += len(data)
        return len(data)

    def finish(self, app: App) -> None:
        if app.state.error is None and not app.state.is_closed:
            app.has_finished = True
            self.multiplexer.finish(app.state)

    def close(self, app: App) -> None:
        if not app.state.is_closed:
            app.has_finished |= app.state.error is None
            self.multiplexer.close(app.state)

    def reset(self, app: App) -> None:
        if not app.state.is_closed:
            had_error = app.state.error is not None
            self.multiplexer.reset(app.state, ResetCode.ABORTED, "the test aborts it")
            app.was_reset = app.state.error is not None and not had_error
            # If the other side has closed it already, that is a close, too.
            app.has_finished |= app.state.sending in (Direction.ENDING, Direction.ENDED)

    def go_away(self) -> None:
        self.is_leaving = True
        self.multiplexer.go_away()

    @property
    def is_opener(self) -> bool:
        return self.multiplexer._table.next_number % 2 == 0

    @staticmethod
    def bytes_of(number: int, offset: int, count: int, *, is_by_opener: bool) -> bytes:
        """What an end writes on a stream."""
        return stream_bytes(number * 977 + is_by_opener * 31 + offset, count)

    # What the session does.

    def pull(self, room: int) -> int:
        """Send what comes next; how many bytes that are."""
        multiplexer = self.multiplexer
        ready = list(multiplexer._data)
        assert all(stream.has_data for stream in ready)
        was_ready = multiplexer.is_ready
        may_tell_credit = any(stream.has_early_credit for stream in multiplexer._creditors)
        data = b"".join(multiplexer.pull(room))
        assert len(data) <= room
        assert bool(data) <= (was_ready or may_tell_credit)
        if room >= MAX_PAYLOAD_BYTES:
            assert bool(data) >= was_ready
        frames = stream_frames_of(data)
        self._check_turns(ready, frames)
        self._check_ends(frames)
        self.pulled += len(data)
        self.in_flight += data
        for state in multiplexer.touched:
            assert state.number in self.apps or state in multiplexer.opened
        multiplexer.touched.clear()
        return len(data)

    def take(self, data: bytes) -> None:
        """Give the multiplexer what has arrived."""
        assert not feed(self.multiplexer, data)
        ready = self.multiplexer._data
        self._waiting = {state: count for state, count in self._waiting.items() if state in ready}

    def _check_turns(self, ready: list[Substream], frames: list[StreamFrame]) -> None:
        """No stream sends two pieces while another one is ready and sends none."""
        waiting = {state: self._waiting.get(state, Counter()) for state in ready}
        for frame in frames:
            if frame.kind not in DATA_KINDS or not (frame.payload or frame.kind & EOF_FLAG):
                continue
            for state in list(waiting):
                if state.number == frame.number:
                    del waiting[state]
                else:
                    waiting[state][frame.number] += 1
                    assert waiting[state][frame.number] == 1
        self._waiting = waiting

    def _check_ends(self, frames: list[StreamFrame]) -> None:
        position = self.pulled
        for frame in frames:
            position += HEADER_BYTES + len(frame.payload)
            if frame.kind in DATA_KINDS and frame.kind & EOF_FLAG:
                app = self.apps[frame.number]
                assert app.has_finished
                assert app.state.end_offset == position
            if frame.kind in DATA_KINDS and frame.kind & STOP_FLAG:
                assert self.apps[frame.number].state.is_closed

    # What always holds.

    def check_memory(self) -> None:
        """No more may come than there is memory for."""
        states = {app.state for app in self.apps.values()} | set(self.multiplexer.opened)
        budget, most = self.multiplexer._budget, self.multiplexer._table.most
        first = own = grown = held = 0
        for state in states:
            allowance, inbox = state._allowance, len(state._inbox or b"")
            assert inbox <= allowance.window
            assert state._received - state._read <= allowance.window or not inbox
            if state.receiving is Direction.OPEN:
                assert allowance.given - state._read <= allowance.window
            held += inbox
            own += allowance._own
            grown += allowance.window - allowance._first
            if not state.is_ours and state.number in self.streams:
                first += allowance._first
        assert (budget._own, budget._grown) == (own, grown)
        assert first <= reserved_memory(most)
        if own <= budget._aside:
            assert held <= first + own + grown <= self.memory


class Traffic:
    """Both sides.

    Args:
        streams: how many streams either side may have open.
        growth: how many bytes their windows may grow by.
        is_acceptor_served: whether the opener takes streams, too.
    """

    def __init__(self, *, streams: int, growth: int, is_acceptor_served: bool = True) -> None:
        memory = reserved_memory(streams) + growth
        self.opener, self.acceptor = (
            End(
                make_multiplexer(
                    role,
                    streams=streams,
                    memory=memory,
                    largest=DEFAULT_WINDOW // 8,
                    is_accepting=is_acceptor_served or role is SessionRole.ACCEPTOR,
                ),
                memory=memory,
            )
            for role in SessionRole
        )
        self.ends = {SessionRole.OPENER: self.opener, SessionRole.ACCEPTOR: self.acceptor}

    def other(self, end: End) -> End:
        return self.acceptor if end is self.opener else self.opener

    def deliver(self, end: End, count: int = MOST) -> bool:
        """Let so many bytes arrive; whether any did."""
        source = self.other(end)
        data = bytes(source.in_flight[:count])
        del source.in_flight[:count]
        end.take(data)
        return bool(data)

    def settle(self) -> None:
        """Let everything arrive, and be read where it is, until nothing changes any more."""
        is_changed = True
        while is_changed:
            is_changed = False
            for end in self.ends.values():
                is_changed |= end.pull(MAX_PAYLOAD_BYTES) > 0
                is_changed |= self.deliver(end)
                while end.accept():
                    is_changed = True
                for app in list(end.apps.values()):
                    while app.is_read and end.read(app, MOST):
                        is_changed = True
            self.check()

    def check(self) -> None:
        for end in self.ends.values():
            other = self.other(end)
            end.check_memory()
            if not end.in_flight and not end.multiplexer._control:
                assert other.multiplexer._table.theirs <= end.multiplexer._table.unreleased
            assert other.multiplexer._table.theirs <= other.multiplexer._table.most
            assert len(other.multiplexer._refusals) <= other.multiplexer._table.most
            for number, app in end.apps.items():
                self._check_app(end, app, other.apps.get(number))

    def _check_app(self, end: End, app: App, peer: App | None) -> None:
        state = app.state
        if app.has_read_end:
            assert peer is not None
            assert peer.has_finished
            assert app.read == peer.written
        if peer is not None:
            assert app.read <= peer.written
            assert state.sent <= app.written
            assert peer.state._received <= app.state.sent
        is_explained = app.was_reset or (peer is not None and peer.was_reset)
        if not is_explained:
            assert state.error is None or self._is_refused(end, app, peer)

    def _is_refused(self, end: End, app: App, peer: App | None) -> bool:
        """Whether it is known why a stream did not come about."""
        other = self.other(end)
        is_unknown = app.state.is_ours and peer is None
        return is_unknown and (other.is_leaving or not other.was_served)

    def check_all_over(self) -> None:
        """Nothing is left of any stream."""
        for end in self.ends.values():
            multiplexer = end.multiplexer
            assert len(multiplexer) == 0
            assert multiplexer.is_silent
            assert not multiplexer._control
            assert not multiplexer._data
            assert not multiplexer._refusals
            assert not multiplexer.opened
            assert multiplexer._table.theirs == multiplexer._table.unreleased == 0
            assert multiplexer._budget._own == multiplexer._budget._grown == 0
            assert not end.in_flight
            closed = {state.number for state in multiplexer.closed}
            assert closed == set(end.apps)
            assert len(closed) == len(multiplexer.closed)
            for app in end.apps.values():
                assert not app.state._inbox
                assert not app.state._outbox

    def fail(self, error: P2PError) -> None:
        for end in self.ends.values():
            end.in_flight.clear()
            end.multiplexer.fail(error)
