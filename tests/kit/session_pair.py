"""Two sessions and the connections between them, treated as the carriers on both sides would."""

import random
from collections import deque

import attrs

from trio_p2p._errors import StreamAbortedError
from trio_p2p._stream.frames import SESSION_ID_BYTES, HelloReader
from trio_p2p._stream.session import Session
from trio_p2p._stream.session_sink import sink_of
from trio_p2p._stream.states import SessionRole, SessionState
from trio_p2p._wire.messages import INSTANCE_BYTES

from .plain_content import PlainContent
from .sinks import feed

IDENTIFIER = bytes(SESSION_ID_BYTES)
INSTANCES = {role: role.name[:1].encode() * INSTANCE_BYTES for role in SessionRole}
SOCKET_BYTES = 300_000  # in flight, until the side that sends has to wait
RECORD_BYTES = 16_384  # that arrive at once
MOST = 1 << 30
WRITTEN_BYTES = 1_000_000  # that wait at most until the session asks for them

_PATTERN = random.Random(1).randbytes(65_521) * 20


def stream_bytes(offset: int, count: int) -> bytes:
    """What every session here carries."""
    start = offset % 65_521
    return _PATTERN[start : start + count]


class PlainSession(Session):
    """A session that carries plain bytes.

    Attributes:
        plain: the bytes.
    """

    def __init__(self, role: SessionRole, window: int, now: float) -> None:
        self.plain = PlainContent()
        super().__init__(
            role, IDENTIFIER, INSTANCES[role], window=window, content=self.plain, now=now
        )


@attrs.define(eq=False)
class Wire:
    """A connection: what is on its way to each side, and what became of it."""

    in_flight: dict[SessionRole, bytearray] = attrs.field(
        factory=lambda: {role: bytearray() for role in SessionRole}
    )
    closed_by: set[SessionRole] = attrs.field(factory=set)
    is_broken: bool = False
    is_black_hole: bool = False
    reader: HelloReader = attrs.field(factory=HelloReader)  # until the acceptor knows what it is


class End:
    """One side: a session, and the connection that carries it.

    Attributes:
        written: how many bytes the application has given.
        read: how many have come.
        is_closed: whether the session is closed, or is going to be when all has been pulled.
    """

    def __init__(self, role: SessionRole, window: int) -> None:
        self.role = role
        self.session = PlainSession(role, window, 0.0)
        self.wire: Wire | None = None
        self.written = self.read = 0
        self.is_closed = False

    @property
    def content(self) -> PlainContent:
        return self.session.plain

    @property
    def other(self) -> SessionRole:
        return SessionRole.ACCEPTOR if self.role is SessionRole.OPENER else SessionRole.OPENER

    @property
    def wire_to_other(self) -> bytearray:
        assert self.wire is not None
        return self.wire.in_flight[self.other]

    def say(self, data: bytes | bytearray) -> None:
        self.wire_to_other.extend(data)

    def leave(self) -> None:
        if self.wire is not None:
            self.wire.closed_by.add(self.role)
            self.wire = None

    def lose(self, now: float) -> None:
        self.leave()
        self.session.lose_path(now)


