"""Receives what comes over one path for a session."""

from __future__ import annotations

import logging
import math
from typing import Protocol

import trio

from .._errors import RemoteProtocolError
from .path import Path
from .session import Session
from .session_sink import former_sink_of, sink_of

HAND_OVER_TIME = 0.005  # seconds without a task that drives, until the reader's task reads

logger = logging.getLogger("trio_p2p.stream")


class ReaderOwner(Protocol):
    """What a reader tells."""

    def came(self) -> None:
        """Something has come, and the session has it."""
        ...

    def ended(self) -> None:
        """The other side has closed the path."""
        ...

    def broke(self, error: Exception) -> None:
        """The path is broken."""
        ...


class PathReader:
    """Receives in its own task, or in that of a caller that waits for what comes.

    A task that waits does it itself, so that no other task has to be waked up for it; the
    reader's task takes over again when none waits, or several do.

    Args:
        path: the path.
        session: the session that it carries.
        owner: is told.

    Attributes:
        is_current: whether the path still carries the session.
    """

    def __init__(self, path: Path, session: Session, owner: ReaderOwner) -> None:
        self.is_current: bool = True
        self._path = path
        self._session = session
        self._owner = owner
        self._parked = trio.lowlevel.ParkingLot()
        self._parking = trio.CancelScope()
        self._is_reading = True  # in the reader's task
        self._is_driven = False
        self._hand_over_at = -math.inf

    async def run(self) -> None:
        """Receive until the path is gone, or the session is over."""
        while not self._session.is_over:
            if self._is_driven or (self.is_current and trio.current_time() < self._hand_over_at):
                self._is_reading = False
                deadline = math.inf if self._is_driven else self._hand_over_at
                with trio.CancelScope(deadline=deadline) as self._parking:
                    await self._parked.park()
                continue
            self._is_reading = True
            if not await self._receive():
                await trio.lowlevel.checkpoint()  # other tasks want to do something, too

    @property
    def can_be_driven(self) -> bool:
        """Whether :meth:`drive` may be called."""
        return not (self._is_reading or self._is_driven)

    async def drive(self) -> None:
        """Receive something in place of the reader's task."""
        self._is_driven = True
        try:
            has_waited = await self._receive()
        finally:
            self._is_driven = False
            self.expect_driver()
            self._parking.deadline = min(self._parking.deadline, self._hand_over_at)
        if not has_waited:  # what came need not be for the caller, who would come back at once
            await trio.lowlevel.checkpoint()

    def stop_driving(self) -> None:
        """Let the task go that waits in :meth:`drive`."""
        if self._is_driven:
            self._path.interrupt()

    def expect_driver(self) -> None:
        """Another task is going to drive soon; if none does, the reader's task takes over."""
        self._hand_over_at = trio.current_time() + HAND_OVER_TIME

    def read_alone(self) -> None:
        """No other task is going to drive."""
        self._hand_over_at = -math.inf
        self._parked.unpark_all()

    async def _receive(self) -> bool:
        """Give the session what comes next; whether that had to be waited for."""
        has_waited = False
        try:
            if self._path.expects_to_wait and self.is_current:
                await self._path.wait_receive_might_not_block()
                has_waited = True
            while (count := self._receive_at_once()) is None:
                if self._is_driven and not self.is_current:
                    return has_waited  # the path was left meanwhile, and the reader has to read
                await self._path.wait_receive_might_not_block()
                has_waited = True
        except trio.ClosedResourceError:
            return has_waited  # by us, or we were interrupted
        except trio.BrokenResourceError as error:
            self._owner.broke(error)
            return has_waited
        if count or self._session.is_over:
            self._owner.came()
        else:
            self._owner.ended()
        return has_waited

    def _receive_at_once(self) -> int | None:
        sink_at = sink_of if self.is_current else former_sink_of
        try:
            return self._path.receive_at_once(sink_at(self._session, trio.current_time()))
        except RemoteProtocolError as error:
            logger.warning("connection broken, as the peer violated the protocol: %s", error)
            self._session.fail(error)
            return 0
