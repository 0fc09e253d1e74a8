"""Finds paths for a sender's stream: the first one, another one for it, and a better one."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, cast

import trio

from .._errors import (
    AttemptFailedError,
    IntroductionError,
    P2PError,
    PathLostError,
    RelayError,
    RemoteProtocolError,
    WrongPeerError,
)
from .._identity.peer_id import PeerId
from .._net.network_changes import Network, cancel_when_network_changes, current_network
from .._net.os_errors import is_out_of_resources
from .._peer_connection import OnAttempt, PeerConnection
from .._stream.carrier import Carrier
from .._stream.handshake import secure
from .._stream.path import Path
from .._stream.stream_path import PathKind, StreamPath
from .._stream.tls import Context
from .attempt_log import AttemptLog

# Seconds. A stream without any path waits for the application's sake, so the pauses are short; a
# better path than the relay is looked for at once, and again when the network has changed.
MIN_PAUSE = 0.1
MAX_PAUSE = 60.0
MAX_URGENT_PAUSE = 1.0
PAUSE_GROWTH = 2.0
# How long to keep a relayed path in reserve after a move to a direct one, which has yet to prove
# itself. It is idle, and brokers end idle circuits after a minute.
RESERVE_TIME = 50.0
STEADY_TIME = 1.0  # that a path has to last to be no reason for pauses
# From the first path until the peer is watched: what is sent first is not to wait for that, and a
# stream that is over by then need not pay for it.
WATCHING_DELAY = 0.1
# What the peer sent before it moved may come after the news of that, and lift the doubt. So there
# is a second one when all that was under way has come.
UNDER_WAY_TIME = 0.75
MAX_BROKEN = 2  # connections in a row; some NATs close a hole just when somebody came through

Dial: TypeAlias = Callable[[OnAttempt], Awaitable[PeerConnection]]
Watch: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]

logger = logging.getLogger("trio_p2p.sender")
_JITTER = random.Random()  # noqa: S311 - it keeps senders apart, not secrets


class PathFinder:
    """Keeps a session supplied with paths.

    Args:
        carrier: carries the session.
        context: proves our identity.
        expected: who the peer has to be; whoever proves to be it first if None.
        dials: how to come by a connection, for each kind of path that is wanted.
        on_attempt: told of each attempt when it has ended, if anybody wants to know.
        watch: calls a function whenever the peer has registered again.

    Attributes:
        peer_id: who the peer is, once it is known.
    """

    def __init__(
        self,
        carrier: Carrier,
        context: Context,
        expected: PeerId | None,
        dials: Mapping[PathKind, Dial],
        on_attempt: OnAttempt | None,
        *,
        watch: Watch,
    ) -> None:
        self.peer_id = expected
        self._carrier = carrier
        self._context = context
        self._dials = dials
        self._on_attempt = on_attempt
        self._watch = watch
        self._registered_again = trio.lowlevel.ParkingLot()
        self._failures: dict[PathKind, P2PError] = {}
        self._news = trio.Event()
        self._has_found = False

    async def run(self) -> None:
        """Find paths until the session is over."""
        try:
            async with trio.open_nursery() as nursery:
                for kind, dial in self._dials.items():
                    nursery.start_soon(self._keep_finding, kind, dial)
                if len(self._dials) > 1:
                    nursery.start_soon(self._keep_reserve, self._dials[PathKind.RELAY])
                nursery.start_soon(self._watch_receiver)
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
            if len(self._failures) == len(self._dials):
                raise self._failure()
            await self._news.wait()
        return self.peer_id

    async def _keep_finding(self, kind: PathKind, dial: Dial) -> None:
        pause = 0.0
        steady_at = math.inf
        network = current_network()
        while True:
            while not self._is_wanted(kind):
                await self._carrier.path_changed.park()
            if trio.current_time() >= steady_at:
                pause = 0.0
            await self._rest(pause, network)
            before, network = network, current_network()
            if network == before:
                pause = max(MIN_PAUSE, min(PAUSE_GROWTH * pause, MAX_PAUSE))
            else:
                pause = MIN_PAUSE
            is_found = self._is_wanted(kind) and await self._find(kind, dial, network)
            steady_at = trio.current_time() + STEADY_TIME if is_found else math.inf

    async def _find(self, kind: PathKind, dial: Dial, network: Network) -> bool:
        """Try once to find a path from a network, as long as it is wanted; whether there is one."""
        is_found = False
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._cancel_when_unwanted, kind, scope)
            nursery.start_soon(cancel_when_network_changes, scope, network)
            try:
                connection, path, described, peer_id = await self._open(dial)
            except (P2PError, OSError) as error:
                logger.info("no %s path found: %s", kind, error)
                self._failures[kind] = error if isinstance(error, P2PError) else _explained(error)
            else:
                is_found = self._is_wanted(kind) and self._carrier.attach(
                    path, described, circuit=connection.circuit
                )
                if is_found:
                    self.peer_id = peer_id
                    self._has_found = True
                else:
                    path.close()
            self._tell()
            scope.cancel(reason="the search is over")
        return is_found

    async def _open(self, dial: Dial) -> tuple[PeerConnection, Path, StreamPath, PeerId]:
        """A connection whose other end has proven who it is; the next one if one breaks before."""
        for _ in range(MAX_BROKEN):
            try:
                return await self._open_once(dial)
            except PathLostError as error:
                logger.info("connection broke before it was secured, dialling again: %s", error)
        return await self._open_once(dial)

    async def _open_once(self, dial: Dial) -> tuple[PeerConnection, Path, StreamPath, PeerId]:
        attempts = AttemptLog(self._on_attempt)
        try:
            connection = await dial(attempts.note)
            try:
                secured = await secure(
                    connection, self._context, server_side=False, expected=self.peer_id
                )
            except (WrongPeerError, RemoteProtocolError) as error:
                attempts.note_wrong_peer()
                raise error from attempts.failures
        finally:
            attempts.close()
        return connection, *secured

    async def _keep_reserve(self, dial: Dial) -> None:
        """After each move from the relay to a direct path, have a way back for a while."""
        while True:
            await self._wait_moved()
            network = current_network()
            try:
                connection, path, described, _ = await self._open(dial)
            except (P2PError, OSError) as error:
                logger.info("no relayed path in reserve: %s", error)
                continue
            is_attached = False
            try:
                path.send_last_flight()
                with trio.move_on_after(RESERVE_TIME):
                    while self._is_carried:
                        await self._carrier.path_changed.park()
                is_of_use = self._carrier.path is None and current_network() == network
                if is_of_use and self._is_wanted(PathKind.RELAY):
                    is_attached = self._carrier.attach(path, described, circuit=connection.circuit)
            finally:
                if not is_attached:
                    path.close()

    async def _wait_moved(self) -> None:
        before: PathKind | None = None
        while True:
            path = self._carrier.path
            kind = None if path is None else path.kind
            if (before, kind) == (PathKind.RELAY, PathKind.DIRECT):
                return
            before = kind
            await self._carrier.path_changed.park()

    async def _watch_receiver(self) -> None:
        """Doubt the path whenever the peer has registered again: it may have moved."""
        while self._carrier.path is None:
            await self._carrier.path_changed.park()
        await trio.sleep(WATCHING_DELAY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, self._look_again)
            while True:
                await self._registered_again.park()
                path = self._carrier.path
                await trio.sleep(UNDER_WAY_TIME)
                if self._carrier.path is path:
                    self._carrier.doubt()

    def _look_again(self) -> None:
        self._carrier.doubt()
        self._registered_again.unpark_all()

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

    def _failure(self) -> P2PError:
        """What went wrong, if everything did: the causes of both ways, or what explains both."""
        errors = list(self._failures.values())
        for error in errors:
            if not isinstance(error, (IntroductionError, RelayError)):
                return error
        if len(errors) == 1:
            return errors[0]
        causes: list[Exception] = []
        for error in errors:
            group = cast("ExceptionGroup[P2PError] | None", error.__cause__)
            causes += [error] if group is None else list(group.exceptions)
        failure = IntroductionError(
            f"no path leads to the peer: {'; '.join(map(str, errors))}",
            attempts=tuple(each.attempt for each in causes if isinstance(each, AttemptFailedError)),
        )
        failure.__cause__ = ExceptionGroup("one error for each attempt", causes)
        return failure

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
        return path.kind is PathKind.RELAY and kind is PathKind.DIRECT


def _explained(error: OSError) -> P2PError:
    advice = "close some, or raise the limit" if is_out_of_resources(error) else "see its network"
    return P2PError(f"this host cannot open a connection ({error.strerror}): {advice}")
