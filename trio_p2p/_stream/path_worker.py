"""Moves a session's bytes over one path, and notices when that is dead."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import Protocol

import trio

from .._errors import P2PError, PathLostError, RemoteProtocolError
from .._net.network_changes import wait_stranded
from .leg import BUSY_HEARTBEAT_TIME
from .path import Path
from .session import Session
from .session_sink import former_sink_of, sink_of
from .stream_path import StreamPath

PARTING_TIME = 1.0  # seconds until the last words have left, cancelled or not
HAND_OVER_TIME = 0.02  # seconds without anybody who waits, until the reader reads by itself

logger = logging.getLogger("trio_p2p.stream")


class PathSilentError(PathLostError):
    """Nothing has come over a path for so long that it counts as lost."""


class Owner(Protocol):
    """What the worker of a path tells of it."""

    def attend(self, worker: PathWorker) -> None:
        """Something has come over the path, and the session has it."""
        ...

    def lose(self, worker: PathWorker, error: P2PError) -> None:
        """The path is gone."""
        ...

    def finish(self) -> None:
        """All is said: the session is over."""
        ...


class PathWorker:
    """The tasks that read and write a path, and notice when this host has moved away from it.

    Whoever waits for what they do does it himself meanwhile, so that no other task has to be
    waked up for it; they take over again if nobody waits.

    Args:
        path: the path, which is the worker's own.
        described: what it is.
        session: the session that it carries.
        owner: who is told of it.

    Attributes:
        path: the path.
    """

    def __init__(self, path: Path, described: StreamPath, session: Session, owner: Owner) -> None:
        self.path = path
        self._described = described
        self._session = session
        self._owner = owner
        self._scope = trio.CancelScope()
        self._is_current = True
        self._writer = trio.lowlevel.ParkingLot()
        self._writer_wakes_at = math.inf
        self._flushing: trio.CancelScope | None = None  # of the task in _finish_sending()
        self._let_go = trio.lowlevel.ParkingLot()
        self._last_words = b""
        self._reader = trio.lowlevel.ParkingLot()
        self._reader_wakes_at = math.inf
        self._reader_reads = True
        self._driver: trio.lowlevel.ParkingLot | None = None  # on whose behalf drive() reads
        self._hand_over_at = -math.inf

    async def run(self) -> None:
        """Read and write until the path is gone; then :meth:`part` has to follow."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._lose_when_stranded)
                await self._read()

    async def part(self) -> None:
        """Say the last words that :meth:`close` could not say at once, and close the path."""
        try:
            if self._last_words:
                with trio.move_on_after(PARTING_TIME, shield=True):
                    if self._flushing is not None:  # until the task that sends has let go
                        await self._let_go.park()
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self.path.finish_sending()
                        self.path.send_at_once(self._last_words)
        finally:
            self.path.close()

    def push(self) -> None:
        """Send what the session has to say; the writer does what has to wait."""
        if self._send_at_once():
            self._writer.unpark_all()

    async def send(self) -> bool:
        """Like :meth:`push`, but wait until the path has taken everything.

        If the writer is at it already, that goes on alone.

        Returns:
            Whether this has waited.
        """
        has_waited = False
        while self._send_at_once() and self._flushing is None and self._is_wanted:
            has_waited = True
            try:
                await self._finish_sending()
            finally:
                if self.path.is_sending:
                    self._writer.unpark_all()
        return has_waited

    def release(self) -> None:
        """Let the task go that waits in :meth:`send`; the writer does the rest."""
        if self._flushing is not None:
            self._flushing.cancel(reason="what was being sent is not waited for any more")

    async def drive(self, lot: trio.lowlevel.ParkingLot) -> bool:
        """Receive something for the session, or wait until somebody has.

        Args:
            lot: where to park if somebody else receives.

        Returns:
            Whether this has waited.
        """
        if self._reader_reads or self._driver is not None:
            await lot.park()
            return True
        self._driver = lot
        try:
            return await self._receive()
        finally:
            self._driver = None
            self.expect_driver()
            if self._hand_over_at < self._reader_wakes_at:
                self._reader.unpark_all()

    def is_driven_for(self, lot: trio.lowlevel.ParkingLot) -> bool:
        """Whether somebody is in :meth:`drive` who would have parked there."""
        return self._driver is lot

    def expect_driver(self) -> None:
        """Somebody is going to drive soon; if nobody does, the reader takes over."""
        self._hand_over_at = trio.current_time() + HAND_OVER_TIME

    def read_alone(self) -> None:
        """Nobody is going to drive any more."""
        self._hand_over_at = -math.inf
        self._reader.unpark_all()

    def leave(self) -> None:
        """Nothing more is sent over the path, and only the reader reads it."""
        self._is_current = False
        self.path.interrupt()
        self._reader.unpark_all()
        self._writer.unpark_all()

    def close(self, last_words: bytes = b"") -> None:
        """Close the path, and end the tasks.

        Args:
            last_words: what to say before: at once, or if something is being sent, behind it.
        """
        self._is_current = False
        self.release()
        if last_words and self.path.is_sending:
            self._last_words = last_words
        else:
            self.path.send_at_once(last_words)
            self.path.close()
        self._scope.cancel(reason="the path is left")

    def _send_at_once(self) -> bool:
        """Send what needs no waiting; whether something is left."""
        path, session = self.path, self._session
        if not self._is_current:
            return False
        now, has_more = trio.current_time(), True
        try:
            while has_more and not path.is_sending:
                pieces = session.pieces_to_send(now)
                has_more = bool(pieces) and session.has_more_to_send
                if pieces:
                    path.start_sending(pieces)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose(_loss_of(error))
            return False
        if session.is_over:
            self._owner.finish()
        if (
            self._writer_wakes_at > now + BUSY_HEARTBEAT_TIME
            and self._writer_wakes_at > self._due_at()
        ):
            self._writer.unpark_all()
        return path.is_sending

    @property
    def _is_wanted(self) -> bool:
        """Whether the other side still takes what this one sends."""
        return not (self._session.is_over or self._session.peer_is_closed)

    async def _finish_sending(self) -> None:
        self._flushing = trio.CancelScope()
        try:
            with self._flushing:
                await self.path.finish_sending()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose(_loss_of(error))
        finally:
            self._flushing = None
            self._let_go.unpark_all()

    async def _lose_when_stranded(self) -> None:
        await wait_stranded(self._described.local.address, self._described.remote)
        self._lose(PathLostError("this host has changed networks"))

    async def _write(self) -> None:
        while self._is_current:
            if trio.current_time() >= self._session.dead_at():
                self._lose(PathSilentError("nothing has come from the other side"))
                return
            self.push()
            self._writer_wakes_at = self._due_at()
            with trio.CancelScope(deadline=self._writer_wakes_at):
                if self.path.is_sending and self._flushing is None:
                    await self._finish_sending()
                else:
                    await self._writer.park()

    def _due_at(self) -> float:
        """When the writer has to look after the path even if nothing happens."""
        return min(self._session.heartbeat_at(), self._session.dead_at())

    async def _read(self) -> None:
        while not self._session.is_over:
            is_driven = self._driver is not None
            if is_driven or (self._is_current and trio.current_time() < self._hand_over_at):
                self._reader_reads = False
                self._reader_wakes_at = math.inf if is_driven else self._hand_over_at
                with trio.CancelScope(deadline=self._reader_wakes_at):
                    await self._reader.park()
                continue
            self._reader_reads = True
            if not await self._receive():
                await trio.lowlevel.checkpoint()  # others want to do something, too

    async def _receive(self) -> bool:
        """Give the session what comes next; whether that had to be waited for."""
        has_waited = False
        try:
            while (count := self._receive_at_once()) is None:
                if self._driver is not None and not self._is_current:
                    return has_waited  # the path was left meanwhile, and the reader has to read
                await self.path.wait_receive_might_not_block()
                has_waited = True
        except trio.ClosedResourceError:
            return has_waited  # by us, or we were interrupted
        except trio.BrokenResourceError as error:
            self._lose(_loss_of(error))
            return has_waited
        if count or self._session.is_over:
            self._owner.attend(self)
        else:
            self._lose(PathLostError("the other side has closed the connection"))
        return has_waited

    def _receive_at_once(self) -> int | None:
        sink_at = sink_of if self._is_current else former_sink_of
        try:
            return self.path.receive_at_once(sink_at(self._session, trio.current_time()))
        except RemoteProtocolError as error:
            logger.warning("stream broken, as the peer violated the protocol: %s", error)
            self._session.fail(error)
            return 0

    def _lose(self, error: P2PError) -> None:
        if self._is_current:
            sink = sink_of(self._session, trio.current_time())
            # What came before a reset is good, and may be a farewell.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
                while self.path.receive_at_once(sink):
                    pass
        self._owner.lose(self, error)


def _loss_of(error: Exception) -> P2PError:
    cause = error.__cause__
    return cause if isinstance(cause, P2PError) else PathLostError(str(error))
