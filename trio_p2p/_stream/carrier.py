"""Carries a session: moves its bytes over the current path, and notices when that is dead."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress

import trio

from .._errors import (
    NotAdmittedError,
    P2PError,
    PathLostError,
    RemoteProtocolError,
    StreamAbortedError,
)
from .frames import Hello
from .last_words import last_words_untrusted
from .leg import BUSY_HEARTBEAT_TIME
from .path import Path
from .session import Session
from .states import State
from .stream_path import StreamPath

# Seconds.
DEFAULT_GRACE = 60.0  # without a path, until a stream is given up
CLOSING_TIME = 60.0  # that the other side has to answer a close, which takes a round trip
HAND_OVER_TIME = 0.02  # without anybody who waits for bytes, until the reader reads by itself

_LEFT = "the context that the stream was opened in has been left"

logger = logging.getLogger("trio_p2p.stream")


class Carrier:
    """One session and its current path.

    Args:
        session: the session.
        grace: for how many seconds to wait for another path when one is lost.
        nursery: the owner's; :meth:`run` is to be started in it, too.

    Attributes:
        session: the session. Whoever changes it calls :meth:`push`.
        path: what carries it now, if anything does.
        loss: why the last path was lost.
        readable, roomy, path_changed: where to park until there may be something to read, or
            room to write, or another path or none or the end.
    """

    def __init__(self, session: Session, grace: float, nursery: trio.Nursery) -> None:
        self.session = session
        self.path: StreamPath | None = None
        self.readable: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self.roomy: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self.path_changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._grace = grace
        self.loss: P2PError | None = None
        self._writer = trio.lowlevel.ParkingLot()
        self._writer_wakes_at = math.inf
        self._reader = trio.lowlevel.ParkingLot()
        self._reader_wakes_at = math.inf
        self._reader_reads = True
        self._is_driven = False  # by somebody in receive_more()
        self._hand_over_at = -math.inf
        self._connection: Path | None = None
        self._circuit = b""
        self._former: Path | None = None  # which is read until the new one is greeted on
        self._former_scope: trio.CancelScope
        self._scope: trio.CancelScope
        self._nursery = nursery

    async def run(self) -> None:
        """Carry the session until it is over; break it if cancelled."""
        try:
            while not self.session.is_over:
                await self._wait_for_change()
        finally:
            self.end(_LEFT)
            logger.info("a stream is over: %s", self.session.error or "all is said")

    def attach(
        self,
        connection: Path,
        path: StreamPath,
        *,
        circuit: bytes = b"",
        hello: Hello | None = None,
    ) -> bool:
        """Carry the session over a path from now on; whatever carried it before is closed.

        Args:
            connection: the path, which is ours if we take it.
            path: what the path is.
            circuit: the id of the relay's circuit, if it is one.
            hello: the other side's, if it opened the path.

        Returns:
            False if there is a newer one already, or the session is over.

        Raises:
            RemoteProtocolError: the hello claims what cannot be.
        """
        now = trio.current_time()
        if hello is not None:
            if not self.session.accept_path(hello, now):
                return False
        elif self.session.is_over:
            return False
        else:
            self.session.open_path(now)
        if hello is None and self._connection is not None and self._former is None:
            self._begin_leaving(self._connection)
        else:
            self._leave_path()
        self._connection, self.path, self._circuit = connection, path, circuit
        self._reader_reads = True
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._carry, connection, self._scope)
        logger.info("a stream's path is %s", path)
        self.path_changed.unpark_all()
        return True

    def received_untrusted(self, data: bytes | memoryview) -> None:
        """Give the session what came over the current path, and send what it says to that."""
        self._give(data, self.session.received_untrusted)
        if self._former is not None and self.session.state is not State.GREETING:
            self._drop_former()

    def _give(
        self,
        data: bytes | memoryview,
        receive_untrusted: Callable[[bytes | memoryview, float], None],
    ) -> None:
        session = self.session
        try:
            receive_untrusted(data, trio.current_time())
        except RemoteProtocolError as error:
            logger.warning("a stream is broken by the other side: %s", error)
            session.fail(error)
        if self.readable:
            self.readable.unpark_all()
            self._hand_over_at = trio.current_time() + HAND_OVER_TIME  # to who is waked here
        if session.is_over or session.peer_is_closed:
            self.path_changed.unpark_all()
            self.roomy.unpark_all()
        elif self.roomy and session.room:
            self.roomy.unpark_all()
        if not (self._is_driven and session.has_input):  # else whoever reads it pushes then
            self.push()

    def push(self) -> None:
        """Send what the session has to say, as much as needs no waiting; the writer does the rest.

        Call it whenever the session has something new to say.
        """
        connection, session = self._connection, self.session
        if connection is None:
            return
        try:
            while not connection.is_sending:
                pieces = session.pieces_to_send(trio.current_time())
                if not pieces:
                    break
                connection.start_sending(pieces)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose(connection, _loss_of(error))
            return
        if session.is_over:  # because all is said now
            self.path_changed.unpark_all()
        if connection.is_sending or (
            self._writer_wakes_at > trio.current_time() + BUSY_HEARTBEAT_TIME
            and self._writer_wakes_at > self._due_at()
        ):
            self._writer.unpark_all()

    async def receive_more(self) -> bool:
        """Receive something for the session, or wait until somebody has.

        Whoever waits reads the path itself, so that no other task has to wake it up; the reader
        takes over again if nobody waits for a while.

        Returns:
            Whether this has waited.
        """
        connection = self._connection
        if connection is None or self._reader_reads or self._is_driven:
            await self.readable.park()
            return True
        self._is_driven = True
        try:
            return await self._receive(connection, is_driver=True)
        finally:
            self._is_driven = False
            self._hand_over_at = trio.current_time() + HAND_OVER_TIME
            if self._hand_over_at < self._reader_wakes_at:
                self._reader.unpark_all()

    def close(self) -> None:
        """Close the session; :meth:`run` ends when the other side has got everything."""
        if not self.session.is_over:
            self.session.close(trio.current_time())
            self.push()
            self._hand_over_at = -math.inf  # nobody is going to read any more
            self._reader.unpark_all()
        if self.session.is_over:
            self.end()
        for lot in (self.readable, self.roomy, self.path_changed):
            lot.unpark_all()

    def end(self, reason: str = "the stream was closed without waiting") -> None:
        """End everything at once: say farewell, close the path, and wake all who wait."""
        if self._connection is not None:
            self._connection.send_at_once(self.session.farewell())
            self._leave_path()
        self._drop_former()
        self.session.fail(StreamAbortedError(reason))
        for lot in (self.readable, self.roomy, self.path_changed):
            lot.unpark_all()

    async def _wait_for_change(self) -> None:
        session = self.session
        waiting_since = math.inf if session.peer_is_closed else session.waiting_since
        give_up_at = min(waiting_since + self._grace, session.closed_at + CLOSING_TIME)
        with trio.CancelScope(deadline=give_up_at) as patience:
            await self.path_changed.park()
        if patience.cancelled_caught and trio.current_time() >= session.closed_at + CLOSING_TIME:
            session.fail(PathLostError("the other side did not say that it has got everything"))
        elif patience.cancelled_caught and session.waiting_since == waiting_since:
            reason = f"; the last one was lost: {self.loss}" if self.loss is not None else ""
            session.fail(
                PathLostError(f"the stream had no path for {self._grace:g} seconds{reason}")
            )

    def _begin_leaving(self, connection: Path) -> None:
        """Go on reading a path: the last words may come over it before the new one is answered."""
        self._former, self._former_scope = connection, self._scope
        connection.interrupt()  # whoever drives it shall drive the new one
        self._reader.unpark_all()

    def _drop_former(self) -> None:
        if self._former is not None:
            self._former.close()
            self._former = None
            self.session.forget_former()
            self._former_scope.cancel(reason="the path is left")

    def _leave_path(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = self.path = None
            self._scope.cancel(reason="the path is left")

    def _lose(self, connection: Path, error: P2PError) -> None:
        """A path is gone; matters only if it is the current one."""
        if connection is not self._connection:
            return
        self._hear_the_rest(connection)
        if self._circuit:
            error = last_words_untrusted(connection.tail, self._circuit) or error
        logger.info("a stream has lost its path: %s", error)
        self.loss = error
        self._leave_path()
        if isinstance(error, NotAdmittedError):
            self.session.fail(error)
        self.session.lose_path(trio.current_time())
        self.path_changed.unpark_all()

    def _hear_the_rest(self, connection: Path) -> None:
        """What came before a reset is good, and may be a farewell."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
            while data := connection.receive_at_once():
                self.session.received_untrusted(data, trio.current_time())
        for lot in (self.readable, self.roomy):
            lot.unpark_all()

    def _due_at(self) -> float:
        """When the writer has to look after the path even if nothing happens."""
        return min(self.session.heartbeat_at(), self.session.dead_at())

    async def _carry(self, connection: Path, scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, connection)
                    await self._read(connection)
        finally:
            if connection is self._connection:  # the owner was cancelled, and this before run()
                self.end(_LEFT)
            connection.close()

    async def _receive(self, connection: Path, *, is_driver: bool = False) -> bool:
        """Give the session what comes next over a path; whether that had to be waited for."""
        has_waited = False
        try:
            while (data := connection.receive_at_once()) is None:
                if is_driver and connection is not self._connection:
                    return has_waited  # its reader reads what is left to read
                await connection.wait_receive_might_not_block()
                has_waited = True
        except trio.ClosedResourceError:
            return has_waited  # by us, or we were interrupted
        except trio.BrokenResourceError as error:
            self._end_of(connection, _loss_of(error))
            return has_waited
        if not data:
            self._end_of(connection, PathLostError("the other side has closed the connection"))
        elif connection is self._connection:
            self.received_untrusted(data)
        elif connection is self._former:
            self._give(data, self.session.received_before_untrusted)
        return has_waited

    def _end_of(self, connection: Path, error: P2PError) -> None:
        if connection is self._former:
            self._drop_former()
        else:
            self._lose(connection, error)

    async def _read(self, connection: Path) -> None:
        while connection is self._connection or connection is self._former:
            rests = self._is_driven or trio.current_time() < self._hand_over_at
            if rests and connection is self._connection:
                self._reader_reads = False
                self._reader_wakes_at = math.inf if self._is_driven else self._hand_over_at
                with trio.CancelScope(deadline=self._reader_wakes_at):
                    await self._reader.park()
                continue
            if connection is self._connection:
                self._reader_reads = True
            if not await self._receive(connection):
                await trio.lowlevel.checkpoint()  # others want to do something, too

    async def _write(self, connection: Path) -> None:
        while connection is self._connection:
            if trio.current_time() >= self.session.dead_at():
                self._lose(connection, PathLostError("nothing has come from the other side"))
                return
            self.push()
            self._writer_wakes_at = self._due_at()
            with trio.CancelScope(deadline=self._writer_wakes_at):
                if connection.is_sending:
                    await self._finish_sending(connection)
                else:
                    await self._writer.park()

    async def _finish_sending(self, connection: Path) -> None:
        try:
            await connection.finish_sending()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose(connection, _loss_of(error))


def _loss_of(error: Exception) -> P2PError:
    cause = error.__cause__
    return cause if isinstance(cause, P2PError) else PathLostError(str(error))