class Pair:
    """Both sides, the connections that were ever made between them, and the time."""

    def __init__(
        self,
        window: int = 1 << 19,
        socket_bytes: int = SOCKET_BYTES,
        acceptors_window: int | None = None,
    ) -> None:
        self.now = 1000.0
        self.socket_bytes = socket_bytes
        windows = {SessionRole.OPENER: window, SessionRole.ACCEPTOR: acceptors_window or window}
        self.ends = {role: End(role, windows[role]) for role in SessionRole}
        self.opener, self.acceptor = self.ends.values()
        self.wires: list[Wire] = []
        self.is_begun = False  # whether the acceptor has heard of the session

    # The applications.

    def write(self, end: End, count: int) -> int:
        taken = max(0, min(count, WRITTEN_BYTES - len(end.content.unsent)))
        end.content.write(stream_bytes(end.written, taken))
        end.written += taken
        return taken

    def close(self, end: End) -> None:
        """Close a session when all that was written has been pulled."""
        end.is_closed = True
        self._close_if_pulled(end)

    def _close_if_pulled(self, end: End) -> None:
        session = end.session
        if session.peer_is_closed:
            end.content.unsent.clear()  # the other side does not want it
        if end.is_closed and not session.is_over and not end.content.is_ready:
            session.close(self.now)
        self._end_if_over(end)

    # The connections.

    def open(self) -> Wire:
        wire = Wire()
        self.wires.append(wire)
        self.opener.session.open_path(self.now)
        self.opener.leave()
        self.opener.wire = wire
        return wire

    def pump(self, end: End) -> bool:
        """Send what an end has to say, as far as the connection takes it; whether it took any."""
        is_changed = False
        while end.wire is not None and len(end.wire.in_flight[end.other]) < self.socket_bytes:
            pieces = end.session.pieces_to_send(self.now)
            if not pieces:
                break
            end.say(b"".join(pieces))
            self._close_if_pulled(end)
            is_changed = True
        self._close_if_pulled(end)
        return is_changed

    def deliver(self, wire: Wire, to: SessionRole, count: int = MOST) -> bool:
        """Let so many bytes arrive, or the end of the connection; whether anything did."""
        end = self.ends[to]
        if wire.is_black_hole:
            return False
        if wire.is_broken:
            return self._end_wire(wire, end)
        data = bytes(wire.in_flight[to][:count])
        del wire.in_flight[to][:count]
        if data:
            if end.wire is wire:
                self._feed(end, data)
            elif to is SessionRole.ACCEPTOR and to not in wire.closed_by:
                self._greet(wire, data)
            return True
        return end.other in wire.closed_by and self._end_wire(wire, end)

    def advance(self, seconds: float) -> None:
        """Let time pass, while nothing arrives."""
        until = self.now + seconds
        while self.now < until:
            events = [until]
            for end in self.ends.values():
                if end.wire is not None:
                    events += [end.session.dead_at(), end.session.heartbeat_at()]
            self.now = min((time for time in events if time > self.now), default=until)
            for end in self.ends.values():
                self.pump(end)
                if end.wire is not None and self.now >= end.session.dead_at():
                    end.lose(self.now)

    def run(self) -> None:
        """Let everything arrive until neither side has anything to say."""
        is_changed = True
        while is_changed:
            is_changed = False
            if self.is_path_wanted:
                self.open()
            for end in self.ends.values():
                is_changed |= self.pump(end)
            for wire in self.wires:
                for role in SessionRole:
                    is_changed |= self.deliver(wire, role)

    @property
    def is_path_wanted(self) -> bool:
        session = self.opener.session
        return self.opener.wire is None and not session.is_over and not session.peer_is_closed

    def _feed(self, end: End, data: bytes) -> None:
        feed(sink_of(end.session, self.now), data)
        came, end.content.received = end.content.received, bytearray()
        while came:
            piece = came[:WRITTEN_BYTES]
            del came[:WRITTEN_BYTES]
            assert piece == stream_bytes(end.read, len(piece))
            end.read += len(piece)
        self._close_if_pulled(end)

    def _greet(self, wire: Wire, data: bytes) -> None:
        acceptor = self.acceptor
        rest = feed(wire.reader, data)
        hello = wire.reader.hello
        if hello is None:
            return
        if acceptor.session.is_over:
            wire.in_flight[SessionRole.OPENER] += acceptor.session.answer_late(hello)
        elif acceptor.session.accept_path(hello, self.now):
            self.is_begun = True
            acceptor.leave()
            acceptor.wire = wire
            self._feed(acceptor, rest)
            return
        wire.closed_by.add(SessionRole.ACCEPTOR)

    def _end_wire(self, wire: Wire, end: End) -> bool:
        if end.wire is not wire:
            return False
        end.lose(self.now)
        return True

    def _end_if_over(self, end: End) -> None:
        if end.session.is_over and end.wire is not None:
            in_flight = end.wire_to_other
            if len(in_flight) >= self.socket_bytes:  # then it is in the midst of something
                del in_flight[self.socket_bytes :]
            elif not isinstance(end.session.error, StreamAbortedError):
                end.say(end.session.farewell())
            end.leave()

    # What always holds.

    def check(self) -> None:
        for end in self.ends.values():
            session, other = end.session, self.ends[end.other]
            outgoing, incoming = session.outgoing, session.incoming
            assert outgoing.taken - outgoing.acked <= session._window
            assert outgoing.acked <= outgoing.sent <= outgoing.taken <= end.content.pulled
            assert outgoing.taken == end.content.pulled or session.peer_is_closed
            assert outgoing.acked <= other.session.incoming.received or session.peer_is_closed
            assert incoming.received <= other.content.pulled <= other.written
            assert end.read == incoming.received or end.is_closed
            assert session.error is None
            if session.state is SessionState.FINISHED and not session.peer_is_closed:
                assert other.session.incoming.received == end.content.pulled


class LiveLink:
    """Brings what a pair sends to the other side, after a while but always.

    Args:
        pair: the pair.
        latency: in seconds.
        bandwidth: in bytes per second, for each connection and direction.
    """

    def __init__(self, pair: Pair, latency: float, bandwidth: float) -> None:
        self._pair = pair
        self._latency = latency
        self._bandwidth = bandwidth
        self._arrivals: dict[tuple[Wire, SessionRole], deque[tuple[float, int]]] = {}

    def run(self, seconds: float) -> None:
        """Let time pass; fails if a side gives a path up."""
        pair = self._pair
        until = pair.now + seconds
        while True:
            for end in pair.ends.values():
                pair.pump(end)
            self._depart()
            events = [arrivals[0][0] for arrivals in self._arrivals.values() if arrivals]
            carried = [end for end in pair.ends.values() if end.wire is not None]
            free = [end for end in carried if len(end.wire_to_other) < pair.socket_bytes]
            events += [end.session.heartbeat_at() for end in free]
            event = min([until, *events])
            assert all(event < end.session.dead_at() for end in carried)
            pair.now = max(pair.now, event)
            if event == until:
                return
            self._arrive()

    def _depart(self) -> None:
        for wire in self._pair.wires:
            for role in SessionRole:
                arrivals = self._arrivals.setdefault((wire, role), deque())
                new = len(wire.in_flight[role]) - sum(count for _, count in arrivals)
                time = max(arrivals[-1][0] if arrivals else 0.0, self._pair.now + self._latency)
                while new:
                    count = min(new, RECORD_BYTES)
                    time += count / self._bandwidth
                    arrivals.append((time, count))
                    new -= count

    def _arrive(self) -> None:
        for (wire, role), arrivals in self._arrivals.items():
            while arrivals and arrivals[0][0] <= self._pair.now:
                self._pair.deliver(wire, role, arrivals.popleft()[1])
