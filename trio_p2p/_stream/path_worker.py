"""Moves a session's bytes over one path, and notices when that is dead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import trio

from .._errors import P2PError, PathLostError, RemoteProtocolError
from .._net.network_changes import wait_stranded
from .leg import BUSY_HEARTBEAT_TIME
from .path import Path
from .path_reader import PathReader
from .path_writer import PathWriter
from .session import Session
from .session_sink import sink_of
from .stream_path import StreamPath

# How often bytes are read that came before a path was lost, without a checkpoint; the rest counts
# as lost with the path.
LAST_TURNS = 16


class PathSilentError(PathLostError):
    """Nothing has come over a path for so long that it counts as lost."""


class Owner(Protocol):
    """What the worker of a path tells of it."""

    def attend(self, worker: PathWorker) -> None:
        """Something has come over the path, and the session has it."""
        ...

    def tell_sent(self) -> None:
        """Something has left."""
        ...

    def lose(self, worker: PathWorker, error: P2PError) -> None:
        """The path is gone."""
        ...

    def finish(self) -> None:
        """The session is over: nothing is left to be said."""
        ...


class PathWorker:
    """The tasks that read and write a path, and notice when this host has moved away from it.

    Args:
        path: the path, which is the worker's own.
        described: what it is.
        session: the session that it carries.
        owner: told of what happens on the path.

    Attributes:
        path: the path.
    """

    def __init__(self, path: Path, described: StreamPath, session: Session, owner: Owner) -> None:
        self.path = path
        self._described = described
        self._session = session
        self._owner = owner
        self._reader = PathReader(path, session, self)
        self._writer = PathWriter(path, session, self)
        self._scope = trio.CancelScope()
        self._watching = trio.CancelScope()
        self._is_current = True

    async def run(self) -> None:
        """Read and write until the path is gone; then :meth:`part` has to follow."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._writer.run)
                nursery.start_soon(self._watch)
                await self._reader.run()

    async def part(self) -> None:
        """Say the last words that :meth:`close` could not say at once, and close the path."""
        try:
            await self._writer.part()
        finally:
            self.path.close()

    def push(self) -> None:
        """Send what the session has to say; a task of the worker's does what has to wait."""
        self._writer.push()

    def push_soon(self) -> None:
        """Like :meth:`push`, but when all tasks that can run have had their turn."""
        now = trio.current_time()
        if self._session.has_news(now):
            self._writer.push_soon()
        else:
            self._hurry(now)

    def flush(self) -> None:
        """Do now what :meth:`push_soon` has put off, if it has."""
        self._writer.flush()

    async def send(self, is_wanted: Callable[[], bool]) -> bool:
        """Like :meth:`push`, but wait until the path has taken what is wanted."""
        return await self._writer.send(is_wanted)

    def release(self) -> None:
        """Let the task go that waits in :meth:`send`."""
        self._writer.release()

    @property
    def can_be_driven(self) -> bool:
        """Whether :meth:`drive` may be called."""
        return self._reader.can_be_driven

    async def drive(self) -> None:
        """Receive something in place of the worker's task."""
        await self._reader.drive()

    def stop_driving(self) -> None:
        """Let the task go that waits in :meth:`drive`."""
        self._reader.stop_driving()

    def expect_driver(self) -> None:
        """Another task is going to drive soon."""
        self._reader.expect_driver()

    def read_alone(self) -> None:
        """No other task is going to drive any more."""
        self._reader.read_alone()

    def leave(self) -> None:
        """Nothing more is sent over the path, and only the worker's task reads it."""
        self._is_current = self._reader.is_current = self._writer.is_current = False
        self.path.interrupt()
        self._reader.read_alone()
        self._writer.wake()

    def close(self, last_words: bytes = b"") -> None:
        """Close the path, and end the tasks.

        Args:
            last_words: what to say before: at once, or if something is being sent, behind it.
        """
        self._is_current = self._reader.is_current = False
        self._writer.close(last_words)
        self._scope.cancel(reason="the path is left")

    # What the reader and the writer tell.

    def sent(self, now: float) -> None:
        """What there was to say has left, as far as that needed no waiting."""
        self._owner.tell_sent()
        if self._session.is_over:
            self._owner.finish()
        self._hurry(now)

    def came(self) -> None:
        """Something has come."""
        self._owner.attend(self)

    def ended(self) -> None:
        """The other side has closed the path."""
        self._lose(PathLostError("the other side has closed the connection"))

    def broke(self, error: Exception) -> None:
        """The path is broken."""
        cause = error.__cause__
        self._lose(cause if isinstance(cause, P2PError) else PathLostError(str(error)))

    # Inside.

    async def _watch(self) -> None:
        """Say something in time, and notice when the path is silent, or leads from nowhere."""
        while self._is_current:
            with trio.CancelScope(deadline=self._due_at()) as self._watching:
                await wait_stranded(self._described.local.address, self._described.remote)
                self._lose(PathLostError("this host has changed networks"))
                return
            if trio.current_time() >= self._session.dead_at():
                self._lose(PathSilentError("nothing has come from the other side"))
                return
            self._writer.push()

    def _due_at(self) -> float:
        """When the path has to be looked after even if nothing happens."""
        return min(self._session.heartbeat_at(), self._session.dead_at())

    def _hurry(self, now: float) -> None:
        """Look after the path sooner than was planned, if need be."""
        planned = self._watching.deadline
        if planned > now + BUSY_HEARTBEAT_TIME and planned > (due := self._due_at()):
            self._watching.deadline = due

    def _lose(self, error: P2PError) -> None:
        if self._is_current:
            # What came before a reset is good, and may be a farewell.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
                now = trio.current_time()
                for _ in range(LAST_TURNS):
                    if not self.path.receive_at_once(sink_of(self._session, now)):
                        break
        self._owner.lose(self, error)
