"""Tells of the registrations of UIDs: their receivers may have come, or moved.

From the old path alone a sender would learn that a receiver has moved by the path's silence, and
late. The broker knows as soon as the receiver has reached it from its new network. It is a help and
nothing more: while the broker is away, or if it does not tell, the silence still does.

A receiver that registers again and again, or a broker that says so, does not make senders look for
another path each time: the pauses between two such news grow.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Set as AbstractSet
from contextlib import contextmanager, suppress
from typing import Protocol, Self

import trio

from .._errors import BrokerLostError
from .._net.backoff import Backoff
from .._wire.messages import MAX_WATCHED


class Registrations:
    """Tells of the registrations of one UID: an asynchronous iterator, or :meth:`wait`."""

    def __init__(self) -> None:
        self._are_new = False
        self._is_closed = False
        self._new = trio.lowlevel.ParkingLot()

    def note(self) -> None:
        """Note that the UID was registered."""
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


class Link(Protocol):
    """A connection to the broker."""

    async def watch(self, *uids: str) -> None:
        """Have the broker tell once when these UIDs are registered."""

    async def unwatch(self, *uids: str) -> None:
        """Have the broker not tell of these UIDs any more."""


class _Watched:
    """One UID, and the iterators that are told when it is registered again."""

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


class Watches:
    """What is watched, whichever connection to the broker the news come over.

    Attributes:
        changed: where to park until more is watched, or less.
    """

    def __init__(self) -> None:
        self.changed = trio.lowlevel.ParkingLot()
        self._watched: dict[str, _Watched] = {}

    def __len__(self) -> int:
        """How many UIDs are watched."""
        return len(self._watched)

    @contextmanager
    def watching(self, uid: str) -> Generator[Registrations]:
        """Watch a UID while the block lasts."""
        registrations = Registrations()
        watched = self._watched.setdefault(uid, _Watched())
        watched.told.append(registrations)
        self.changed.unpark_all()
        try:
            yield registrations
        finally:
            watched.told.remove(registrations)
            if not watched.told:
                del self._watched[uid]
                self.changed.unpark_all()

    def to_ask(self, asked: AbstractSet[str]) -> list[str]:
        """What the broker is to be asked to tell of, as far as it has not been.

        Args:
            asked: what it is going to tell of. It tells of so many UIDs and no more; the
                receivers of others show by silence that they have moved.
        """
        new = [uid for uid in self._watched if uid not in asked]
        return new[: MAX_WATCHED - len(asked)]

    def to_forget(self, asked: AbstractSet[str]) -> list[str]:
        """What the broker need not tell of any more.

        Args:
            asked: what it is going to tell of.
        """
        return [uid for uid in asked if uid not in self._watched]

    async def ask(self, link: Link, asked: set[str]) -> None:
        """Have the broker tell of what is watched now.

        Args:
            link: the connection to it.
            asked: what it is going to tell of.
        """
        gone, new = self.to_forget(asked), self.to_ask(asked)
        asked.difference_update(gone)
        asked.update(new)
        with suppress(BrokerLostError):  # the task that receives is told
            if gone:
                await link.unwatch(*gone)
            if new:
                await link.watch(*new)

    async def note_registration(self, uid: str) -> None:
        """Tell all that watch a UID that it was registered, perhaps after a pause."""
        if uid in self._watched:
            await self._watched[uid].note_registration()
