"""Who wants to hear that a receiver has registered again: it may have moved. Sans-IO.

A watcher learns no more than it could by asking for introductions all the time: neither where the
receiver is, nor who. So anybody may watch any UID, also one that nobody has registered.
"""

from __future__ import annotations

from .._identity.certificate import public_key_of_untrusted
from .._wire.messages import MAX_WATCHED, RefusalCode, RegisteredAgain
from .connection import Connection, Outgoing
from .refusals import refuse


class Watches:
    """The watches of all connections; what does not watch costs nothing."""

    def __init__(self) -> None:
        # Who watches a UID, and the key whose registration that is about, if there was any.
        self._watchers: dict[str, dict[Connection, bytes | None]] = {}
        self._watched: dict[Connection, set[str]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._watched.values()))

    def begin(self, watcher: Connection, uid: str, holder: Connection | None) -> None:
        """Tell a connection once when a UID is registered again.

        Args:
            watcher: whom to tell.
            uid: what it watches; if it does so already, from now on.
            holder: whose registration it is now, if it is any.

        Raises:
            RefusalError: the connection watches too many.
        """
        watched = self._watched.setdefault(watcher, set())
        watched.add(uid)
        if len(watched) > MAX_WATCHED:
            refuse(
                RefusalCode.PROTOCOL_VIOLATION,
                f"a connection may watch {MAX_WATCHED} UIDs at a time: use another one for more",
            )
        key = None if holder is None else public_key_of_untrusted(holder.certificate)
        self._watchers.setdefault(uid, {})[watcher] = key

    def registered(self, receiver: Connection) -> Outgoing:
        """A receiver has registered; what to send to those who waited for that."""
        uid = receiver.uid
        watchers = self._watchers.get(uid)
        if watchers is None:
            return []
        key = public_key_of_untrusted(receiver.certificate)
        told = [watcher for watcher, known in watchers.items() if known is None or known == key]
        for watcher in told:
            self._watched[watcher].discard(uid)
            self._forget(watcher, uid)
        return [(watcher, RegisteredAgain(uid)) for watcher in told]

    def end(self, watcher: Connection) -> None:
        """A connection is gone, or does not watch any more."""
        for uid in self._watched.pop(watcher, ()):
            self._forget(watcher, uid)

    def _forget(self, watcher: Connection, uid: str) -> None:
        watchers = self._watchers.get(uid, {})
        watchers.pop(watcher, None)
        if not watchers:
            self._watchers.pop(uid, None)
