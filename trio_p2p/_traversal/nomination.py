"""One connection for one search, though several introductions are made for it.

A sender asks for a receiver over IPv6 and IPv4 at once, and again in each round. When one of these
introductions has led to a connection, the sender nominates no other, and the receiver does nothing
more for the rest. Nor does it for an earlier round: a hole that is still held for it could catch
what comes in the next one.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from .._wire.messages import ID_BYTES

MAX_DONE = 4096  # searches that are remembered, as an introduction may come late

T = TypeVar("T")


class Nomination:
    """A sender's choice of one connection, common to all introductions of a search.

    Attributes:
        search: what the receiver recognises them by.
        is_made: whether there is one.
    """

    def __init__(self) -> None:
        self.search = secrets.token_bytes(ID_BYTES)
        self.is_made = False

    def withdraw(self) -> None:
        """Forget the nominated connection, which is closed: the search begins anew."""
        self.search = secrets.token_bytes(ID_BYTES)
        self.is_made = False


class Searches:
    """What the senders want that a receiver is introduced to."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, dict[int, trio.CancelScope]] = {}
        self._done: dict[bytes, None] = {}

    async def connect(
        self, search: bytes | None, ip_version: int, connect: Callable[[], Awaitable[T]]
    ) -> T | None:
        """What comes of one introduction; None if another one counts instead.

        Args:
            search: what it is for; None if the sender has not said so.
            ip_version: 4 or 6, by which the peers are to meet.
            connect: connects to the sender.
        """
        if search is None:
            return await connect()
        if search in self._done:
            await trio.lowlevel.checkpoint()
            return None
        with trio.CancelScope() as scope:
            scopes = self._under_way.setdefault(search, {})
            if ip_version in scopes:
                scopes[ip_version].cancel(reason="the sender has begun the next round")
            scopes[ip_version] = scope
            try:
                connection = await connect()
            finally:
                if scopes.get(ip_version) is scope:
                    del scopes[ip_version]
                if not scopes and self._under_way.get(search) is scopes:
                    del self._under_way[search]
            self._finish(search)
            return connection
        return None

    def _finish(self, search: bytes) -> None:
        for scope in self._under_way.pop(search, {}).values():
            scope.cancel(reason="the sender is connected by another introduction")
        self._done[search] = None
        if len(self._done) > MAX_DONE:
            del self._done[next(iter(self._done))]
