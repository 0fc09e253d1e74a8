"""Who wants to hear that a receiver has registered again: it may have moved. Sans-IO.

A watcher learns no more than it could by asking for introductions all the time: neither where the
receiver is, nor who. So any UID may be watched, also one that is not registered.
"""

from __future__ import annotations

from collections import Counter

from .._identity.certificate import public_key_of_untrusted
from .._wire.messages import MAX_WATCHED, RefusalCode, RegisteredAgain, Watch
from .connection import Connection, Messages, Name
from .quota import network_of
from .refusals import refuse

MAX_OF_SOURCE = 4096  # watches of an IPv4 address or an IPv6 /64, at a time; some 3 MiB
MAX_IN_ALL = 65_536
RETRY_TIME = 60.0  # seconds


class Watches:
    """The watches of all connections; what does not watch costs nothing."""

    def __init__(self) -> None:
        # Who watches a UID, and the key whose registration that is about, if there was any.
        self._watchers: dict[str, dict[Connection, bytes | None]] = {}
        self._watched: dict[Connection, set[str]] = {}  # the first that watched first
        self._of_source: Counter[bytes] = Counter()
        self._total = 0

    def __len__(self) -> int:
        """How many there are."""
        return self._total

    def begin(self, watcher: Connection, message: Watch, holder: Name | None) -> None:
        """Tell a connection once when a UID is registered again.

        Args:
            watcher: whom to tell.
            message: what it watches; if it does so already, from now on.
            holder: what is registered under the UID now, if anything is.

        Where there are too many in all, the connection whose first watch is the oldest loses its
        own.

        Raises:
            RefusalError: the connection or its source watches too many.
        """
        uid = message.uid
        if uid not in self._watched.get(watcher, ()):
            self._check_room(watcher, message.number)
            while self._total >= MAX_IN_ALL:
                self.end(next(iter(self._watched)))
            self._watched.setdefault(watcher, set()).add(uid)
            self._of_source[network_of(watcher.endpoint.address)] += 1
            self._total += 1
        key = None if holder is None else public_key_of_untrusted(holder.certificate)
        self._watchers.setdefault(uid, {})[watcher] = key

    def forget(self, watcher: Connection, uid: str) -> None:
        """A connection does not watch a UID any more, if it did."""
        if uid in self._watched.get(watcher, ()):
            self._watched[watcher].remove(uid)
            self._forget(watcher, uid)
            if not self._watched[watcher]:
                del self._watched[watcher]

    def registered(self, name: Name) -> Messages:
        """A receiver has registered; what to send to those who waited for that."""
        uid = name.uid
        watchers = self._watchers.get(uid)
        if watchers is None:
            return []
        key = public_key_of_untrusted(name.certificate)
        told = [watcher for watcher, known in watchers.items() if known is None or known == key]
        for watcher in told:
            self.forget(watcher, uid)
        return [(watcher, RegisteredAgain(uid)) for watcher in told]

    def end(self, watcher: Connection) -> None:
        """A connection is gone, or does not watch any more."""
        for uid in self._watched.pop(watcher, ()):
            self._forget(watcher, uid)

    def _check_room(self, watcher: Connection, number: int | None) -> None:
        if len(self._watched.get(watcher, ())) >= MAX_WATCHED:
            refuse(
                RefusalCode.PROTOCOL_VIOLATION,
                f"a connection may watch {MAX_WATCHED} UIDs at a time: use another one for more",
                number,
            )
        if self._of_source[network_of(watcher.endpoint.address)] >= MAX_OF_SOURCE:
            refuse(
                RefusalCode.BUSY,
                f"one IP address may watch {MAX_OF_SOURCE} UIDs at a time: try again later",
                number,
                retry_after=RETRY_TIME,
            )

    def _forget(self, watcher: Connection, uid: str) -> None:
        """Remove one watch from all but the set of its connection."""
        watchers = self._watchers[uid]
        del watchers[watcher]
        if not watchers:
            del self._watchers[uid]
        source = network_of(watcher.endpoint.address)
        self._of_source[source] -= 1
        if not self._of_source[source]:
            del self._of_source[source]
        self._total -= 1
