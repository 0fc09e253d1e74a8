"""What is under way on behalf of a peer's callers, and ends when the peer is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import trio

from .._control.controls import Controls
from .._control.watches import Registrations
from .._errors import UnknownUIDError
from .._net.backoff import Backoff
from .._options import check_flag
from .._stream.owned_connection import LEFT

T = TypeVar("T")

# Seconds until a receiver that is waited for is asked for again, even without news of it: at first,
# and at most.
MIN_RECHECK_TIME, RECHECK_TIME = 1.0, 60.0


class Calls:
    """The calls of one peer.

    Args:
        controls: the peer's connections to the broker.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._watched: set[Registrations] = set()
        self._opening: set[trio.CancelScope] = set()
        self._is_left = False

    def check_open(self) -> None:
        """Make sure that the peer is not left.

        Raises:
            trio.ClosedResourceError: it is.
        """
        if self._is_left:
            raise trio.ClosedResourceError(LEFT)

    def leave(self) -> None:
        """End all of them."""
        self._is_left = True
        for scope in self._opening:
            scope.cancel(reason="the peer was left")
        for registrations in self._watched:
            registrations.close()

    async def open(self, uid: str, open_once: Callable[[], Awaitable[T]], *, wait: bool) -> T:
        """Open something to the receiver of a UID.

        Args:
            uid: the UID.
            open_once: opens it, or raises UnknownUIDError.
            wait: whether to wait, if need be, until a receiver registers.

        Raises:
            trio.ClosedResourceError: the peer was left.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check_open()
        check_flag("wait", wait)
        with trio.CancelScope() as scope:
            self._opening.add(scope)
            try:
                return await (self._open_later(uid, open_once) if wait else open_once())
            finally:
                self._opening.remove(scope)
        raise trio.ClosedResourceError(LEFT)

    async def _open_later(self, uid: str, open_once: Callable[[], Awaitable[T]]) -> T:
        # The broker may hear of the first requests in another order than they were made. So the
        # next one comes soon, whether there is news or not.
        backoff = Backoff(MIN_RECHECK_TIME, RECHECK_TIME)
        with self.watching(uid) as registrations:
            while True:
                try:
                    return await open_once()
                except UnknownUIDError:
                    with trio.move_on_after(backoff.next_pause()):
                        await registrations.wait()

    @contextmanager
    def watching(self, uid: str) -> Generator[Registrations]:
        """Be told of the registrations of a UID while a block lasts, and of the peer's end."""
        self.check_open()
        with self._controls.watching(uid) as registrations:
            self._watched.add(registrations)
            try:
                yield registrations
            finally:
                self._watched.remove(registrations)
