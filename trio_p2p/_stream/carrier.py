"""Carries a session over one path after the other, until it is over or has had none for long."""

from __future__ import annotations

import logging
import math

import trio

from .._errors import NotAdmittedError, P2PError, PathLostError, StreamAbortedError
from .frames import PathHello
from .last_words import last_words_untrusted
from .path import Path
from .path_worker import PathWorker
from .session import Session
from .states import SessionState
from .stream_path import StreamPath

# Seconds.
DEFAULT_GRACE = 60.0  # without a path, until a stream is given up
CLOSING_TIME = 60.0  # over a path, in which a close makes no progress: it takes a round trip

_LEFT = "its peer was left"

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
        is_left: whether the owner has gone, and the stream with it.
        is_doubted: whether the path may lead nowhere any more, and nothing has come since.
        loss: why the last path was lost.
        path_changed: where to park until there is another path or none, a doubt more or less, or
            the end.
    """

    def __init__(self, session: Session, grace: float, nursery: trio.Nursery) -> None:
        self.session = session
        self.path: StreamPath | None = None
        self.is_left: bool = False
        self.is_doubted: bool = False
        self.loss: P2PError | None = None
        self.path_changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._readable = trio.lowlevel.ParkingLot()
        self._roomy = trio.lowlevel.ParkingLot()
        self._grace = grace
        self._nursery = nursery
        self._worker: PathWorker | None = None
        self._circuit = b""
        self._former: PathWorker | None = None  # which is read until the new one is greeted on

    async def run(self) -> None:
        """Carry the session until it is over; break it if cancelled."""
        try:
            while not self.session.is_over:
                await self._wait_for_change()
        finally:
            self.leave()
            logger.info("a stream is over: %s", self.session.error or "all is said")

    def attach(
        self,
        connection: Path,
        path: StreamPath,
        *,
        circuit: bytes = b"",
        hello: PathHello | None = None,
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
        if hello is None and self._worker is not None and self._former is None:
            # The last words may come over it before the new one is answered.
            self._worker.leave()
            self._former = self._worker
        else:
            self._leave_path()
        self._worker = PathWorker(connection, path, self.session, self)
        self.path, self._circuit = path, circuit
        self.is_doubted = False
        self._nursery.start_soon(self._carry, self._worker)
        logger.info("stream path is %s", path)
        self.path_changed.unpark_all()
        return True

    def doubt(self) -> None:
        """Doubt the path, as the other side may have left it: until something comes over it.

        It goes on carrying the session; whoever finds paths should look for another one.
        """
        if self._worker is not None:
            self.is_doubted = True
            self.path_changed.unpark_all()

    def push(self) -> None:
        """Send what the session has to say, as far as that needs no waiting; the rest later.

        Call it whenever the session has something new to say.
        """
        if self._worker is not None:
            self._worker.push()

    async def send(self) -> bool:
        """Like :meth:`push`, but wait until the path has taken everything, or is lost.

        Returns:
            Whether this has waited.
        """
        return self._worker is not None and await self._worker.send()

    async def wait_readable(self) -> bool:
        """Wait until there may be something to read; whether that had to be waited for."""
        return await self._wait(self._readable)

    async def wait_roomy(self) -> None:
        """Wait until there may be room to write."""
        await self._wait(self._roomy)

    async def _wait(self, lot: trio.lowlevel.ParkingLot) -> bool:
        if self._worker is None:
            await lot.park()
            return True
        try:
            return await self._worker.drive(lot)
        finally:
            self._wake_waiting()  # somebody else has to drive now

    def close(self) -> None:
        """Close the session; :meth:`run` ends when the other side has got everything."""
        if not self.session.is_over:
            self.session.close(trio.current_time())
            self.push()
            if self._worker is not None:
                self._worker.release()
                self._worker.read_alone()
        if self.session.is_over:
            self.end()
        self._wake_waiting()
        self.path_changed.unpark_all()

    def abort(self, reason: str) -> None:
        """End everything at once, and let the other side know that it was cut short."""
        self.session.fail(StreamAbortedError(reason))
        self.end(reason)

    def end(self, reason: str = "the stream was closed without waiting") -> None:
        """End everything at once: say farewell, close the path, and wake all who wait."""
        if self._worker is not None:
            self._worker.close(self.session.farewell())
            self._worker = self.path = None
            self.is_doubted = False
        self._drop_former()
        self.session.fail(StreamAbortedError(reason))
        self._wake_waiting()
        self.path_changed.unpark_all()

    def leave(self) -> None:
        """End everything at once, as the owner of the stream is left."""
        self.is_left |= not self.session.is_over
        self.end(_LEFT)

    # What the workers tell.

    def attend(self, worker: PathWorker) -> None:
        """Something has come: wake all whom it concerns, and send what the session says to it."""
        session = self.session
        if session.state is SessionState.ATTACHED or session.is_over:
            self._drop_former()
        if self.is_doubted and worker is self._worker:
            self.is_doubted = False
            self.path_changed.unpark_all()
        if self._readable:
            self._readable.unpark_all()
            worker.expect_driver()
        if session.is_over or session.peer_is_closed:
            worker.release()  # what is being sent is not wanted any more
            self.finish()
            self._roomy.unpark_all()
        elif self._roomy and session.room:
            self._roomy.unpark_all()
        if not (worker.is_driven_for(self._readable) and session.has_input):
            self.push()  # else whoever reads it does

    def lose(self, worker: PathWorker, error: P2PError) -> None:
        """A path is gone."""
        if worker is self._former:
            self._drop_former()
        if worker is not self._worker:
            return
        if self._circuit:
            error = last_words_untrusted(worker.path.tail, self._circuit) or error
        logger.info("stream path lost: %s", error)
        self.loss = error
        self._leave_path()
        if isinstance(error, NotAdmittedError) and not self.session.is_confirmed:
            self.session.fail(error)  # else the broker has handed a wrong certificate over
        self.session.lose_path(trio.current_time())
        self._wake_waiting()
        self.finish()

    def finish(self) -> None:
        """The end may have come."""
        self.path_changed.unpark_all()

    # Inside.

    def _wake_waiting(self) -> None:
        for lot in (self._readable, self._roomy):
            if lot:
                lot.unpark_all()

    async def _wait_for_change(self) -> None:
        with trio.CancelScope(deadline=min(self._give_up_times())) as patience:
            await self.path_changed.park()
        if patience.cancelled_caught:
            self._give_up(trio.current_time())

    def _give_up_times(self) -> tuple[float, float]:
        """When to give up for want of a path, and of progress: bytes that move put it off."""
        session = self.session
        waiting_since = math.inf if session.peer_is_closed else session.waiting_since
        return waiting_since + self._grace, session.stalled_since + CLOSING_TIME

    def _give_up(self, now: float) -> None:
        without_path, without_progress = self._give_up_times()
        if now >= without_path:
            reason = f"; the last one was lost: {self.loss}" if self.loss is not None else ""
            text = f"the stream had no path for {self._grace:g} seconds{reason}"
            self.session.fail(PathLostError(text))
        elif now >= without_progress:
            text = "the other side did not say that it has got everything"
            self.session.fail(PathLostError(text))

    def _drop_former(self) -> None:
        if self._former is not None:
            if self.session.is_over and self._worker is None:
                # The other side may wait for these words, and there is no other path for them.
                self._former.path.send_at_once(self.session.former_farewell())
            self._former.close()
            self._former = None
            self.session.forget_former()

    def _leave_path(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = self.path = None
            self.is_doubted = False

    async def _carry(self, worker: PathWorker) -> None:
        try:
            await worker.run()
        finally:
            if worker is self._worker:  # the owner was cancelled, and this before run()
                self.leave()
            await worker.part()  # noqa: ASYNC102 - it shields itself, for a second
