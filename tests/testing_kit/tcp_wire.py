"""Two simulated ends of TCP, and a wire between them on which segments take their time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from random import Random

from trio_p2p.testing._host.segments import Segment
from trio_p2p.testing._host.tcp import Connection
from trio_p2p.testing._internet.packets import Endpoint

ONE, OTHER = Endpoint(b"\x0a\0\0\1", 1001), Endpoint(b"\x0a\0\0\2", 1002)
DELAY = 0.01  # seconds, one way


class End:
    """One end, and the host around it."""

    def __init__(self, wire: Wire, local: Endpoint, remote: Endpoint, isn: int) -> None:
        self.wire = wire
        self.sent: list[Segment] = []
        self.is_forgotten = False
        self.changes = 0
        self.connection = Connection(self, local, remote, isn)
        self.connection.on_change = self._changed

    def _changed(self) -> None:
        self.changes += 1

    def transmit(self, connection: Connection, segment: Segment, hops: int | None) -> None:  # noqa: ARG002
        self.sent.append(segment)
        self.wire.carry(self, segment)

    def now(self) -> float:
        return self.wire.time

    def set_timer(self, connection: Connection) -> None:
        if connection.timer < math.inf:
            self.wire.call_at(connection.timer, self._look)

    def _look(self) -> None:
        if self.connection.timer <= self.wire.time:
            self.connection.time_out()

    def forget(self, connection: Connection) -> None:  # noqa: ARG002
        self.is_forgotten = True

    def read_all(self) -> bytes:
        """All that has come."""
        data = b""
        try:
            while piece := self.connection.read(65_536):
                data += piece
        except BlockingIOError:
            pass
        return data


class Wire:
    """Both ends, and what is under way; whatever `loses` says of is lost."""

    def __init__(self, *, isns: tuple[int, int] = (100, 2**32 - 5)) -> None:
        self.time = 0.0
        self.loses: Callable[[Segment], bool] = lambda _: False
        self._calls: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()
        self.one = End(self, ONE, OTHER, isns[0])
        self.other = End(self, OTHER, ONE, isns[1])

    def carry(self, sender: End, segment: Segment) -> None:
        if not self.loses(segment):
            self.call_at(self.time + DELAY, lambda: self._arrive(sender, segment))

    def _arrive(self, sender: End, segment: Segment) -> None:
        receiver = self.other if sender is self.one else self.one
        if receiver.sent or receiver is self.one:
            receiver.connection.take(segment)
        else:
            receiver.connection.answer(segment)  # as a listener

    def call_at(self, time: float, function: Callable[[], object]) -> None:
        heapq.heappush(self._calls, (time, next(self._count), function))

    def run(self, seconds: float = 1000.0) -> None:
        """Let time pass, until nothing is to happen any more or so many seconds are over."""
        end = self.time + seconds
        while self._calls and self._calls[0][0] <= end:
            self.time, _, function = heapq.heappop(self._calls)
            function()
        self.time = end


def opened(*, loss: float = 0.0, seed: int = 0) -> Wire:
    """A connection, over a wire that loses some segments from then on."""
    wire = Wire()
    wire.one.connection.open()
    wire.run(1.0)
    if loss:
        random = Random(seed)
        wire.loses = lambda _: random.random() < loss
    return wire
