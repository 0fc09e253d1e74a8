"""The connections of a peer that are not over, and what becomes of them when it is left."""

from __future__ import annotations

import trio

from .p2p_connection import P2PConnection
from .tracer import Tracer

LOOKING_TIME = 15.0  # seconds from one look after a connection to the next


class OpenConnections:
    """Owns the tasks of connections, and tells of what happens to them.

    Args:
        nursery: for the tasks.
        tracer: is told.
    """

    def __init__(self, nursery: trio.Nursery, tracer: Tracer) -> None:
        self.nursery = nursery
        self._tracer = tracer
        self._connections: dict[P2PConnection, None] = {}
        self._one_ended = trio.lowlevel.ParkingLot()
        self._is_left = False

    def __len__(self) -> int:
        """How many there are."""
        return len(self._connections)

    @property
    def streams(self) -> int:
        """How many streams they have."""
        return sum(connection.statistics().streams for connection in self._connections)

    @property
    def is_any_without_path(self) -> bool:
        """Whether a connection waits for another path."""
        return any(each.path is None and not each.is_over for each in self._connections)

    def add(self, connection: P2PConnection) -> None:
        """A connection begins; it is closed if all are being left."""
        self._connections[connection] = None
        self._tracer.connection_opened(connection)
        self.nursery.start_soon(self._follow, connection)
        if self._is_left:
            connection.leave()

    async def leave(self, grace: float) -> None:
        """Abort streams that are open, and wait until those that are closed have said everything.

        Args:
            grace: for how many seconds at most.
        """
        self._is_left = True
        for connection in list(self._connections):
            connection.leave()
        with trio.move_on_after(grace):
            while self._connections:
                await self._one_ended.park()

    async def _follow(self, connection: P2PConnection) -> None:
        path = None
        looks_at = trio.current_time() + LOOKING_TIME
        try:
            while not connection.is_over:
                if connection.path != path:
                    path = connection.path
                    self._tracer.path_changed(connection, path)
                    connection.tell_path()
                with trio.move_on_at(looks_at) as until_look:
                    await connection.carrier.path_changed.park()
                if until_look.cancelled_caught:
                    now = trio.current_time()
                    connection.look_after(now)
                    looks_at = now + LOOKING_TIME
        finally:
            connection.end()
            del self._connections[connection]
            self._one_ended.unpark_all()
            self._tracer.connection_closed(connection)
