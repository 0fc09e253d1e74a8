"""Tells a sender's streams that their receivers have registered again: they may have moved.

From the old path alone a sender would learn that by its silence, and late. The broker knows as soon
as the receiver has reached it from its new network. It is a help and nothing more: while the broker
is away, or if it does not tell, the silence still does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import trio

from .._broker_client.connection import BrokerConnection, unexpected
from .._broker_client.resolve import find_broker
from .._errors import BrokerLostError, P2PError
from .._net.backoff import Backoff
from .._net.network_changes import current_network
from .._net.nursery import open_background_nursery
from .._wire.messages import MAX_WATCHED, RegisteredAgain, Watch

LASTING_TIME = 30.0  # seconds that a connection has to last to be no reason for pauses

logger = logging.getLogger("trio_p2p.sender")

Tell: TypeAlias = Callable[[], None]


class Watcher:
    """Watches receivers for all streams of a sender, over one connection if that is enough.

    Args:
        broker: host and port.
        nursery: owns the connections.
    """

    def __init__(self, broker: tuple[str, int], nursery: trio.Nursery) -> None:
        self._broker = broker
        self._nursery = nursery
        self._lines: list[_Line] = []

    async def watch(self, uid: str, tell: Tell) -> None:
        """Call a function whenever a receiver has registered again, until cancelled.

        Args:
            uid: the receiver's.
            tell: the function. What it makes others do comes too late for no registration: the
                broker is asked for the next one before.
        """
        line = next((each for each in self._lines if each.has_room_for(uid)), None)
        if line is None:
            line = _Line(self._broker)
            self._lines.append(line)
            self._nursery.start_soon(line.run)
        line.add(uid, tell)
        try:
            await trio.sleep_forever()
        finally:
            line.remove(uid, tell)
            if line.is_idle:
                self._lines.remove(line)
                line.scope.cancel(reason="nobody watches anybody over it")


class _Line:
    """One connection to the broker, or the next one if it is lost.

    Attributes:
        scope: cancel it to end this.
    """

    def __init__(self, broker: tuple[str, int]) -> None:
        self.scope = trio.CancelScope()
        self._broker = broker
        self._wanted: dict[str, list[Tell]] = {}
        self._asked: set[str] = set()  # what the broker is going to tell, wanted or not any more
        self._more_wanted = trio.lowlevel.ParkingLot()

    @property
    def is_idle(self) -> bool:
        """Whether nobody wants to be told of anything."""
        return not self._wanted

    def has_room_for(self, uid: str) -> bool:
        """Whether the broker would tell of this UID, too."""
        return len({uid, *self._wanted, *self._asked}) <= MAX_WATCHED

    def add(self, uid: str, tell: Tell) -> None:
        """Call a function from now on."""
        self._wanted.setdefault(uid, []).append(tell)
        self._more_wanted.unpark_all()

    def remove(self, uid: str, tell: Tell) -> None:
        """Do not call it any more."""
        self._wanted[uid].remove(tell)
        if not self._wanted[uid]:
            del self._wanted[uid]

    async def run(self) -> None:
        """Watch until cancelled."""
        backoff = Backoff()
        with self.scope:
            while True:
                began_at, network = trio.current_time(), current_network()
                try:
                    await self._watch()
                except (P2PError, OSError) as error:
                    logger.info("watching receivers at the broker failed: %s", error)
                if trio.current_time() >= began_at + LASTING_TIME:
                    backoff.reset()
                await backoff.rest(network)

    async def _watch(self) -> None:
        """Watch over one connection; returns never, but raises when it is lost."""
        async with (
            await find_broker(self._broker, ()) as connection,
            open_background_nursery() as nursery,
        ):
            self._asked.clear()
            nursery.start_soon(connection.keep_alive)
            nursery.start_soon(self._keep_asking, connection)
            while True:
                match await connection.receive():
                    case RegisteredAgain(uid=uid) if uid in self._asked:
                        self._asked.remove(uid)
                        for tell in self._wanted.get(uid, ()):
                            tell()
                        await self._ask(connection)
                    case message:
                        raise unexpected(message)

    async def _keep_asking(self, connection: BrokerConnection) -> None:
        with suppress(BrokerLostError):  # whoever receives is told
            while True:
                await self._ask(connection)
                await self._more_wanted.park()

    async def _ask(self, connection: BrokerConnection) -> None:
        """Have the broker tell of what is wanted, as far as it is not going to do so already."""
        new = [uid for uid in self._wanted if uid not in self._asked]
        self._asked.update(new)
        if new:
            await connection.send(*map(Watch, new))
