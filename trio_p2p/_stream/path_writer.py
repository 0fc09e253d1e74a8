"""Sends what a session has to say over one path."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import trio

from .path import Path
from .session import Session
from .sleeper import Sleeper

SLOW_RATE = 12_500_000  # bytes per second: less is a slow path
SLOW_UNSENT_BYTES = 16_384  # how much unsent data the kernel holds of a slow path
FAST_UNSENT_BYTES = 2**31 - 1
PARTING_TIME = 1.0  # seconds until the last words have left, cancelled or not


class WriterOwner(Protocol):
    """What a writer tells."""

    def sent(self, now: float) -> None:
        """What there was to say has left, as far as that needed no waiting."""
        ...

    def broke(self, error: Exception) -> None:
        """The path is broken."""
        ...


class PathWriter:
    """Sends in its own task, or in that of a caller that would have to wait for it.

    Args:
        path: the path.
        session: the session that it carries.
        owner: is told.

    Attributes:
        is_current: whether the path still carries the session.
    """

    def __init__(self, path: Path, session: Session, owner: WriterOwner) -> None:
        self.is_current: bool = True
        self._path = path
        self._session = session
        self._owner = owner
        self._idle = Sleeper()
        self._is_due = True  # the hello
        self._flushing: trio.CancelScope | None = None  # of the task in _finish_sending()
        self._let_go = trio.lowlevel.ParkingLot()
        self._last_words = b""

    async def run(self) -> None:
        """Send what has to wait, until the path is left."""
        while self.is_current:
            if self._is_due:
                await trio.lowlevel.checkpoint()  # the tasks that run now may have more to say
                if self._is_due:
                    self._send_at_once()
            if self._path.is_sending and self._flushing is None:
                await self._finish_sending()
                self._is_due = True
            elif not self._is_due:
                await self._idle.sleep()

    def wake(self) -> None:
        """Let the writer's task look what there is to do."""
        self._idle.wake()

    def push(self) -> None:
        """Send what needs no waiting; the writer's task does the rest."""
        if self._send_at_once():
            self._idle.wake()

    def push_soon(self) -> None:
        """Send when all tasks that can run have had their turn.

        What they have to say until then leaves together with it.
        """
        if not self._is_due:
            self._is_due = True
            self._idle.wake()

    def flush(self) -> None:
        """Do now what :meth:`push_soon` has put off, if it has."""
        if self._is_due:
            self.push()

    async def send(self, is_wanted: Callable[[], bool]) -> bool:
        """Like :meth:`push`, but wait until the path has taken what is wanted.

        If another task is at it already, that goes on alone.

        Args:
            is_wanted: whether something is left that is to be sent.

        Returns:
            Whether this has waited.
        """
        has_waited = False
        try:
            while self._send_at_once() and self._flushing is None and self._is_wanted:
                has_waited = True
                await self._finish_sending()
                if not is_wanted():
                    self._send_at_once()
                    break
        finally:
            if self._path.is_sending:
                self._idle.wake()
        return has_waited

    def release(self) -> None:
        """Let the task go that waits in :meth:`send`; the writer's task does the rest."""
        if self._flushing is not None:
            self._flushing.cancel(reason="what was being sent is not waited for any more")

    def close(self, last_words: bytes) -> None:
        """Send nothing more but last words: at once, or in :meth:`part` behind what is under way.

        Args:
            last_words: what to say.
        """
        self.is_current = False
        self.release()
        if last_words and self._path.is_sending:
            self._last_words = last_words
        else:
            self._path.send_at_once(last_words)
            self._path.close()

    async def part(self) -> None:
        """Say the last words that :meth:`close` could not say at once."""
        if self._last_words:
            with trio.move_on_after(PARTING_TIME, shield=True):
                if self._flushing is not None:  # until the task that sends has let go
                    await self._let_go.park()
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._path.finish_sending()
                    self._path.send_at_once(self._last_words)

    def _send_at_once(self) -> bool:
        """Send what needs no waiting; whether something is left."""
        path, session = self._path, self._session
        if not self.is_current:
            return False
        self._is_due = False
        now, has_more = trio.current_time(), True
        try:
            while has_more and not path.is_sending:
                pieces = session.pieces_to_send(now)
                has_more = bool(pieces) and session.has_more_to_send
                if pieces:
                    path.start_sending(pieces)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._owner.broke(error)
            return False
        self._owner.sent(now)
        return path.is_sending

    @property
    def _is_wanted(self) -> bool:
        """Whether the other side still takes what this one sends."""
        return not (self._session.is_over or self._session.peer_is_closed)

    def _note_speed(self, *, is_slow: bool) -> None:
        """Over a slow path what is sent next waits for what was sent before: that is kept short."""
        if is_slow != self._session.is_slow:
            self._session.is_slow = is_slow
            self._path.limit_unsent(SLOW_UNSENT_BYTES if is_slow else FAST_UNSENT_BYTES)

    async def _finish_sending(self) -> None:
        self._flushing = trio.CancelScope()
        self._note_speed(is_slow=0 < self._path.delivery_rate < SLOW_RATE)
        try:
            with self._flushing:
                await self._path.finish_sending()
        except trio.ClosedResourceError as error:
            if self._path.is_closed:
                self._owner.broke(error)  # else a task that reads was interrupted
        except trio.BrokenResourceError as error:
            self._owner.broke(error)
        finally:
            self._flushing = None
            self._let_go.unpark_all()
