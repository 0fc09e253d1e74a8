"""Tells a sender's streams that their receivers have registered again: they may have moved.

From the old path alone a sender would learn that by its silence, and late. The broker knows as soon
as the receiver has reached it from its new network. It is a help and nothing more: while the broker
is away, or if it does not tell, the silence still does.

A receiver that registers again and again, or a broker that says so, does not make senders look for
another path each time: the pauses between two such news grow.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Self

import trio

from .._broker_client.connection import BrokerConnection, unexpected
from .._broker_client.resolve import find_broker
from .._errors import BrokerLostError, P2PError
from .._net.backoff import Backoff
from .._net.barrier import Barrier
from .._net.network_changes import current_network
from .._net.nursery import open_background_nursery
from .._wire.messages import MAX_WATCHED, RegisteredAgain, Watch

logger = logging.getLogger("trio_p2p.sender")


class Registrations:
    """Tells of the registrations of one UID: an asynchronous iterator, or :meth:`wait`."""

    def __init__(self) -> None:
        self._are_new = False
        self._is_closed = False
        self._new = trio.lowlevel.ParkingLot()

    def note(self) -> None:
        """There was one."""
        self._are_new = True
        self._new.unpark_all()

    def close(self) -> None:
        """End all waiting: nothing is told of any more."""
        self._is_closed = True
        self._new.unpark_all()

    async def wait(self) -> None:
        """Wait until there was a registration since the last call, perhaps several.

        Raises:
            trio.ClosedResourceError: the peer was left.
        """
        await trio.lowlevel.checkpoint()
        while not self._are_new:
            if self._is_closed:
                raise trio.ClosedResourceError("the peer that watches was left")
            await self._new.park()
        self._are_new = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> None:
        """Wait for the next registration."""
        await self.wait()


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

    @asynccontextmanager
    async def watch(self, uid: str) -> AsyncGenerator[Registrations]:
        """Be told whenever a receiver has registered again.

        Args:
            uid: the receiver's.
        """
        line = next((each for each in self._lines if each.has_room_for(uid)), None)
        if line is None:
            line = _Line(self._broker)
            self._lines.append(line)
            self._nursery.start_soon(line.run)
        registrations = Registrations()
        line.add(uid, registrations)
        try:
            yield registrations
        finally:
            line.remove(uid, registrations)
            if line.is_idle:
                self._lines.remove(line)
                line.scope.cancel(reason="nothing is watched over it")


class _Watched:
    """One receiver, and who is told when it has registered again."""

    def __init__(self) -> None:
        self.told: list[Registrations] = []
        self._backoff = Backoff()
        self._not_before = -math.inf
        self._is_due = False

    async def note_registration(self) -> None:
        """Tell all: at once, unless that was done just now, or is going to be."""
        if self._is_due:
            return
        self._is_due = True
        if trio.current_time() < self._not_before:
            await trio.sleep_until(self._not_before)
        self._is_due = False
        self._not_before = trio.current_time() + self._backoff.next_pause()
        self._backoff.works()
        for registrations in self.told:
            registrations.note()


class _Line:
    """One connection to the broker, or the next one if it is lost.

    Attributes:
        scope: cancel it to end this.
    """

    def __init__(self, broker: tuple[str, int]) -> None:
        self.scope = trio.CancelScope()
        self._broker = broker
        self._wanted: dict[str, _Watched] = {}
        self._asked: set[str] = set()  # what the broker is going to tell, wanted or not any more
        self._more_wanted = trio.lowlevel.ParkingLot()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be told of."""
        return not self._wanted

    def has_room_for(self, uid: str) -> bool:
        """Whether the broker would tell of this UID, too."""
        return len({uid, *self._wanted, *self._asked}) <= MAX_WATCHED

    def add(self, uid: str, registrations: Registrations) -> None:
        """Tell of a receiver from now on."""
        self._wanted.setdefault(uid, _Watched()).told.append(registrations)
        self._more_wanted.unpark_all()

    def remove(self, uid: str, registrations: Registrations) -> None:
        """Do not tell of it any more."""
        self._wanted[uid].told.remove(registrations)
        if not self._wanted[uid].told:
            del self._wanted[uid]

    async def run(self) -> None:
        """Watch until cancelled."""
        backoff = Backoff()
        with self.scope:
            async with open_background_nursery() as nursery:
                while True:
                    network = current_network()
                    with Barrier(logger, "watching receivers"):
                        try:
                            await self._watch(backoff, nursery)
                        except (P2PError, OSError) as error:
                            logger.info("watching receivers at the broker failed: %s", error)
                    await backoff.rest(network)

    async def _watch(self, backoff: Backoff, nursery: trio.Nursery) -> None:
        """Watch over one connection; returns never, but raises when it is lost.

        Args:
            backoff: told when the broker has greeted.
            nursery: for news that have to wait; owned by the caller.
        """
        async with (
            await find_broker(self._broker, ()) as connection,
            open_background_nursery() as background,
        ):
            self._asked.clear()
            background.start_soon(connection.keep_alive)
            background.start_soon(self._keep_asking, connection)
            await connection.greet()
            backoff.works()
            while True:
                match await connection.receive():
                    case RegisteredAgain(uid=uid) if uid in self._asked:
                        self._asked.remove(uid)
                        if uid in self._wanted:
                            nursery.start_soon(self._wanted[uid].note_registration)
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
