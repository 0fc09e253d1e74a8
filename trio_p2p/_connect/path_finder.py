"""Finds paths for a sender's stream: the first one, another one for it, and a better one."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import trio

from .._control.controls import Controls
from .._errors import P2PError, RelayError
from .._identity.peer_id import PeerId
from .._net.backoff import MAX_AWAITED_PAUSE, Backoff
from .._net.barrier import Barrier
from .._net.network_changes import Network, cancel_when_network_changes, current_network
from .._stream.carrier import Carrier
from .._stream.path_worker import PathSilentError
from .._stream.stream_path import PathKind, StreamPath
from .failures import combined, explained
from .path_record import PathRecord
from .pool import Pool
from .reserve import keep_reserve
from .secured import Dialer, SecuredPath, open_secured

if TYPE_CHECKING:
    from .._stream.tls import Context

# Seconds.
STEADY_TIME = 1.0  # that a path has to last for the next search to begin at once
HEAD_START = 1.0  # of the relay before a direct way that fell silent, give or take a half
# From the first path until the peer is watched: the first bytes need not wait for the watch, and a
# stream that is over by then need not pay for one.
WATCHING_DELAY = 0.1
# Bytes that the peer sent before it moved may come after the news of the move, and lift the doubt.
# So the path is doubted once more when all that was under way has come.
UNDER_WAY_TIME = 0.75

logger = logging.getLogger("trio_p2p.sender")


class PathFinder:
    """Keeps a session supplied with paths.

    Args:
        carrier: carries the session.
        context: proves our identity.
        expected: the peer id that the peer has to have; any if None.
        dialers: how to come by a connection, for each kind of path that is wanted.
        uid: the peer's.
        controls: the connections to the broker, which tells when the peer has registered again.
        pool: the connections that this side has made.

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
        pool: Pool,
    ) -> None:
        self._uid = uid
        self.peer_id = expected
        self._carrier = carrier
        self._context = context
        self._dialers = dialers
        self._tracer = controls.options.tracer
        self._controls = controls
        self._pool = pool
        self._registered_again = trio.lowlevel.ParkingLot()
        self._failures: dict[PathKind, P2PError] = {}
        self._asked: dict[PathKind, float] = {}  # seconds that the broker wants us to wait
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
            trio.ClosedResourceError: the connection was closed meanwhile.
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
        backoff = Backoff(lasting=STEADY_TIME, at_once=True)
        network = current_network()
        while True:
            await self._wait_wanted(kind)
            gives_way = kind is PathKind.DIRECT and self._record.is_poor and len(self._dialers) > 1
            asked = self._asked.pop(kind, 0.0)
            await self._rest(backoff, network, HEAD_START if gives_way else 0.0, asked)
            before, network = network, current_network()
            if network != before:
                self._record = PathRecord()
            if self._is_wanted(kind) and await self._find_apart(kind, dialer, network):
                backoff.works()

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
        backoff = Backoff()
        while True:
            backoff.works()
            with Barrier(logger, what):
                await search()
            await trio.sleep(backoff.next_pause())

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
                if isinstance(error, RelayError):
                    self._asked[kind] = error.retry_after
            else:
                if not self._has_found:
                    session = self._carrier.session
                    session.is_only = self._pool.is_only(session, found.peer_id)
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
        return await open_secured(dialer, self._context, self.peer_id, self._tracer)

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

    async def _rest(
        self, backoff: Backoff, network: Network, at_least: float, asked: float
    ) -> None:
        """Pause, unless the path or the broker changes meanwhile, or either side may have moved."""

        async def cut_short(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            scope.cancel(reason="the pause is cut short")

        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            if not asked:
                nursery.start_soon(cut_short, self._registered_again.park)
                nursery.start_soon(cut_short, self._wait_lost)
                nursery.start_soon(cut_short, self._controls.wait_found_again)
            at_most = math.inf if self._is_carried else MAX_AWAITED_PAUSE
            await backoff.rest(network, at_least=at_least, at_most=at_most, asked=asked)
            scope.cancel(reason="the pause is over")

    async def _wait_lost(self) -> None:
        """Wait until the stream has a path, and then until that is lost or in doubt."""
        for is_carried in (True, False):
            while self._is_carried is not is_carried:
                await self._carrier.path_changed.park()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    @property
    def _is_carried(self) -> bool:
        """Whether there is a path that is not in doubt."""
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
