"""Carries a session over one path after the other, until it is over or has had none for long."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import trio

from .._errors import NotAdmittedError, P2PError, StreamAbortedError
from .._net.barrier import Barrier
from .frames import PathHello
from .giving_up import give_up_at, reason_to_give_up
from .last_words import last_words_untrusted
from .path import Path
from .path_worker import PathWorker
from .receivers import Receivers
from .session import Session
from .states import SessionState
from .stream_path import PathKind, StreamPath

_LEFT = "its peer was left"

logger = logging.getLogger("trio_p2p.stream")


class Owner(Protocol):
    """What a carrier tells of its session."""

    def attend(self) -> bool:
        """Something has come, or has left, or the session is over.

        Returns:
            Whether a task was waked up that is going to call :meth:`Receivers.begin`.
        """
        ...


class Carrier:
    """One session and its current path.

    Args:
        session: the session.
        owner: is told of it.
        grace: for how many seconds to wait for another path when one is lost.
        nursery: the owner's; :meth:`run` is to be started in it, too.

    Attributes:
        session: the session. A call of :meth:`push` follows each change of it.
        path: what carries it now, if anything does.
        receivers: the tasks that wait for something to come.
        is_left: whether the owner has gone, and the stream with it.
        is_doubted: whether the path may lead nowhere any more, and nothing has come since.
        is_resuming: whether the session had lost its path and has another one, over which the
            other side has not said yet that it still knows it.
        loss: why the last path was lost.
        moves: how often a path was taken after the first one.
        path_changed: where to park until there is another path or none, a doubt more or less, the
            other side has answered, or the end.
    """

    def __init__(self, session: Session, owner: Owner, grace: float, nursery: trio.Nursery) -> None:
        self.session = session
        self.moves: int = 0
        self._owner = owner
        self.path: StreamPath | None = None
        self.is_left: bool = False
        self.is_doubted: bool = False
        self.is_resuming: bool = False
        self.loss: P2PError | None = None
        self.path_changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self.receivers: Receivers = Receivers()
        self._worker: PathWorker | None = None
        self._grace = grace
        self._nursery = nursery
        self._circuit = b""
        self._has_begun = False
        self._former: PathWorker | None = None  # which is read until the new one is greeted on

    async def run(self) -> None:
        """Carry the session until it is over; break it if cancelled."""
        try:
            while not self.session.is_over:
                await self._wait_for_change()
        finally:
            self.leave()
            logger.info("connection closed: %s", self.session.error or "everything was delivered")

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
        is_ours = hello is None and self.session.is_confirmed
        self.is_resuming = is_ours and (self.is_resuming or self._former is None)
        self.moves += self._has_begun
        self._has_begun = True
        worker = PathWorker(connection, path, self.session, self)
        self._worker = self.receivers.worker = worker
        self.path, self._circuit = path, circuit
        self.is_doubted = False
        self._nursery.start_soon(self._carry, worker)
        logger.info("connection path: %s", path)
        self.path_changed.unpark_all()
        return True

    @property
    def round_trip(self) -> float | None:
        """Seconds to the other side and back, as measured last; None if it was not yet."""
        if self._worker is not None and self.path is not None:
            seconds = self._worker.path.round_trip
            if seconds and self.path.kind is PathKind.DIRECT:  # else it leads to the broker
                return seconds
        return self.session.outgoing.round_trip

    def doubt(self) -> None:
        """Doubt the path, which goes on carrying the session, until something comes over it."""
        if self._worker is not None:
            self.is_doubted = True
            self.path_changed.unpark_all()

    def push(self) -> None:
        """Send what the session has to say, as far as that needs no waiting; the rest later."""
        if self._worker is not None:
            self._worker.push()

    async def send(self, is_wanted: Callable[[], bool]) -> bool:
        """Like :meth:`push`, but wait until the path has taken what is wanted, or is lost.

        Args:
            is_wanted: whether something is left that is to be sent.

        Returns:
            Whether this has waited.
        """
        return self._worker is not None and await self._worker.send(is_wanted)

    def flush(self) -> None:
        """Do now what :meth:`push_soon` has put off, if it has."""
        if self._worker is not None:
            self._worker.flush()

    def push_soon(self) -> None:
        """Like :meth:`push`, but when the other tasks that can run have had their turn."""
        if self._worker is not None:
            self._worker.push_soon()

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
        self.path_changed.unpark_all()

    def abort(self, reason: str) -> None:
        """End everything at once, and let the other side know that it was cut short."""
        self.session.fail(StreamAbortedError(reason))
        self.end(reason)

    def fail(self, error: P2PError) -> None:
        """End everything at once, for a reason that the other side knows."""
        self.session.fail(error)
        self.end()

    def end(self, reason: str = "the stream was closed without waiting") -> None:
        """End everything at once: say farewell, close the path, and wake all tasks that wait."""
        if self._worker is not None:
            self._leave_path(self.session.farewell())
        self._drop_former()
        self.session.fail(StreamAbortedError(reason))
        self.path_changed.unpark_all()
        self._owner.attend()

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
            if self.is_resuming:
                self.is_resuming = False
                self.path_changed.unpark_all()
        if self.is_doubted and worker is self._worker:
            self.is_doubted = False
            self.path_changed.unpark_all()
        if self._owner.attend():
            self.receivers.expect(worker)
        if session.is_over or session.peer_is_closed:
            worker.release()  # what is being sent is not wanted any more
            self.finish()
            self.push()
        else:
            self.push_soon()

    def tell_sent(self) -> None:
        """Something has left: there may be room for more."""
        self._owner.attend()

    def lose(self, worker: PathWorker, error: P2PError) -> None:
        """A path is gone."""
        if worker is self._former:
            self._drop_former()
        if worker is not self._worker:
            return
        if self._circuit:
            error = last_words_untrusted(worker.path.tail, self._circuit) or error
        logger.info("connection path lost: %s", error)
        self.loss = error
        self._leave_path()
        if isinstance(error, NotAdmittedError) and not self.session.is_confirmed:
            self.session.fail(error)  # else the broker has handed a wrong certificate over
        self.session.lose_path(trio.current_time())
        self._owner.attend()
        self.finish()

    def finish(self) -> None:
        """The end may have come."""
        self.path_changed.unpark_all()

    # Inside.

    async def _wait_for_change(self) -> None:
        with trio.CancelScope(deadline=give_up_at(self.session, self._grace)) as patience:
            await self.path_changed.park()
        if patience.cancelled_caught:
            now = trio.current_time()
            reason = reason_to_give_up(self.session, self._grace, self.loss, now)
            if reason is not None:
                self.session.fail(reason)

    def _drop_former(self) -> None:
        if self._former is not None:
            if self.session.is_over and self._worker is None:
                # The other side may wait for these words, and there is no other path for them.
                self._former.path.send_at_once(self.session.former_farewell())
            self._former.close()
            self._former = None
            self.session.former = None

    def _leave_path(self, last_words: bytes = b"") -> None:
        if self._worker is not None:
            self._worker.close(last_words)
            self._worker = self.receivers.worker = self.path = None
            self.is_doubted = False

    async def _carry(self, worker: PathWorker) -> None:
        try:
            with Barrier(logger, "carrying a connection"):
                await worker.run()
        finally:
            if worker is self._worker:  # the owner was cancelled, and this before run()
                self.leave()
            await worker.part()  # noqa: ASYNC102 - it shields itself, for a second
