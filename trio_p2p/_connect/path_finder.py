"""Finds paths for a sender's stream: the first one, another one for it, and a better one."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio

from .._control.controls import Controls
from .._errors import P2PError, RelayError
from .._identity.peer_id import PeerId
from .._net.barrier import Barrier
from .._net.network_changes import Network, cancel_when_network_changes, current_network
from .._stream.carrier import Carrier
from .._stream.path_worker import PathSilentError
from .._stream.stream_path import PathKind, StreamPath
from .._stream.tls import Context
from .failures import combined, explained
from .path_record import PathRecord
from .reserve import keep_reserve
from .secured import Dialer, SecuredPath, open_secured

# Seconds. A stream without any path waits for the application's sake, so the pauses are short; a
# better path than the relay is looked for at once, and again when the network has changed.
MIN_PAUSE = 0.1
MAX_PAUSE = 60.0
MAX_URGENT_PAUSE = 1.0
PAUSE_GROWTH = 2.0
FAILURE_PAUSE = 10.0  # after something that no search foresees
STEADY_TIME = 1.0  # that a path has to last to be no reason for pauses
# From the first path until the peer is watched: what is sent first is not to wait for that, and a
# stream that is over by then need not pay for it.
WATCHING_DELAY = 0.1
# What the peer sent before it moved may come after the news of that, and lift the doubt. So there
# is a second one when all that was under way has come.
UNDER_WAY_TIME = 0.75

logger = logging.getLogger("trio_p2p.sender")
_JITTER = random.SystemRandom()  # without a state, so that forked processes do not keep in step


class PathFinder:
    """Keeps a session supplied with paths.

    Args:
        carrier: carries the session.
        context: proves our identity.
        expected: who the peer has to be; whoever proves to be it first if None.
        dialers: how to come by a connection, for each kind of path that is wanted.
        uid: the peer's.
        controls: the connections to the broker, which tells when the peer has registered again.

    Attributes:
        peer_id: who the peer is, once it is known.
    """

    def __init__(
        self,
        carrier: Carrier,
        context: Context,
        expected: PeerId | None,
        dialers: Mapping[PathKind, Dialer],
        *,
        uid: str,
        controls: Controls,
    ) -> None:
        self._uid = uid
        self.peer_id = expected
        self._carrier = carrier
        self._context = context
        self._dialers = dialers
        self._on_attempt = partial(controls.options.tracer.attempt_ended, uid)
        self._controls = controls
        self._registered_again = trio.lowlevel.ParkingLot()
        self._failures: dict[PathKind, P2PError] = {}
        self._news = trio.Event()
        self._has_found = False
        self._record = PathRecord()
        self._direct: StreamPath | None = None  # what the record is being made of
        self._loss_before: P2PError | None = None

    async def run(self) -> None:
        """Find paths until the session is over."""
        try:
            async with trio.open_nursery() as nursery:
                for kind, dialer in self._dialers.items():
                    find = partial(self._keep_finding, kind, dialer)
                    nursery.start_soon(self._keep_on, f"finding {kind} paths", find)
                if len(self._dialers) > 1:
                    nursery.start_soon(self._keep_on, "keeping a reserve", self._keep_reserve)
                nursery.start_soon(self._keep_on, "watching the receiver", self._watch_receiver)
                await self._carrier.run()
                nursery.cancel_scope.cancel(reason="the session is over")
        finally:
            self._tell()

    async def wait_found(self) -> PeerId:
        """Wait for the first path; who it leads to.

        Raises:
            P2PError: no way leads to the peer.
            trio.ClosedResourceError: whoever owns the stream does not want it any more.
        """
        while self.peer_id is None or not self._has_found:
            if self._carrier.session.is_over:
                await trio.lowlevel.checkpoint_if_cancelled()
                raise trio.ClosedResourceError("the sender was closed")
            if len(self._failures) == len(self._dialers):
                raise combined(list(self._failures.values()))
            await self._news.wait()
        return self.peer_id

    async def _keep_finding(self, kind: PathKind, dialer: Dialer) -> None:
        pause = 0.0
        steady_at = math.inf
        network = current_network()
        while True:
            await self._wait_wanted(kind)
            if trio.current_time() >= steady_at:
                pause = 0.0
            if kind is PathKind.DIRECT and self._record.is_poor and len(self._dialers) > 1:
                pause = max(pause, MAX_URGENT_PAUSE)  # the relay first
            await self._rest(pause, network)
            before, network = network, current_network()
            if network == before:
                pause = max(MIN_PAUSE, min(PAUSE_GROWTH * pause, MAX_PAUSE))
            else:
                pause = MIN_PAUSE
                self._record = PathRecord()
            is_found = self._is_wanted(kind) and await self._find_apart(kind, dialer, network)
            steady_at = trio.current_time() + STEADY_TIME if is_found else math.inf

    async def _wait_wanted(self, kind: PathKind) -> None:
        while True:
            self._note_end()
            if self._is_wanted(kind):
                return
            retry_at = self._record.retry_at
            is_resting = kind is PathKind.DIRECT and trio.current_time() < retry_at
            with trio.CancelScope(deadline=retry_at if is_resting else math.inf):
                await self._carrier.path_changed.park()

    def _note_beginning(self) -> None:
        """Note what a new path begins with, if it is a direct one."""
        path = self._carrier.path
        if path is not None and path.kind is PathKind.DIRECT:
            self._direct, self._loss_before = path, self._carrier.loss
            self._record.began(trio.current_time(), self._carrier.session.transferred)

    def _note_end(self) -> None:
        """Note what the last direct path has carried, if it is gone."""
        if self._direct is not None and self._carrier.path is not self._direct:
            self._direct = None
            loss = self._carrier.loss
            is_silent = isinstance(loss, PathSilentError) and loss is not self._loss_before
            transferred = self._carrier.session.transferred
            self._record.ended(trio.current_time(), transferred, is_silent=is_silent)

    async def _find_apart(self, kind: PathKind, dialer: Dialer, network: Network) -> bool:
        """Like :meth:`_find`, but a search that fails in an unforeseen way has found nothing."""
        with Barrier(logger, f"one search for a {kind} path"):
            return await self._find(kind, dialer, network)
        self._failures[kind] = P2PError(f"the search for a {kind} path has failed: see the log")
        self._tell()
        return False

    async def _keep_on(self, what: str, search: Callable[[], Awaitable[None]]) -> None:
        """Begin a search anew, after a pause, when it has failed in an unforeseen way."""
        while True:
            with Barrier(logger, what):
                await search()
            await trio.sleep(FAILURE_PAUSE)

    async def _find(self, kind: PathKind, dialer: Dialer, network: Network) -> bool:
        """Try once to find a path from a network, as long as it is wanted; whether there is one."""
        is_found = False
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._cancel_when_unwanted, kind, scope)
            nursery.start_soon(cancel_when_network_changes, scope, network)
            try:
                found = await self._open(dialer)
            except (P2PError, OSError) as error:
                logger.info("no %s path was found: %s", kind, error)
                self._failures[kind] = explained(error)
            else:
                is_found = self._is_wanted(kind) and self._carrier.attach(
                    found.path, found.described, circuit=found.circuit
                )
                if is_found:
                    self.peer_id = found.peer_id
                    self._has_found = True
                    self._note_end()
                    self._note_beginning()
                else:
                    found.path.close()
            self._tell()
            scope.cancel(reason="the search is over")
        return is_found

    async def _open(self, dialer: Dialer) -> SecuredPath:
        return await open_secured(dialer, self._context, self.peer_id, self._on_attempt)

    async def _keep_reserve(self) -> None:
        await keep_reserve(
            self._carrier,
            partial(self._open, self._dialers[PathKind.RELAY]),
            is_carried=lambda: self._is_carried,
            is_wanted=lambda: self._is_wanted(PathKind.RELAY),
        )

    async def _watch_receiver(self) -> None:
        """Doubt the path whenever the peer has registered again: it may have moved."""
        while self._carrier.path is None:
            await self._carrier.path_changed.park()
        await trio.sleep(WATCHING_DELAY)
        with self._controls.watching(self._uid) as registrations:
            async for _ in registrations:
                self._record = PathRecord()
                self._carrier.doubt()
                self._registered_again.unpark_all()
                path = self._carrier.path
                await trio.sleep(UNDER_WAY_TIME)
                if self._carrier.path is path:
                    self._carrier.doubt()

    async def _cancel_when_unwanted(self, kind: PathKind, scope: trio.CancelScope) -> None:
        while self._is_wanted(kind):
            await self._carrier.path_changed.park()
        scope.cancel(reason="a path as good has been found")

    async def _rest(self, seconds: float, network: Network) -> None:
        """Wait so long; less if no path carries the stream, or either side may have moved."""
        if not seconds:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when_network_changes, nursery.cancel_scope, network)
            is_urgent = not self._is_carried
            pause = min(seconds, MAX_URGENT_PAUSE) if is_urgent else seconds
            with trio.move_on_after(pause * _JITTER.uniform(0.5, 1.5)):
                if is_urgent:
                    await self._registered_again.park()
                while self._is_carried:
                    await self._carrier.path_changed.park()
            nursery.cancel_scope.cancel(reason="rested enough")

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    @property
    def _is_carried(self) -> bool:
        """Whether there is a path that nobody doubts."""
        return self._carrier.path is not None and not self._carrier.is_doubted

    def _is_wanted(self, kind: PathKind) -> bool:
        """Whether a path of a kind would be better than what there is."""
        session, path = self._carrier.session, self._carrier.path
        if session.is_over or session.peer_is_closed:
            return False
        if kind is PathKind.RELAY and isinstance(self._carrier.loss, RelayError):
            return False  # what the relay has cut for a reason is not for asking it again
        if path is None or self._carrier.is_doubted:
            return True
        is_better = path.kind is PathKind.RELAY and kind is PathKind.DIRECT
        return is_better and trio.current_time() >= self._record.retry_at
